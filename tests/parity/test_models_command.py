"""lockstep models: its figures are those of torchvision and of PyTorch's own counters."""

import json
import math
import subprocess

import pytest
import timm
import torch
import torchvision
from model_oracle import TIMM, TORCHVISION, make_model
from torch.utils.flop_counter import FlopCounterMode


@pytest.fixture(scope="module")
def models(build):
    def run(*arguments):
        done = subprocess.run([build / "bin" / "lockstep", "models", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def listed(models):
    return {entry["name"]: entry for entry in json.loads(models("--json"))}


def multiply_adds(model, size):
    """PyTorch counts two flops a multiply-add, of convolutions and matrix products alone."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model.to("meta")(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", [*TORCHVISION, *TIMM, "cifar_resnet20"])
def test_parameters_and_work(listed, name):
    entry = listed[name]
    model = make_model(name, 1000).float().eval()
    assert entry["parameters"] == sum(p.numel() for p in model.parameters())
    assert entry["multiply_adds"] == multiply_adds(model, entry["size"])
    assert entry["size"] == entry["native_size"]


@pytest.mark.parametrize("name", TORCHVISION)
def test_preprocessing_is_that_of_torchvisions_weights(listed, name):
    ours = listed[name]["weights"]
    theirs = torchvision.models.get_model_weights(name).DEFAULT
    transforms = theirs.transforms()
    assert ours["name"] == f"torchvision {theirs.name}"
    assert [ours["size"]] == transforms.crop_size and [ours["resize_size"]] == transforms.resize_size
    assert ours["interpolation"] == transforms.interpolation.value
    assert ours["mean"] == pytest.approx(transforms.mean) and ours["std"] == pytest.approx(transforms.std)


@pytest.mark.parametrize("name", TIMM)
def test_preprocessing_is_that_of_timms_weights(listed, name):
    ours, theirs = listed[name]["weights"], timm.get_pretrained_cfg(name)
    assert ours["name"] == f"timm {name}.{theirs.tag}"
    assert (3, ours["size"], ours["size"]) == theirs.input_size and ours["crop"] == theirs.crop_pct
    assert ours["resize_size"] == math.floor(ours["size"] / theirs.crop_pct)  # timm's create_transform
    assert ours["interpolation"] == theirs.interpolation
    assert ours["mean"] == pytest.approx(theirs.mean) and ours["std"] == pytest.approx(theirs.std)


def test_work_for_another_size_and_number_of_classes(models):
    entry = next(e for e in json.loads(models("--json", "--size", "96", "--classes", "7")) if e["name"] == "resnet18")
    model = make_model("resnet18", 7).float().eval()
    assert entry["size"] == 96 and entry["multiply_adds"] == multiply_adds(model, 96)
    assert entry["parameters"] == sum(p.numel() for p in model.parameters())


def test_text_has_a_line_for_each(models, listed):
    lines = models().splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(listed)
    assert "11689512" in lines[1] and "1.814" in lines[1] and "224 of 256 bilinear" in lines[1]
