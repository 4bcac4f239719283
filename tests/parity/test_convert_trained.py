"""A model that was trained leaves: checkpoints of a real run verify, convert, run elsewhere and evaluate the same."""
import base64
import json
import os
import pathlib
import struct
import subprocess

import h5py
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors

BUILD = pathlib.Path(os.environ["LOCKSTEP_BUILD"])
SIDE, CLASSES = 16, 3
JOB = """
data: {data}
model: cifar_resnet8
epochs: 2
batch: 32
microbatch: 16
input: {{size: 16, color: grey, resize: none, mean: [0.4], std: [0.3]}}
augment: {{crop: center, hflip: 0}}
optimizer: {{lr: 0.02, momentum: 0.9}}
evaluate: {{batch: 20}}
"""


def run(*words, status=0):
    result = subprocess.run([BUILD / "bin" / "lockstep", *map(str, words)], capture_output=True, text=True, timeout=300)
    assert result.returncode == status, f"{words}: {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def write_idx(folder):
    """Noise with a bright bar whose place is the class."""
    folder.mkdir()
    random = np.random.default_rng(1)
    for name, count in (("train", 160), ("t10k", 40)):
        labels = random.integers(0, CLASSES, count).astype(np.uint8)
        pixels = random.integers(0, 120, (count, SIDE, SIDE)).astype(np.uint8)
        for i, label in enumerate(labels):
            pixels[i, 5 * label:5 * label + 4] += 100
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, SIDE, SIDE) + pixels.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run("pack", write_idx(folder / "idx"), folder / "data.h5", "--val", "40")
    (folder / "job.yaml").write_text(JOB.format(data=folder / "data.h5"))
    run("train", folder / "job.yaml", "--run", folder / "run")
    return folder


def test_every_checkpoint_of_the_run_verifies(trained):
    files = sorted((trained / "run" / "checkpoints").glob("*.h5"))
    assert {"last.h5", "best_loss.h5", "best_f1.h5"} <= {path.name for path in files}
    for path in files:
        told = json.loads(run("verify", path, "--json"))
        assert told["passed"] and told["golden"] >= 1 and told["difference"] <= 1e-4 * told["scale"]


def test_inspect_tells_what_the_run_was(trained):
    path = trained / "run" / "checkpoints" / "last.h5"
    told = json.loads(run("inspect", path, "--json"))
    names = {tensor["name"] for tensor in told["tensors"]}
    assert {"/model/conv1.weight", "/optimizer/momentum/conv1.weight", "/golden/logits"} <= names
    assert told["meta"]["architecture"] == "cifar_resnet8" and len(told["meta"]["class_names"]) == CLASSES
    assert told["state"]["epoch"] == 2 and "epochs: 2" in told["job"] and told["arithmetic"]
    text = run("inspect", path)
    assert "cifar_resnet8" in text and "epoch 2" in text and "/model/fc.bias" in text
    data = json.loads(run("inspect", trained / "data.h5", "--json"))
    assert "cifar_resnet8" not in json.dumps(data)


@pytest.mark.parametrize("pixels", [False, True])
def test_onnxruntime_gives_the_golden_logits(trained, tmp_path, pixels):
    source = trained / "run" / "checkpoints" / "best_f1.h5"
    run("convert", source, tmp_path / "m.onnx", *(["--uint8"] if pixels else []))
    run("verify", tmp_path / "m.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)
    with h5py.File(source) as file:
        images, logits = file["golden/images"][()], file["golden/logits"][()]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    feed = {"pixels": images} if pixels else {
        "input": np.ascontiguousarray(((images / np.float32(255) - np.float32(0.4)) / np.float32(0.3)).transpose(0, 3, 1, 2))}
    found = session.run(["logits"], feed)[0]
    assert len(logits) >= 1 and np.abs(found - logits).max() <= 1e-4 * np.abs(logits).max()


def test_exports_evaluate_as_the_checkpoint(trained, tmp_path):
    source = trained / "run" / "checkpoints" / "best_loss.h5"
    run("convert", source, tmp_path / "m.safetensors")
    run("convert", source, tmp_path / "m.onnx")
    run("convert", tmp_path / "m.safetensors", tmp_path / "m.h5")
    results = []
    for path in [source, tmp_path / "m.safetensors", tmp_path / "m.onnx", tmp_path / "m.h5"]:
        out = tmp_path / f"{path.name}.predictions.h5"
        run("eval", path, trained / "data.h5", "--predictions", out)
        with h5py.File(out) as file:
            found = []
            file.visititems(lambda name, item: found.append(item[()]) if name.endswith("logits") else None)
        assert len(found) == 1 and found[0].shape == (40, CLASSES)
        results.append(found[0])
    for other in results[1:]:
        assert other.tobytes() == results[0].tobytes()


def test_golden_samples_travel(trained, tmp_path):
    source = trained / "run" / "checkpoints" / "best_f1.h5"
    run("convert", source, tmp_path / "m.safetensors")
    with safetensors.safe_open(tmp_path / "m.safetensors", "np") as file:
        golden = json.loads(file.metadata()["golden"])
        counted = file.get_tensor("bn1.num_batches_tracked")
    with h5py.File(source) as file:
        assert base64.b64decode(golden["images"]) == file["golden/images"][()].tobytes()
        assert base64.b64decode(golden["logits"]) == file["golden/logits"][()].tobytes()
        assert golden["samples"] == file["golden/samples"][()].tolist()
        assert counted == file["model/bn1.num_batches_tracked"][()] > 0
