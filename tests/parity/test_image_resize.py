"""Resizing equals Image.resize, to the last bit, for whole images, boxes and extreme shapes (P15)."""

import pathlib
import sys

import numpy as np
import PIL
import pytest
from PIL import Image

assert int(PIL.__version__.split(".")[0]) >= 13, "Pillow 13 resizes in another order than older ones: pip install -U pillow"
sys.path.insert(0, str(pathlib.Path(__file__).parent / "image"))
import image_samples as samples
from image_tool_client import ImageError, assert_same_pixels, photos, tool  # noqa: F401

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SHAPES = [(1, 1), (2, 1), (5, 7), (16, 16), (33, 20), (97, 61), (256, 3), (3, 300), (423, 517), (640, 480)]
TARGETS = [(1, 1), (3, 2), (7, 7), (32, 32), (96, 61), (97, 61), (97, 200), (224, 224), (500, 9)]


def source(folder, width, height):
    path = folder / f"{width}x{height}"
    path.write_bytes(samples.save(Image.fromarray(samples.picture(width, height, 3)), "PNG"))
    return path, Image.open(path).convert("RGB")


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_whole_images(tool, tmp_path, name, mode):
    for shape in SHAPES:
        path, image = source(tmp_path, *shape)
        image = image.convert(mode)
        for target in TARGETS:
            ours, _ = tool.call("resize", path, len(image.getbands()), name, *target)
            assert_same_pixels(ours, image.resize(target, FILTERS[name]), f"{mode} {shape} to {target}")


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("whole_pixels", [True, False])
def test_boxes(tool, tmp_path, name, whole_pixels):
    rng = np.random.default_rng(7)
    for shape in SHAPES[2:]:
        path, image = source(tmp_path, *shape)
        for _ in range(25):
            box = np.sort(rng.uniform(0, 1, (2, 2)), axis=0) * shape
            box = np.concatenate([np.floor(box[0]), np.ceil(box[1])] if whole_pixels else [box[0], box[1]])
            if box[2] - box[0] < 0.2 or box[3] - box[1] < 0.2:
                continue
            target = tuple(int(v) for v in rng.integers(1, 120, 2))
            if rng.random() < 0.2:  # a crop without resizing
                target = tuple(max(1, int(v)) for v in (box[2] - box[0], box[3] - box[1]))
            # Pillow keeps a box in single precision; the text must not lose more than that.
            words = [repr(float(np.float32(v))) for v in box]
            ours, _ = tool.call("resize", path, 3, name, *target, *words)
            theirs = image.resize(target, FILTERS[name], box=tuple(float(np.float32(v)) for v in box))
            assert_same_pixels(ours, theirs, f"{shape} {words} to {target}")


@pytest.mark.parametrize("name", FILTERS)
def test_extreme_values(tool, tmp_path, name):
    """Black and white edges overshoot in bicubic: the clip must be Pillow's."""
    image = Image.fromarray(np.where(samples.picture(61, 47, 3) > 127, 255, 0).astype(np.uint8))
    path = tmp_path / "edges"
    path.write_bytes(samples.save(image, "PNG"))
    for target in ((224, 224), (30, 20), (61, 300), (300, 47)):
        ours, _ = tool.call("resize", path, 3, name, *target)
        assert_same_pixels(ours, image.resize(target, FILTERS[name]), f"to {target}")


@pytest.mark.parametrize("name", FILTERS)
def test_photographs(tool, name):
    for path in photos(step=150):
        with Image.open(path) as image:
            image = image.convert("RGB")
        for target in ((224, 224), (64, 96), (700, 900)):
            ours, _ = tool.call("resize", path, 3, name, *target)
            assert_same_pixels(ours, image.resize(target, FILTERS[name]), path.name)


@pytest.mark.parametrize("box", [(0, 0, 17, 9), (-1, 0, 8, 8), (5, 5, 5, 8), (8, 2, 4, 8)])
def test_bad_boxes(tool, tmp_path, box):
    path, _ = source(tmp_path, 16, 16)
    with pytest.raises(ImageError, match="error data the box .* is empty or outside"):
        tool.call("resize", path, 3, "bilinear", 4, 4, *box)
