"""The transform of eval equals torchvision's, to the last bit (P15); that of training equals torchvision's with our draws,
which are distributed as torchvision's (P16)."""

import math
import pathlib
import sys

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

assert int(PIL.__version__.split(".")[0]) >= 13, "Pillow 13 resizes in another order than older ones: pip install -U pillow"
sys.path.insert(0, str(pathlib.Path(__file__).parent / "image"))
import image_samples as samples
from image_tool_client import ImageError, assert_same_pixels, photos, tool  # noqa: F401

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
SHAPES = [(1, 1), (5, 9), (30, 31), (64, 48), (97, 61), (300, 20), (20, 301), (423, 517), (517, 423), (640, 427)]


def transform(tool, path, *, channels=3, interpolation="bilinear", size=(64, 64), rule="short_side", resize_size=64,
              scaled=0, crop="none", pad=0, hflip=0.0, key=(1, 0, 0)):
    """Returns (pixels, box, flip); size is (width, height)."""
    pixels, text = tool.call("transform", path, channels, interpolation, *size, rule, resize_size, scaled, crop, pad, hflip,
                             *key)
    *box, flip = text.split()
    return pixels, tuple(int(float(v)) for v in box), flip == "1"


def source(folder, width, height, **options):
    path = folder / f"{width}x{height}"
    path.write_bytes(samples.save(Image.fromarray(samples.picture(width, height, 3)), "JPEG", quality=90, **options))
    with Image.open(path) as image:
        return path, ImageOps.exif_transpose(image).convert("RGB")


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_resize_then_center_crop(tool, tmp_path, name, mode):
    for shape in SHAPES:
        path, image = source(tmp_path, *shape)
        image = image.convert(mode)
        for resize_size, size in ((32, (32, 32)), (73, (64, 64)), (40, (64, 48)), (33, (20, 51)), (256, (224, 224))):
            if resize_size * max(shape) / min(shape) > 60000:
                continue
            theirs = F.center_crop(F.resize(image, resize_size, MODES[name]), [size[1], size[0]])
            ours, _, _ = transform(tool, path, channels=len(mode) if mode == "RGB" else 1, interpolation=name, size=size,
                                   resize_size=resize_size)
            assert_same_pixels(ours, theirs, f"{shape} {resize_size} {size}")


@pytest.mark.parametrize("name", MODES)
def test_stretch(tool, tmp_path, name):
    for shape in SHAPES:
        path, image = source(tmp_path, *shape)
        for size in ((224, 224), (31, 60)):
            ours, _, _ = transform(tool, path, interpolation=name, size=size, rule="stretch")
            assert_same_pixels(ours, F.resize(image, [size[1], size[0]], MODES[name]), f"{shape} {size}")


def test_no_resize(tool, tmp_path):
    path, image = source(tmp_path, 97, 61)
    ours, _, _ = transform(tool, path, size=(97, 61), rule="none")
    assert_same_pixels(ours, image, "as it is")
    for size in ((61, 97), (96, 61), (97, 62)):
        with pytest.raises(ImageError, match="error data the image is 97 x 61 pixels, but without resizing it must be"):
            transform(tool, path, size=size, rule="none")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_before_everything(tool, tmp_path, orientation):
    path, image = source(tmp_path, 317, 211, exif=samples.exif(orientation, b"MM"))
    theirs = F.center_crop(F.resize(image, 100), [90, 80])
    assert_same_pixels(transform(tool, path, size=(80, 90), resize_size=100)[0], theirs, "eval")
    for position in range(8):
        ours, box, flip = transform(tool, path, crop="random_resized", hflip=0.5, key=(3, 1, position))
        theirs = F.resized_crop(image, box[1], box[0], box[3] - box[1], box[2] - box[0], [64, 64])
        assert_same_pixels(ours, F.hflip(theirs) if flip else theirs, f"{box} {flip}")


def check_augmented(tool, path, image, name, size, positions):
    for position in range(positions):
        ours, box, flip = transform(tool, path, interpolation=name, size=size, crop="random_resized", hflip=0.5,
                                    key=(11, 2, position))
        x0, y0, x1, y1 = box
        assert 0 <= x0 < x1 <= image.width and 0 <= y0 < y1 <= image.height
        theirs = F.resized_crop(image, y0, x0, y1 - y0, x1 - x0, [size[1], size[0]], MODES[name])
        assert_same_pixels(ours, F.hflip(theirs) if flip else theirs, f"{path.name} {box} {flip}")


@pytest.mark.parametrize("name", MODES)
def test_random_resized_crop(tool, tmp_path, name):
    for shape in SHAPES:
        path, image = source(tmp_path, *shape)
        for size in ((224, 224), (30, 41)):
            check_augmented(tool, path, image, name, size, 12)


def test_random_resized_crop_of_photographs(tool):
    for path in photos(step=60):
        with Image.open(path) as image:
            check_augmented(tool, path, ImageOps.exif_transpose(image).convert("RGB"), "bilinear", (224, 224), 4)


def test_eval_of_photographs(tool):
    for path in photos(step=60):
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image).convert("RGB")
        ours, _, _ = transform(tool, path, size=(224, 224), resize_size=256)
        assert_same_pixels(ours, F.center_crop(F.resize(image, 256), [224, 224]), path.name)


def test_pad_and_random_crop(tool, tmp_path):
    path, image = source(tmp_path, 32, 32)
    seen = set()
    for position in range(150):
        ours, box, flip = transform(tool, path, size=(32, 32), rule="none", crop="pad_random", pad=4, hflip=0.5,
                                    key=(5, 0, position))
        theirs = F.crop(F.pad(image, 4), box[1] + 4, box[0] + 4, 32, 32)
        assert_same_pixels(ours, F.hflip(theirs) if flip else theirs, f"{box} {flip}")
        seen.add((box[0], box[1]))
    assert {x for x, _ in seen} == {y for _, y in seen} == set(range(-4, 5)), "all offsets, the outermost included"
    path, image = source(tmp_path, 97, 61)
    resized = F.resize(image, 40)
    for position in range(20):
        ours, box, flip = transform(tool, path, size=(40, 44), resize_size=40, crop="pad_random", pad=3, hflip=0.5,
                                    key=(5, 0, position))
        theirs = F.crop(F.pad(resized, 3), box[1] + 3, box[0] + 3, 44, 40)
        assert_same_pixels(ours, F.hflip(theirs) if flip else theirs, f"{box} {flip}")
    with pytest.raises(ImageError, match="error data .* smaller than the crop of 40 x 60"):
        transform(tool, path, size=(40, 60), resize_size=40, crop="pad_random", pad=3)


def draws(tool, width, height, count):
    """Rows of x0, y0, x1, y1, flip."""
    rows = [tool.call("draw", width, height, 17, 4, i)[1].split() for i in range(count)]
    return np.array(rows, dtype=float)


def distance(a, b):
    """Kolmogorov-Smirnov's largest distance between two distribution functions."""
    grid = np.sort(np.concatenate([a, b]))
    return np.abs(np.searchsorted(np.sort(a), grid, "right") / len(a) - np.searchsorted(np.sort(b), grid, "right") / len(b)).max()


@pytest.mark.parametrize("shape", [(423, 517), (640, 200), (100, 700), (900, 60)])
def test_draws_are_distributed_as_torchvisions(tool, shape):
    """P16. Areas, ratios and positions by Kolmogorov-Smirnov at a level of 1e-4; fallbacks included (900 x 60)."""
    count, (width, height) = 1500, shape
    ours = draws(tool, width, height, count)
    torch.manual_seed(9)
    image = Image.new("L", shape)
    params = [transforms.RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)]
    i, j, h, w = np.array(params, dtype=float).T
    x0, y0, x1, y1, flip = ours.T
    allowed = math.sqrt(-math.log(1e-4 / 2) / 2) * math.sqrt(2 / count)
    for what, a, b in (("area", (x1 - x0) * (y1 - y0), h * w), ("ratio", (x1 - x0) / (y1 - y0), w / h),
                       ("left", x0, j), ("top", y0, i), ("right", x1, j + w)):
        assert distance(a, b) <= allowed, what
    assert abs(flip.mean() - 0.5) <= 4 * 0.5 / math.sqrt(count)


def test_draws_depend_on_each_part_of_the_key(tool):
    """P16: a sample drawn twice in an epoch is augmented twice, differently."""
    texts = {tool.call("draw", 423, 517, *key)[1] for key in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1))}
    assert len(texts) == 4
    assert tool.call("draw", 423, 517, 1, 0, 0)[1] == tool.call("draw", 423, 517, 1, 0, 0)[1]


def test_scaled_decode_is_close(tool, tmp_path):
    """decode: scaled changes pixels a little, and never reads fewer than the result has."""
    smooth = Image.fromarray(samples.picture(80, 60, 3)).resize((1600, 1203), Image.Resampling.BICUBIC)
    path = tmp_path / "large"
    for orientation in (1, 3, 8):
        path.write_bytes(samples.save(smooth, "JPEG", quality=95, exif=samples.exif(orientation, b"II")))
        for arguments in ({"resize_size": 256}, {"crop": "random_resized", "hflip": 0.5}):
            exact, box, flip = transform(tool, path, size=(224, 224), **arguments)
            scaled, scaled_box, scaled_flip = transform(tool, path, size=(224, 224), scaled=1, **arguments)
            assert (box, flip) == (scaled_box, scaled_flip), "draws do not depend on the decoding"
            error = np.abs(exact.astype(float) - scaled).mean()
            assert 0 < error <= 3.0, f"{orientation} {arguments}: {error}"


def test_truncated_photograph_is_refused_in_evaluation(tool, tmp_path):
    """P14: even where what is missing lies below the crop."""
    path, _ = source(tmp_path, 300, 900)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImageError, match="error data the JPEG is truncated"):
        transform(tool, path, size=(224, 224), resize_size=256)
