"""Models equal torchvision's and timm's by name, shape and initialisation."""

import numpy as np
import pytest
from model_oracle import CIFAR, TIMM, TORCHVISION, Job, get_state, make_model, read_group


def initial(tool, name, seed=0):
    job = Job(name, mode="init", classes=10 if name in CIFAR else 1000, height=64, width=64, batch=2, seed=seed)
    with tool.run(job) as out:
        return read_group(out["params/0"]) | read_group(out["stats/0"]), job


@pytest.mark.parametrize("name", TORCHVISION + CIFAR + TIMM)
def test_names_and_shapes(tool, name):
    ours, job = initial(tool, name)
    theirs = get_state(make_model(name, job.classes))
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


# A standard deviation estimated from n normal values has a relative error of 1/sqrt(2n), a mean one of std/sqrt(n);
# uniform values are narrower. Five of those, over both sides, fail once in about a million tensors.
SIGMAS = 5


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "cifar_resnet20", "efficientnet_b0", "tf_efficientnet_lite0",
                                  "mobilenetv3_large_100"])
def test_initialisation_has_the_distribution_of_its_source(tool, name):
    ours, job = initial(tool, name, seed=3)
    theirs = get_state(make_model(name, job.classes))
    for key, expected in theirs.items():
        value = ours[key]
        if expected.std() == 0:  # BatchNorm: constants
            assert np.array_equal(value, expected), key
            continue
        n, std = value.size, expected.std()
        assert abs(value.mean() - expected.mean()) <= SIGMAS * std * np.sqrt(2 / n), key
        if n >= 100:
            assert abs(value.std() / std - 1) <= SIGMAS * np.sqrt(1 / n), key
        # Tails: normal values reach as far as theirs do, uniform ones end where theirs end.
        assert np.abs(value).max() <= 1.5 * np.abs(expected).max(), key
        kurtosis = [((v - v.mean()) ** 4).mean() / v.var() ** 2 for v in (value, expected)]
        if n >= 10000:
            assert abs(kurtosis[0] - kurtosis[1]) <= SIGMAS * np.sqrt(2 * 24 / n), key


def test_initialisation_is_a_function_of_the_seed(tool):
    first, _ = initial(tool, "cifar_resnet8", seed=5)
    again, _ = initial(tool, "cifar_resnet8", seed=5)
    other, _ = initial(tool, "cifar_resnet8", seed=6)
    assert all(np.array_equal(first[k], again[k]) for k in first)
    drawn = [k for k in first if first[k].std() > 0]
    assert drawn and not any(np.array_equal(first[k], other[k]) for k in drawn)


def test_layers_of_equal_shape_draw_different_values(tool):
    values, _ = initial(tool, "cifar_resnet14")
    names = [k for k in values if values[k].shape == (16, 16, 3, 3)]
    assert len(names) >= 4
    for a in names:
        for b in names:
            if a < b:
                assert abs(np.corrcoef(values[a].ravel(), values[b].ravel())[0, 1]) < 0.15, (a, b)


def test_neighbouring_elements_are_independent(tool):
    values, _ = initial(tool, "resnet18", seed=1)
    for name, value in values.items():
        flat = value.ravel()
        if flat.std() == 0 or flat.size < 1000:
            continue
        for lag in (1, 2, 3, 4):
            correlation = np.corrcoef(flat[:-lag], flat[lag:])[0, 1]
            assert abs(correlation) <= SIGMAS / np.sqrt(flat.size - lag), (name, lag)
            # Squares too: the two normals of a pair share a radius, which must leave no trace.
            correlation = np.corrcoef(flat[:-lag] ** 2, flat[lag:] ** 2)[0, 1]
            assert abs(correlation) <= SIGMAS / np.sqrt(flat.size - lag), (name, lag)
