"""Mixup and cutmix: lambda is distributed as SciPy's Beta, boxes are those of torchvision's CutMix, and probability and
switch those of timm's Mixup."""

import pathlib
import sys

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

sys.path.insert(0, str(pathlib.Path(__file__).parent / "image"))
from image_tool_client import tool  # noqa: E402, F401

NONE, MIXUP, CUTMIX = range(3)


def draws(tool, count, *, mixup=0.0, cutmix=0.0, probability=1.0, share=0.5, size=(64, 48), seed=3, epoch=1):
    """Rows of kind, lambda, x, y, width, height."""
    return np.array([tool.call("mix", mixup, cutmix, probability, share, *size, seed, epoch, i)[1].split()
                     for i in range(count)], dtype=float)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 2.5, 40.0])
def test_lambda_is_beta(tool, alpha):
    rows = draws(tool, 4000, mixup=alpha)
    assert (rows[:, 0] == MIXUP).all()
    lam = rows[:, 1]
    assert stats.kstest(lam, stats.beta(alpha, alpha).cdf).pvalue > 1e-4
    assert stats.kstest(lam, stats.beta(alpha * 1.2, alpha).cdf).pvalue < 1e-4, "the test can tell another distribution"


def test_cutmix_boxes_follow_torchvision(tool):
    """Given lambda (that of mixup with the same draws) and the centre, the box is torchvision's; so are distributions."""
    count, (width, height) = 3000, (64, 48)
    rows = draws(tool, count, cutmix=1.0, size=(width, height))
    raw = draws(tool, count, mixup=1.0, size=(width, height))[:, 1]
    assert (rows[:, 0] == CUTMIX).all()
    adjusted = 1 - rows[:, 4] * rows[:, 5] / (width * height)
    assert np.array_equal(rows[:, 1], adjusted), "lambda is what the box left"
    for lam, (_, _, x, y, w, h) in zip(raw, rows):
        r = 0.5 * np.sqrt(1 - lam)
        half_w, half_h = int(r * width), int(r * height)
        whole = 0 < x and x + w < width and 0 < y and y + h < height
        assert w <= 2 * half_w and h <= 2 * half_h and x + w <= width and y + h <= height
        if whole:
            assert (w, h) == (2 * half_w, 2 * half_h)
    torch.manual_seed(5)
    cutmix = v2.CutMix(num_classes=2)
    images = torch.zeros(2, 3, height, width)
    theirs = [cutmix.make_params([images]) for _ in range(count)]
    boxes = np.array([p["box"] for p in theirs], dtype=float)
    for what, a, b in (("lambda", rows[:, 1], [p["lam_adjusted"] for p in theirs]), ("left", rows[:, 2], boxes[:, 0]),
                       ("top", rows[:, 3], boxes[:, 1]), ("right", rows[:, 2] + rows[:, 4], boxes[:, 2]),
                       ("bottom", rows[:, 3] + rows[:, 5], boxes[:, 3])):
        assert stats.ks_2samp(a, b).pvalue > 1e-4, what


def test_probability_and_switch(tool):
    count = 3000
    kinds = draws(tool, count, mixup=0.2, cutmix=1.0, probability=0.6, share=0.25)[:, 0]
    for kind, expected in ((NONE, 0.4), (CUTMIX, 0.15), (MIXUP, 0.45)):
        assert stats.binomtest(int((kinds == kind).sum()), count, expected).pvalue > 1e-4
    assert (draws(tool, 50, mixup=0.2, cutmix=1.0, probability=0.0)[:, 0] == NONE).all()
    assert (draws(tool, 50, probability=1.0)[:, 0] == NONE).all(), "no alpha: nothing is mixed"


def test_lambda_depends_on_each_part_of_the_key(tool):
    seen = {draws(tool, 2, mixup=1.0, seed=seed, epoch=epoch)[i, 1] for seed in (1, 2) for epoch in (0, 1) for i in (0, 1)}
    assert len(seen) == 8
