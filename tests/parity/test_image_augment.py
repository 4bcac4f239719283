"""What is drawn for a training sample is distributed as torchvision's transforms draw it, and the whole chain (crop, flips,
rotation, policy, jitter, grayscale, erasing) gives torchvision's pixels for what was drawn (P16)."""

import collections
import math
import pathlib
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision import transforms
from torchvision.transforms import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent / "image"))
import image_samples as samples
from image_tool_client import assert_same_pixels, tool  # noqa: F401
from test_image_effects import BILINEAR, NEAREST, apply_step

LEVEL = 1e-4  # of every statistical test
MEAN = np.rint(255 * np.array([0.485, 0.456, 0.406])).astype(np.uint8)
POLICY = ["identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "saturation", "contrast",
          "sharpness", "posterize", "solarize", "autocontrast", "equalize"]
THEIRS = ["Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
          "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"]


def parse(text):
    steps = [word.split(":") for word in text.split()]
    return [(kind, float(value), tuple(map(int, box))) for kind, value, *box in steps]


def steps(tool, position, *, size=(64, 48), seed=5, epoch=2, **fields):
    words = [f"{name}={value}" for name, value in fields.items()]
    return parse(tool.call("steps", *size, seed, epoch, position, *words)[1])


def uniform(values, low, high):
    return stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > LEVEL


# ---- the whole chain ----

CHAINS = [
    dict(vflip=0.5, rotate=20),
    dict(policy="rand", policy_magnitude=14, fill="9,8,200"),
    dict(policy="rand", policy_ops=4, policy_magnitude=30, bilinear="true"),
    dict(policy="trivial"),
    dict(policy="trivial", bilinear="true", fill="124,116,104"),
    dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, grayscale=0.3),
    dict(erase=0.9),
    dict(vflip=0.5, rotate=10, policy="rand", brightness=0.3, hue=0.2, jitter=0.8, grayscale=0.2, erase=0.5, bilinear="true"),
]


@pytest.mark.parametrize("fields", CHAINS, ids=lambda fields: "-".join(fields))
@pytest.mark.parametrize("channels", [3, 1])
def test_chain_equals_torchvision(tool, tmp_path, fields, channels):
    image = Image.fromarray(samples.picture(120, 90, 3))
    path = tmp_path / "picture.png"
    image.save(path)
    image = image if channels == 3 else image.convert("L")
    mode = BILINEAR if fields.get("bilinear") == "true" else NEAREST
    fill = [int(v) for v in fields.get("fill", "0,0,0").split(",")][:channels]
    kinds = collections.Counter()
    for position in range(40):
        words = [f"{name}={value}" for name, value in {"hflip": 0.5, **fields}.items()]
        ours, text = tool.call("augment", path, channels, 64, 48, 3, 1, position, *words)
        x0, y0, x1, y1, flip, *rest = text.split()
        x0, y0, x1, y1 = (int(float(v)) for v in (x0, y0, x1, y1))
        theirs = F.resized_crop(image, y0, x0, y1 - y0, x1 - x0, [48, 64])
        theirs = F.hflip(theirs) if flip == "1" else theirs
        drawn = parse(" ".join(rest))
        for kind, value, (x, y, w, h) in drawn:
            kinds[kind] += 1
            if kind != "erase":
                theirs = apply_step(theirs, kind, value, mode, fill)
                continue
            pixels = np.array(theirs).reshape(48, 64, channels)
            pixels[y : y + h, x : x + w] = MEAN[:channels]
            theirs = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
        assert_same_pixels(ours, theirs, f"{position} {drawn}")
    order = ["vflip", "rotate", "policy", "jitter", "grayscale", "erase"]
    assert kinds, f"nothing was drawn in {order}"


def test_order_of_the_chain(tool):
    """Flip, rotation, policy, jitter, grayscale, blur, noise, erasing: as docs/augmentation.md says."""
    drawn = steps(tool, 0, vflip=1, rotate=5, policy="rand", brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, grayscale=1,
                  blur=1, noise=1, erase=1, erase_scale_max=0.1)
    kinds = [kind for kind, *_ in drawn]
    assert kinds[:2] == ["vflip", "rotate"] and kinds[-4:] == ["grayscale", "blur", "noise", "erase"]
    jitter = kinds[-8:-4]
    assert set(jitter) == {"brightness", "contrast", "saturation", "hue"} and len(kinds[2:-8]) <= 2


# ---- policies ----

def space(policy, size):
    if policy == "rand":
        return transforms.RandAugment()._augmentation_space(31, size[::-1])
    return transforms.TrivialAugmentWide()._augmentation_space(31)


def strengths(policy, size, name):
    magnitudes, signed = space(policy, size)[name]
    values = [float(v) for v in magnitudes] if magnitudes.ndim else [0.0]
    if signed:
        values = values + [-v for v in values]
    return [1 + v for v in values] if name in ("Brightness", "Color", "Contrast", "Sharpness") else values


@pytest.mark.parametrize("magnitude", [0, 9, 17, 30])
def test_randaugment_uses_torchvisions_table(tool, magnitude):
    size, seen = (224, 192), collections.defaultdict(set)
    for position in range(400):
        for kind, value, _ in steps(tool, position, size=size, policy="rand", policy_ops=8, policy_magnitude=magnitude):
            seen[kind].add(value)
    assert set(seen) == set(POLICY[1:])
    for ours, theirs in zip(POLICY[1:], THEIRS[1:]):
        table = strengths("rand", size, theirs)
        half = len(table) // 31
        expected = {table[magnitude + 31 * k] for k in range(half)} if half else {0.0}
        assert seen[ours] == expected, ours


def test_trivialaugment_uses_torchvisions_table(tool):
    count, seen = 12000, collections.defaultdict(list)
    for position in range(count):
        for kind, value, _ in steps(tool, position, policy="trivial") or [("identity", 0.0, None)]:
            seen[kind].append(value)
    assert stats.chisquare([len(seen[kind]) for kind in POLICY]).pvalue > LEVEL, "operations are equally likely"
    for ours, theirs in zip(POLICY, THEIRS):
        expected = collections.Counter(strengths("trivial", (64, 48), theirs))
        got = collections.Counter(seen[ours])
        assert set(got) <= set(expected), ours
        if len(expected) > 1:
            share = [expected[v] * len(seen[ours]) / sum(expected.values()) for v in expected]
            assert stats.chisquare([got[v] for v in expected], share).pvalue > LEVEL, f"strengths of {ours}"


def test_randaugment_draws_operations_evenly_and_apart(tool):
    pairs, signs = collections.Counter(), 0
    for position in range(6000):
        drawn = steps(tool, position, policy="rand", policy_ops=2)
        pairs[len(drawn)] += 1
        signs += sum(value > 0 for kind, value, _ in drawn if kind == "shear_x") - \
            sum(value < 0 for kind, value, _ in drawn if kind == "shear_x")
    p = 1 / 14  # of the identity, independently for both
    expected = [6000 * p * p, 6000 * 2 * p * (1 - p), 6000 * (1 - p) ** 2]
    assert stats.chisquare([pairs[n] for n in range(3)], expected).pvalue > LEVEL
    assert abs(signs) < 4 * math.sqrt(6000 * 2 / 14)


# ---- single transforms ----

def test_jitter(tool):
    """Factors as ColorJitter draws them, in each of the 24 orders equally often."""
    count, widths = 3000, dict(brightness=0.4, contrast=1.3, saturation=0.2, hue=0.1)
    drawn = [steps(tool, i, **widths) for i in range(count)]
    torch.manual_seed(4)
    jitter = transforms.ColorJitter(**widths)
    theirs = [jitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) for _ in range(count)]
    for k, name in enumerate(widths):
        values = [dict((kind, value) for kind, value, _ in d)[name] for d in drawn]
        assert stats.ks_2samp(values, [float(t[k + 1]) for t in theirs]).pvalue > LEVEL, name
    orders = collections.Counter(tuple(kind for kind, *_ in d) for d in drawn)
    assert len(orders) == 24 and stats.chisquare(list(orders.values())).pvalue > LEVEL
    values = np.array([[dict((kind, value) for kind, value, _ in d)[name] for name in widths] for d in drawn])
    assert np.abs(np.corrcoef(values.T) - np.eye(4)).max() < 0.09, "factors are independent"


def test_rotation_and_sigma(tool):
    angles = [steps(tool, i, rotate=15)[0][1] for i in range(2000)]
    assert uniform(angles, -15, 15)
    sigmas = [steps(tool, i, blur=1, blur_min=0.1, blur_max=2.0)[0][1] for i in range(2000)]
    assert uniform(sigmas, 0.1, 2.0)


@pytest.mark.parametrize("name", ["vflip", "grayscale", "blur", "noise", "erase"])
def test_probabilities(tool, name):
    count = 2000
    happened = sum(bool(steps(tool, i, **{name: 0.3}, erase_scale_max=0.1)) for i in range(count))
    assert stats.binomtest(happened, count, 0.3).pvalue > LEVEL
    assert not any(steps(tool, i, **{name: 0}) for i in range(50))


def test_jitter_probability(tool):
    happened = sum(bool(steps(tool, i, brightness=0.3, jitter=0.8)) for i in range(2000))
    assert stats.binomtest(happened, 2000, 0.8).pvalue > LEVEL


@pytest.mark.parametrize("size", [(64, 48), (224, 224)])
def test_erasing_boxes(tool, size):
    count = 2500
    ours = [steps(tool, i, size=size, erase=1) for i in range(count)]
    torch.manual_seed(6)
    image = torch.zeros(3, size[1], size[0])
    theirs = [transforms.RandomErasing.get_params(image, (0.02, 0.33), (0.3, 3.3), [0.0]) for _ in range(count)]
    # torchvision gives the whole image back, starting at 0, 0, where ten tries failed
    failed = sum(t[2:4] == (size[1], size[0]) for t in theirs), sum(not o for o in ours)
    assert failed[0] <= 2 and failed[1] <= 2
    ours = np.array([o[0][2] for o in ours if o], dtype=float)
    theirs = np.array([t[:4] for t in theirs if t[2:4] != (size[1], size[0])], dtype=float)
    for what, a, b in (("left", ours[:, 0], theirs[:, 1]), ("top", ours[:, 1], theirs[:, 0]),
                       ("area", ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]),
                       ("ratio", ours[:, 3] / ours[:, 2], theirs[:, 2] / theirs[:, 3]),
                       ("bottom", ours[:, 1] + ours[:, 3], theirs[:, 0] + theirs[:, 2])):
        assert stats.ks_2samp(a, b).pvalue > LEVEL, what


def test_erasing_with_noise(tool, tmp_path):
    """Inside the box a normal about the mean, cut at 0 and 255; outside untouched; grey levels differ by sample."""
    path = tmp_path / "flat.png"
    Image.new("RGB", (96, 96), (255, 0, 255)).save(path)
    seen, inside = [], []
    for position in range(12):
        pixels, text = tool.call("augment", path, 3, 96, 96, 3, 1, position, "erase=1", "erase_fill=noise", "erase_scale_min=0.2")
        _, _, (x, y, w, h) = parse(" ".join(text.split()[5:]))[0]
        mask = np.zeros((96, 96), bool)
        mask[y : y + h, x : x + w] = True
        assert (pixels[~mask] == (255, 0, 255)).all()
        inside.append(pixels[mask])
        seen.append(pixels[y, x].tobytes())
    assert len(set(seen)) == 12
    values = np.concatenate(inside).astype(float)
    for c, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        rng = np.random.default_rng(c)
        expected = np.clip(np.rint(255 * rng.normal(mean, std, 40000)), 0, 255)
        assert stats.ks_2samp(values[:, c], expected).pvalue > LEVEL


def test_draws_depend_on_each_part_of_the_key(tool):
    fields = dict(policy="trivial", rotate=10, brightness=0.3, hue=0.1, erase=1)
    keys = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)]
    drawn = [str(steps(tool, p, seed=s, epoch=e, **fields)) for s, e, p in keys]
    assert len(set(drawn)) == 4
    assert drawn[0] == str(steps(tool, 0, seed=1, epoch=0, **fields))
