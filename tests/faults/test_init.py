"""`init`: runs that begin with weights of other programs or of an earlier run; and `base`: jobs that change another."""
import json
import re
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from torch import nn

from conftest import assert_same_tensors, run, tensors
from test_bad_input import refused

FROZEN = ["optimizer.lr=0", "optimizer.momentum=0", "max_updates=1", "checkpoint.every=1"]


class Block(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 3, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, bias=False), nn.BatchNorm2d(width)
        if inputs != width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width))


class Net(nn.Module):
    """The names and shapes of cifar_resnet8 on grey pixels."""

    def __init__(self, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16))
        self.layer2 = nn.Sequential(Block(16, 32))
        self.layer3 = nn.Sequential(Block(32, 64))
        self.fc = nn.Linear(64, classes)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(5)
    state = Net(7).state_dict()
    torch.save(state, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_every_tensor_arrives_and_the_classifier_is_new(small_job, weights, tmp_path):
    done = run("train", small_job, f"init={weights}", "--run", tmp_path / "r", *FROZEN)
    assert "classifier of 7 classes replaced" in done.stdout and "init.txt" in done.stdout
    state, found = torch.load(weights), tensors(tmp_path / "r/checkpoints/last.h5")
    for name, value in state.items():
        if "running" not in name and "num_batches" not in name and not name.startswith("fc."):
            assert np.array_equal(found["model/" + name], value.numpy()), name
    fresh = run("train", small_job, "--run", tmp_path / "s", *FROZEN)
    assert "init" not in fresh.stdout
    for name in ["model/fc.weight", "model/fc.bias"]:
        assert np.array_equal(found[name], tensors(tmp_path / "s/checkpoints/last.h5")[name])
    lines = (tmp_path / "r/init.txt").read_text().splitlines()
    assert sum(line.startswith("loaded ") for line in lines) == len([n for n in state if "num_batches" not in n]) - 2
    assert [line.split()[1] for line in lines if line.startswith("fresh ")] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_statistics_arrive(small_job, weights, tmp_path, device):
    """With the momentum at its smallest the running statistics stay what they were, nearly."""
    state = torch.load(weights)
    for name in state:
        if name.endswith("running_mean"):
            state[name].uniform_(-1, 1)
        if name.endswith("running_var"):
            state[name].uniform_(0.5, 2)
    torch.save(state, weights)
    run("train", small_job, f"init={weights}", "--run", tmp_path / "r", f"device={device}", "network.bn_momentum=1e-9",
        *FROZEN)
    found = tensors(tmp_path / "r/checkpoints/last.h5")
    for name in (n for n in state if "running" in n):
        assert np.allclose(found["model/" + name], state[name].numpy(), rtol=1e-6, atol=1e-6), name


def test_same_bits_on_every_rank_count(small_job, weights, tmp_path):  # P5
    for ranks in [1, 2, 4]:
        run("train", small_job, f"init={weights}", "--run", tmp_path / str(ranks), "max_updates=5", "checkpoint.every=5",
            ranks=ranks)
    first = tmp_path / "1/checkpoints/last.h5"
    for ranks in [2, 4]:
        assert_same_tensors(first, tmp_path / str(ranks) / "checkpoints/last.h5")


def test_resuming_needs_the_file_no_more(small_job, weights, tmp_path):  # P10
    job = tmp_path / "job.yaml"
    text = small_job.read_text()
    job.write_text(re.sub(r"^input:.*\n", "input: {size: 28, color: grey, resize: none}\n", text, flags=re.M))
    run("train", small_job, "--run", tmp_path / "first", "max_updates=2")
    convert = tmp_path / "w.safetensors"
    run("convert", tmp_path / "first/checkpoints/last.h5", convert)
    whole, part = tmp_path / "whole", tmp_path / "part"
    common = [job, f"init={convert}", "checkpoint.every=3"]
    assert "from the weights: input.decode exact, input.mean 0.286, input.std 0.353" in run(
        "train", *common, "--run", whole, "max_updates=9").stdout.replace("input.interpolation bilinear, ", "").replace(
            "input.resize_size 28, ", "")
    run("train", *common, "--run", part, "max_updates=3")
    (tmp_path / "w.safetensors").unlink()
    run("train", *common, "--run", part, "max_updates=9", "--resume")
    assert_same_tensors(whole / "checkpoints/last.h5", part / "checkpoints/last.h5")
    refused("train", *common, "--run", tmp_path / "new", says=["w.safetensors", "No such file"])
    refused("train", job, "init=other.pth", "--run", part, "--resume", says=["cannot resume", "'init'"])


def test_a_checkpoint_keeps_its_classifier_where_the_classes_are_the_same(small_job, tmp_path):  # P4
    run("train", small_job, "--run", tmp_path / "a", "max_updates=3")
    last = tmp_path / "a/checkpoints/last.h5"
    done = run("train", small_job, f"init={last}", "--run", tmp_path / "b", *FROZEN)
    assert "replaced" not in done.stdout and "0 of the file not used" in done.stdout
    before, after = tensors(last), tensors(tmp_path / "b/checkpoints/last.h5")
    assert np.array_equal(before["model/fc.weight"], after["model/fc.weight"])
    other = tmp_path / "other.safetensors"
    run("convert", last, other)
    with open(other, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header, data = json.loads(file.read(length)), file.read()
    meta = json.loads(header["__metadata__"]["meta"])
    meta["class_names"][0], meta["class_names"][1] = meta["class_names"][1], meta["class_names"][0]
    header["__metadata__"] = {"meta": json.dumps(meta)}
    text = json.dumps(header).encode()
    other.write_bytes(len(text).to_bytes(8, "little") + text + data)
    done = run("train", small_job, f"init={other}", "--run", tmp_path / "c", *FROZEN)
    assert "replaced" in done.stdout


def test_published_preparation_becomes_the_default_and_contradictions_warn(small_data, tmp_path):
    import torchvision

    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), tmp_path / "r18.pth")
    job = tmp_path / "job.yaml"
    job.write_text(f"data: {small_data}\nmodel: resnet18\ninit: {tmp_path / 'r18.pth'}\nbatch: 4\nepochs: 1\n"
                   "input: {size: 64, std: [0.229, 0.224, 0.225]}\nloader: {workers: 1}\n")
    done = run("train", job, "--run", tmp_path / "r", "max_updates=1", "microbatch=2", "evaluate.batch=50")
    assert "input.resize_size 73" in done.stdout and "input.mean 0.485, 0.456, 0.406" in done.stdout
    assert "warning: input.size is 64 in the job and 224 in the weights" in done.stderr and "input.std" not in done.stderr
    resolved = yaml.safe_load((tmp_path / "r/job.yaml").read_text())
    assert resolved["input"]["resize_size"] == 73 and resolved["input"]["mean"] == [0.485, 0.456, 0.406]


@pytest.mark.parametrize("ranks", [1, 2])
def test_weights_that_do_not_fit(small_job, weights, tmp_path, ranks):
    state = torch.load(weights)
    state["layer3.0.conv2.weight"] = torch.zeros(64, 64, 1, 1)
    torch.save(state, tmp_path / "shape.pth")
    refused("train", small_job, f"init={tmp_path / 'shape.pth'}", "--run", tmp_path / "r", ranks=ranks,
            says=["'layer3.0.conv2.weight' is 64 x 64 x 1 x 1"])
    torch.save({name: value for name, value in state.items() if not name.startswith("layer2")}, tmp_path / "few.pth")
    refused("train", small_job, f"init={tmp_path / 'few.pth'}", "--run", tmp_path / "r", ranks=ranks,
            says=["fewer than 90%", "'layer2.0."])
    torch.save({"a": print}, tmp_path / "code.pth")
    refused("train", small_job, f"init={tmp_path / 'code.pth'}", "--run", tmp_path / "r", ranks=ranks,
            says=["__builtin__.print"])
    refused("train", small_job, "init=/nowhere/w.pth", "--run", tmp_path / "r", ranks=ranks, says=["/nowhere/w.pth"])
    assert not (tmp_path / "r").exists()


def resolved(path, tmp_path, *words):
    shutil.rmtree(tmp_path / "r", ignore_errors=True)
    run("train", path, "--run", tmp_path / "r", *FROZEN, *words)
    return yaml.safe_load((tmp_path / "r/job.yaml").read_text())


def test_a_job_changes_its_base(small_job, tmp_path):
    (tmp_path / "deep").mkdir()
    shutil.copy(small_job, tmp_path / "base.yaml")
    (tmp_path / "deep/middle.yaml").write_text("base: ../base.yaml\nseed: 11\noptimizer: {weight_decay: 0.25}\n")
    (tmp_path / "top.yaml").write_text("seed: 12\nbase: deep/middle.yaml\naugment: {hflip: 0}\n")
    job = resolved(tmp_path / "top.yaml", tmp_path, "augment.pad=3")
    assert "base" not in job and job["seed"] == 12 and job["optimizer"]["weight_decay"] == 0.25
    assert job["augment"]["hflip"] == 0 and job["augment"]["pad"] == 3 and job["batch"] == 64
    run("train", tmp_path / "r/job.yaml", "--run", tmp_path / "again")
    assert_same_tensors(tmp_path / "r/checkpoints/last.h5", tmp_path / "again/checkpoints/last.h5")


def test_bad_bases(small_job, tmp_path):
    loop = tmp_path / "loop.yaml"
    loop.write_text("base: loop.yaml\n")
    refused("train", loop, says=["loop.yaml", "its own base"])
    loop.write_text("base: none.yaml\n")
    refused("train", loop, says=["none.yaml", "No such file"])
    (tmp_path / "none.yaml").write_text("epochs: 3\nepochz: 2\n")
    refused("train", loop, says=["none.yaml line 2", "epochz"])
    refused("train", small_job, f"base={loop}", status=2, says=["'base' belongs into a job file"])
