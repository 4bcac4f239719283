"""What an earlier release wrote stays readable: tests/versions/N keeps one small file of each kind, written by the release that introduced
version N of a format (docs/formats.md). A new version of any format adds a folder; nothing in an old one changes."""
import csv
import json
import lzma
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

LOCKSTEP = pathlib.Path(os.environ["LOCKSTEP_BUILD"]).resolve() / "bin" / "lockstep"
ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "versions"
NUMBERS = [1]
FILES = ["checkpoint.h5.xz", "dataset.h5", "job.yaml", "model.onnx.xz", "model.safetensors.xz", "predictions.h5", "training.h5.xz"]


def lockstep(*words, **options):
    return subprocess.run([LOCKSTEP, *words], capture_output=True, text=True, check=True, timeout=60, **options).stdout


@pytest.fixture(params=NUMBERS)
def kept(request, tmp_path):
    """A copy of one version's files, unpacked."""
    for path in (FOLDER / str(request.param)).iterdir():
        if path.suffix == ".xz":
            (tmp_path / path.stem).write_bytes(lzma.decompress(path.read_bytes()))
        else:
            shutil.copy(path, tmp_path)
    return tmp_path


def test_every_version_is_kept():
    sources = {"io/model/checkpoint_format.h": "LK_CHECKPOINT_VERSION", "io/data/format.h": "LK_FORMAT_VERSION",
               "src/train/job.h": "LK_JOB_VERSION"}
    newest = [int(re.search(rf"#define {name} (\d+)", (ROOT / path).read_text()).group(1)) for path, name in sources.items()]
    assert max(newest) == NUMBERS[-1] and sorted(int(path.name) for path in FOLDER.iterdir()) == NUMBERS
    assert sorted(path.name for path in (FOLDER / "1").iterdir()) == FILES


@pytest.mark.parametrize("name", ["checkpoint.h5", "model.safetensors", "model.onnx"])
def test_models_give_the_logits_they_carry(kept, name):
    verified = json.loads(lockstep("verify", kept / name, "--json"))
    assert verified["passed"] and verified["golden"] == 2 and verified["scale"] > 0.1


def test_a_checkpoint_is_described_and_converted(kept):
    told = json.loads(lockstep("inspect", kept / "checkpoint.h5", "--json"))
    assert told["meta"]["architecture"] == "cifar_resnet8" and told["meta"]["class_names"] == ["class 0", "class 1", "class 2"]
    lockstep("convert", kept / "checkpoint.h5", kept / "again.safetensors")
    assert np.fromfile(kept / "again.safetensors", np.uint8).size > 300000


def test_a_data_set_is_read(kept):
    told = json.loads(lockstep("inspect", kept / "dataset.h5", "--json"))
    assert told["samples"] == 23 and [c["name"] for c in told["classes"]] == ["cat", "dög"]
    lockstep("predict", kept / "training.h5", kept / "dataset.h5", "-o", kept / "out.csv")
    assert len(list(csv.reader((kept / "out.csv").open()))) > 7


def test_a_job_trains(kept):
    assert "weights " in lockstep("train", "job.yaml", "--run", "new", "max_updates=1", cwd=kept)


def test_a_run_goes_on(kept):
    """From its checkpoint: the stored job, the counters, the optimizer's state."""
    (kept / "run/checkpoints").mkdir(parents=True)
    for name in ("last.h5", "best_f1.h5", "best_loss.h5"):  # in that run all three were one file
        shutil.copy(kept / "training.h5", kept / "run/checkpoints" / name)
    told = lockstep("train", "job.yaml", "--run", "run", "--resume", "epochs=3", cwd=kept)
    assert "going on after update 4 (epoch 3)" in told and re.search(r"^epoch +3/3 +lr 0.0125 ", told, re.M)
    assert not re.search(r"^epoch +2/", told, re.M)


def test_predictions_are_compared(kept):
    """Two runs whose predictions are the kept ones differ by nothing."""
    lockstep("train", "job.yaml", "--run", "first", cwd=kept)
    shutil.copy(kept / "predictions.h5", kept / "first/predictions.h5")
    shutil.copytree(kept / "first", kept / "second")
    told = json.loads(lockstep("compare", "first", "second", "--resamples", "100", "--format", "json", cwd=kept))
    assert told["recipes"][0]["finished"] == 2 and abs(told["recipes"][0]["macro_f1"] - 8 / 15) < 1e-12
