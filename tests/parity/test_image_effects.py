"""Each operation of augmentation equals torchvision's on PIL images given the same parameters, to the last bit; Gaussian
blur may differ by one level where float32 decides a half (its docs say so)."""

import itertools
import math
import pathlib
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent / "image"))
import image_samples as samples
from image_tool_client import ImageError, assert_same_pixels, photos, tool  # noqa: F401

SIZES = [(1, 1), (2, 3), (3, 3), (16, 16), (17, 31), (64, 48), (97, 61)]
NEAREST, BILINEAR = InterpolationMode.NEAREST, InterpolationMode.BILINEAR


def shear(tangents, interpolation, fill):
    degrees = [math.degrees(math.atan(t)) for t in tangents]
    return lambda image: F.affine(image, 0.0, [0, 0], 1.0, degrees, interpolation, fill, center=[0, 0])


def translate(offset, interpolation, fill):
    return lambda image: F.affine(image, 0.0, [int(v) for v in offset], 1.0, [0.0, 0.0], interpolation, fill)


def apply_step(image, kind, value, interpolation=NEAREST, fill=None):
    """torchvision's counterpart of one drawn step."""
    table = {
        "vflip": F.vflip,
        "shear_x": shear((value, 0), interpolation, fill),
        "shear_y": shear((0, value), interpolation, fill),
        "translate_x": translate((value, 0), interpolation, fill),
        "translate_y": translate((0, value), interpolation, fill),
        "rotate": lambda i: F.rotate(i, value, interpolation, fill=fill),
        "brightness": lambda i: F.adjust_brightness(i, value),
        "contrast": lambda i: F.adjust_contrast(i, value),
        "saturation": lambda i: F.adjust_saturation(i, value),
        "sharpness": lambda i: F.adjust_sharpness(i, value),
        "hue": lambda i: F.adjust_hue(i, value),
        "posterize": lambda i: F.posterize(i, int(value)),
        "solarize": lambda i: F.solarize(i, value),
        "autocontrast": F.autocontrast,
        "equalize": F.equalize,
        "grayscale": lambda i: F.rgb_to_grayscale(i, len(i.getbands())),
    }
    return table[kind](image)


def write(folder, image):
    path = folder / f"{image.width}x{image.height}.png"
    image.save(path, "PNG")
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """(path, image) of synthetic pictures of many shapes, flat ones, dark ones, and one photograph where there is one."""
    folder = tmp_path_factory.mktemp("images")
    made = [Image.fromarray(samples.picture(w, h, 3)) for w, h in SIZES]
    made += [Image.new("RGB", (20, 21), (7, 200, 7)), Image.fromarray(samples.picture(40, 41, 3) // 5 + 60)]
    made += [Image.open(path).convert("RGB").resize((224, 225)) for path in photos(step=400)[:1]]
    return [(write(folder, image), image) for image in made]


def check(tool, images, kind, values, **options):
    bilinear, fill = options.get("bilinear", False), options.get("fill", (0, 0, 0))
    words = [f"bilinear={str(bilinear).lower()}", "fill=" + ",".join(map(str, fill))]
    compared = 0
    for (path, image), value, channels in itertools.product(images, values, (3, 1)):
        image = image.convert("L") if channels == 1 else image
        theirs = apply_step(image, kind, value, BILINEAR if bilinear else NEAREST, list(fill[:channels]))
        ours, _ = tool.call("effect", path, channels, kind, repr(value), *words)
        assert_same_pixels(ours, theirs, f"{kind} {value} {image.size} {channels}")
        compared += 1
    assert compared >= 2 * len(images)


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation", "sharpness"])
def test_enhancement(tool, images, kind):
    check(tool, images, kind, [0.0, 0.1, 0.37, 0.5, 0.999, 1.0, 1.0001, 1.4, 1.9, 2.7])


def test_hue(tool, images):
    check(tool, images, "hue", [-0.5, -0.31, -0.1, -0.003, 0.0, 0.0039, 0.02, 0.2, 0.499, 0.5])


def test_hue_of_every_colour(tool, tmp_path):
    """All of r, g, b in steps of 5 and the last, each way round the circle."""
    levels = np.unique(np.r_[np.arange(0, 256, 5), 1, 2, 3, 127, 128, 254])
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, len(levels), 3)
    image = Image.fromarray(cube.astype(np.uint8))
    path = write(tmp_path, image)
    for value in (0.0, 0.11, -0.4):
        assert_same_pixels(tool.call("effect", path, 3, "hue", value)[0], F.adjust_hue(image, value), f"{value}")


def test_tables(tool, images):
    check(tool, images, "posterize", [float(bits) for bits in range(1, 9)])
    check(tool, images, "solarize", [0.0, 0.5, 76.5, 127.0, 128.0, 254.99, 255.0])
    check(tool, images, "autocontrast", [0.0])
    check(tool, images, "equalize", [0.0])
    check(tool, images, "grayscale", [0.0])


def test_flip(tool, images):
    check(tool, images, "vflip", [0.0])


@pytest.mark.parametrize("bilinear", [False, True])
def test_rotation(tool, images, bilinear):
    angles = [-180.0, -134.9, -90.0, -45.0, -10.3, -0.001, 0.0, 0.7, 9.0, 30.0, 45.0, 89.99, 90.0, 135.0, 180.0, 271.5]
    check(tool, images, "rotate", angles, bilinear=bilinear)
    check(tool, images, "rotate", [17.3], bilinear=bilinear, fill=(9, 130, 255))


@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize("axis", "xy")
def test_shear_and_translation(tool, images, bilinear, axis):
    check(tool, images, f"shear_{axis}", [-0.99, -0.3, -0.09, 0.0, 0.01, 0.15, 0.66], bilinear=bilinear)
    check(tool, images, f"translate_{axis}", [-32.0, -9.9, -1.0, 0.0, 0.6, 3.0, 30.5], bilinear=bilinear)
    check(tool, images, f"shear_{axis}", [0.21], bilinear=bilinear, fill=(200, 3, 77))
    check(tool, images, f"translate_{axis}", [5.0], bilinear=bilinear, fill=(200, 3, 77))


def test_blur(tool, images):
    """Differences of one level, and fewer than one in ten thousand values, are float32's."""
    values = different = 0
    for (path, image), (size, sigma) in itertools.product(images, [(3, 0.1), (3, 0.8), (5, 1.3), (9, 2.0), (23, 1.0), (23, 7.0)]):
        if size // 2 >= min(image.size):
            with pytest.raises(ImageError, match="error configuration a blur of .* does not fit"):
                tool.call("effect", path, 3, "blur", sigma, f"blur_size={size}")
            continue
        ours, _ = tool.call("effect", path, 3, "blur", sigma, f"blur_size={size}")
        theirs = np.asarray(F.gaussian_blur(image, size, sigma))
        error = np.abs(ours.astype(int) - theirs.astype(int))
        assert error.max() <= 1, f"{image.size} {size} {sigma}"
        values += error.size
        different += int((error > 0).sum())
    assert values > 100_000 and different <= 1e-4 * values


def test_noise(tool, tmp_path):
    """Standard deviation, mean and cut-off of torchvision's GaussianNoise on uint8: a mid-grey image, and a black one."""
    from scipy import stats
    from torchvision.transforms import v2

    for level in (128, 0):
        image = Image.new("RGB", (256, 200), (level,) * 3)
        path = write(tmp_path, image)
        for sigma in (0.02, 0.1):
            ours = tool.call("effect", path, 3, "noise", sigma)[0].ravel().astype(int)
            torch.manual_seed(3)
            theirs = v2.functional.gaussian_noise(F.pil_to_tensor(image), 0.0, sigma).numpy().ravel().astype(int)
            assert stats.ks_2samp(ours, theirs).pvalue > 1e-4
            assert stats.ks_2samp(ours, ours + 1).pvalue < 1e-4, "the test can tell a shift of one level"
    across = tool.call("effect", path, 3, "noise", 0.1)[0].astype(float)
    assert abs(np.corrcoef(across[:, :-1].ravel(), across[:, 1:].ravel())[0, 1]) < 0.02, "neighbours are independent"
    assert abs(np.corrcoef(across[..., 0].ravel(), across[..., 1].ravel())[0, 1]) < 0.02
