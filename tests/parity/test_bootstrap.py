"""Intervals of macro-F1 and of its differences: equal to numpy and scikit-learn on the same resamples, and as often
right as they say."""

import subprocess

import numpy as np
import pytest
from sklearn.metrics import f1_score

MASK = np.uint64(0xFFFFFFFF)


def philox(seed, epoch, purpose, index, sub):
    """First 64 bits of Philox4x32-10 for an array of indices."""
    mixed = (seed ^ (purpose * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)) & 0xFFFFFFFFFFFFFFFF
    index = np.asarray(index, dtype=np.uint64)
    c = [index & MASK, index >> np.uint64(32), np.full_like(index, sub), np.full_like(index, epoch)]
    k = [mixed & 0xFFFFFFFF, mixed >> 32]
    for _ in range(10):
        one, two = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(two >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), two & MASK,
             (one >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), one & MASK]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c[0], c[1]


def below(seed, epoch, count, sub, bound):
    """count draws in [0, bound): 64 bits times the bound, the upper 64 of 128."""
    high, low = philox(seed, epoch, 8, np.arange(count), sub)
    bits = [(int(h) << 32 | int(w)) * bound >> 64 for h, w in zip(high, low)]
    return np.array(bits)


def ours(build, problems):
    text = []
    for labels, runs, a, resamples, seed, level in problems:
        classes = int(max(labels.max(), runs.max())) + 1
        text.append(f"{len(labels)} {classes} {len(runs)} {a} {resamples} {seed} {level}")
        text += [" ".join(map(str, row)) for row in (labels, *runs)]
    program = next(build.rglob("unit_report_test_bootstrap"))
    done = subprocess.run([program, "print"], input="\n".join(text), capture_output=True, text=True, check=True)
    return np.array([list(map(float, line.split())) for line in done.stdout.splitlines()])


def macro(labels, predicted):
    return f1_score(labels, predicted, average="macro", zero_division=0)


@pytest.mark.parametrize("runs, a", [(2, 1), (5, 3)])
def test_equal_to_numpy_on_the_same_resamples(build, runs, a):
    rng = np.random.default_rng(runs)
    n, resamples, seed, level = 60, 150, 7, 0.9
    labels = rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])
    predicted = np.array([np.where(rng.random(n) < 0.6 + 0.05 * r, labels, rng.integers(0, 4, n)) for r in range(runs)])
    first, differences = [], []
    for b in range(resamples):
        rows = below(seed, b, n, 0, n)
        scores = np.array([macro(labels[rows], run[rows]) for run in predicted])
        groups = [scores[:a], scores[a:]]
        drawn = [g[below(seed, b, len(g), 1 + i, len(g))] if len(g) > 1 else g for i, g in enumerate(groups)]
        first.append(scores[0])
        differences.append(drawn[0].mean() - drawn[1].mean())
    got = ours(build, [(labels, predicted, a, resamples, seed, level)])[0]
    score = np.array([macro(labels, run) for run in predicted])
    expected = [score[0], *np.quantile(first, [0.05, 0.95])]
    assert got[:3] == pytest.approx(expected, abs=1e-12)
    expected = [score[:a].mean() - score[a:].mean(), *np.quantile(differences, [0.05, 0.95])]
    assert got[4:7] == pytest.approx(expected, abs=1e-12)
    d = np.array(differences)
    assert got[7] == pytest.approx(min(1, 2 * (1 + min((d <= 0).sum(), (d >= 0).sum())) / (resamples + 1)), abs=1e-12)


def test_95_percent_intervals_cover_in_93_to_97_percent(build):
    """1,000 pairs of simulated classifiers whose true difference follows from their confusion probabilities."""
    rng = np.random.default_rng(0)
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    right = np.array([[0.9, 0.8, 0.7, 0.6], [0.85, 0.8, 0.75, 0.5]])

    def rates(accuracy):
        table = np.repeat((1 - accuracy)[:, None] / 3, 4, axis=1)
        np.fill_diagonal(table, accuracy)
        return table

    def true_f1(table):
        joint = prior[:, None] * table
        return np.mean(2 * np.diag(joint) / (joint.sum(0) + joint.sum(1)))

    truth = true_f1(rates(right[0])) - true_f1(rates(right[1]))
    problems = []
    for trial in range(1000):
        labels = rng.choice(4, 500, p=prior)
        # Both err on the same hard samples in part, as real classifiers do: one uniform number in three is shared.
        shared = rng.random(500)
        runs = []
        for accuracy in right:
            u = np.where(rng.random(500) < 1 / 3, shared, rng.random(500))
            edges = np.cumsum(rates(accuracy), axis=1)[labels]
            runs.append((u[:, None] > edges).sum(1).clip(max=3))
        problems.append((labels, np.array(runs), 1, 1000, trial, 0.95))
    got = ours(build, problems)
    covered = np.mean((got[:, 5] <= truth) & (truth <= got[:, 6]))
    print(f"covered {covered:.3f}")
    assert 0.93 <= covered <= 0.97
