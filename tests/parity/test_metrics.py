"""Metrics against scikit-learn on random confusion matrices, absent classes among them."""

import os
import subprocess
import warnings

import numpy as np
import pytest
from sklearn import metrics

PROGRAM = f"{os.environ['LOCKSTEP_BUILD']}/tests/unit_train_test_metrics"


def matrix(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 12))
    counts = rng.integers(0, int(rng.choice([2, 10, 5000])), size=(classes, classes))
    kind = seed % 4
    if kind == 1:  # a class without samples
        counts[rng.integers(classes), :] = 0
    elif kind == 2:  # a class that is never predicted
        counts[:, rng.integers(classes)] = 0
    elif kind == 3:  # a class that does not occur at all
        absent = rng.integers(classes)
        counts[absent, :] = 0
        counts[:, absent] = 0
    if counts.sum() == 0:
        counts[0, 0] = 1
    return counts


@pytest.mark.parametrize("seed", range(40))
def test_equal_to_scikit_learn(seed):  # P2, P3
    counts = matrix(seed)
    classes = len(counts)
    rows, columns = np.indices(counts.shape)
    true = np.repeat(rows.ravel(), counts.ravel())
    predicted = np.repeat(columns.ravel(), counts.ravel())
    text = f"{classes}\n" + " ".join(str(v) for v in counts.ravel())
    lines = subprocess.run([PROGRAM, "print"], input=text, check=True, capture_output=True, text=True).stdout.splitlines()
    ours = [float(v) for v in lines[0].split()]
    per_class = np.array([line.split() for line in lines[1:]], dtype=float)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        balanced = metrics.balanced_accuracy_score(true, predicted)
    labels = list(range(classes))
    theirs = [
        metrics.accuracy_score(true, predicted),
        metrics.f1_score(true, predicted, average="macro", zero_division=0),
        metrics.f1_score(true, predicted, average="macro", zero_division=0, labels=labels),
        balanced,
    ]
    assert np.max(np.abs(np.array(ours) - theirs)) <= 1e-15
    assert [f"{v:.4f}" for v in ours] == [f"{v:.4f}" for v in theirs]
    expected = np.array(metrics.precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)).T
    assert np.max(np.abs(per_class - expected)) <= 1e-15
