"""Every version of a checkpoint stays readable: one file of each is kept, written by the release that introduced it."""
import json
import lzma
import os
import pathlib
import subprocess

import numpy as np
import pytest

LOCKSTEP = pathlib.Path(os.environ["LOCKSTEP_BUILD"]) / "bin" / "lockstep"
KEPT = pathlib.Path(__file__).parent / "kept"
# version: model, classes
VERSIONS = {1: ("cifar_resnet8", ["class 0", "class 1", "class 2"])}


@pytest.mark.parametrize("version", sorted(VERSIONS))
def test_a_kept_checkpoint_reads(version, tmp_path):
    model, classes = VERSIONS[version]
    path = tmp_path / "kept.h5"
    path.write_bytes(lzma.decompress((KEPT / f"checkpoint_v{version}.h5.xz").read_bytes()))
    run = lambda *words: subprocess.run([LOCKSTEP, *words], capture_output=True, text=True, check=True, timeout=60).stdout
    verified = json.loads(run("verify", path, "--json"))
    assert verified["passed"] and verified["golden"] == 2 and verified["scale"] > 0.1
    told = json.loads(run("inspect", path, "--json"))
    assert told["meta"]["architecture"] == model and told["meta"]["class_names"] == classes
    run("convert", path, tmp_path / "kept.safetensors")
    assert np.fromfile(tmp_path / "kept.safetensors", np.uint8).size > 300000


def test_every_version_is_kept():
    source = (KEPT.parents[2] / "io" / "model" / "checkpoint_format.h").read_text()
    newest = int(source.split("#define LK_CHECKPOINT_VERSION ")[1].split()[0])
    assert sorted(VERSIONS) == list(range(1, newest + 1))
    assert sorted(path.name for path in KEPT.glob("checkpoint_*")) == [f"checkpoint_v{v}.h5.xz" for v in sorted(VERSIONS)]
