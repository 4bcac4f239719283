"""Checkpoints and logs as the Python packages see them: h5py, torchvision, tensorboard; docs/formats.md's example."""
import json
import os
import pathlib
import re
import subprocess

import h5py
import numpy as np
import pytest
import torch
import torchvision

ROOT = pathlib.Path(__file__).parents[2]
BUILD = pathlib.Path(os.environ["LOCKSTEP_BUILD"])
LOCKSTEP = str(BUILD / "bin" / "lockstep")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("h5py") / "model.h5"
    subprocess.run([BUILD / "bin" / "make_checkpoint", path, "--classes", "5", "--size", "64"], check=True, timeout=300)
    return path


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    subprocess.run([BUILD / "bin" / "make_logs", folder], check=True, timeout=60)
    return folder


def example(heading):
    """The Python block under a heading of docs/formats.md."""
    text = (ROOT / "docs" / "formats.md").read_text()
    found = re.search(rf"^#+ {re.escape(heading)}$.*?^```python\n(.*?)^```", text, re.M | re.S)
    assert found, f"docs/formats.md has no Python under '{heading}'"
    return found[1]


def test_the_documented_loader_gives_the_golden_logits(checkpoint, monkeypatch, tmp_path):
    code = example("Reading a checkpoint with h5py")
    assert len(code.strip().splitlines()) <= 10
    (tmp_path / "best_f1.h5").symlink_to(checkpoint)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    model = names["model"].eval()
    assert isinstance(model, torchvision.models.ResNet)
    with h5py.File(checkpoint) as file:
        meta = json.loads(file["text/meta"][()])
        images, logits = file["golden/images"][()], file["golden/logits"][()]
    mean, std = (torch.tensor(meta["preprocess"][k]).view(1, 3, 1, 1) for k in ["mean", "std"])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        found = model((pixels - mean) / std).numpy()
    assert np.abs(found - logits).max() <= 1e-4 * np.abs(logits).max()
    assert np.abs(logits).max() > 0.1


def test_data_sets_are_plain(checkpoint):
    """Contiguous, unfiltered, little-endian, at the place that the index says; no times, no links but hard ones."""
    raw = checkpoint.read_bytes()
    assert raw[:8] == b"LKCKPT01" and h5py.is_hdf5(checkpoint)
    with h5py.File(checkpoint) as file:
        assert file.userblock_size == 512
        index = json.loads(file["index"][()])
        listed = {entry["name"]: entry for entry in index["tensors"]}
        found = {}
        file.visititems(lambda name, item: found.__setitem__("/" + name, item) if isinstance(item, h5py.Dataset) else None)
        texts = {"/text/" + entry["name"] for entry in index["texts"]}
        assert set(found) == set(listed) | texts | {"/index"} and "/text/meta" in texts
        for name, entry in listed.items():
            item = found[name]
            assert item.chunks is None and not item.external and item.id.get_create_plist().get_nfilters() == 0
            assert item.dtype == np.dtype(entry["dtype"]) and list(item.shape) == entry["shape"]
            assert item.id.get_offset() == entry["offset"]
            assert raw[entry["offset"]:entry["offset"] + item.nbytes] == item[()].tobytes()


def test_inspect_says_what_h5py_sees(checkpoint):
    told = json.loads(subprocess.run([LOCKSTEP, "inspect", checkpoint, "--json"], capture_output=True, check=True,
                                     timeout=60).stdout)
    with h5py.File(checkpoint) as file:
        for tensor in told["tensors"]:
            assert list(file[tensor["name"]].shape) == tensor["shape"]
            assert file[tensor["name"]].nbytes == tensor["bytes"]
        assert told["meta"] == json.loads(file["text/meta"][()])
    model = torchvision.models.resnet18(num_classes=5)
    assert told["parameters"] == sum(p.numel() for p in model.parameters())
    assert told["golden"] == 3 and told["bytes"] == checkpoint.stat().st_size


@pytest.mark.parametrize("damage", ["flip", "cut", "text", "empty"])
def test_inspect_and_verify_survive_damage(checkpoint, tmp_path, damage):
    raw = bytearray(checkpoint.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 4
    raw = {"flip": raw, "cut": raw[:len(raw) // 3], "text": b"hello\n" * 200, "empty": b""}[damage]
    path = tmp_path / "bad.h5"
    path.write_bytes(raw)
    for command in ["inspect", "verify"]:
        result = subprocess.run([LOCKSTEP, command, path], capture_output=True, text=True, timeout=60)
        assert result.returncode == 1 and result.stdout == ""
        assert result.stderr.startswith("lockstep: ") and str(path) in result.stderr and result.stderr.count("\n") == 1


def test_tensorboard_reads_the_events(logs):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    files = list(logs.glob("events.out.tfevents.*"))
    assert len(files) == 1
    events = list(loader.EventFileLoader(str(files[0])).Load())
    assert events[0].file_version == "brain.Event:2"
    scalars = [(v.tag, e.step, v.tensor.float_val[0] if v.HasField("tensor") else v.simple_value)
               for e in events for v in e.summary.value]
    loss = [(step, value) for tag, step, value in scalars if tag == "loss/train"]
    assert loss == [(i, np.float32(1.0 / (i + 1))) for i in range(100)]
    f1 = [(step, value) for tag, step, value in scalars if tag == "f1/validation"]
    assert f1 == [(i << 33, np.float32(0.01 * i)) for i in range(0, 100, 10)]
    assert all(e.wall_time > 1.6e9 for e in events)


def test_h5py_reads_the_predictions(logs):
    with h5py.File(logs / "predictions.h5") as file:
        assert file["class_names"].asstr()[()].tolist() == ["T-shirt", "", "Grün"]
        group = file["best_loss/validation"]
        assert group["sample"][()].tolist() == [5, 7, 1 << 40] and group["label"][()].tolist() == [0, -1, 2]
        assert group["logits"][()].tolist() == [[0.5, 1, 2], [3, 4, -5], [6, 7, 8.25]]
        assert group["logits"].dtype == np.float32 and group["sample"].dtype == np.int64
        assert file["best_f1/test/logits"].shape == (2, 3) and file["best_f1/validation/logits"].shape == (0, 3)
