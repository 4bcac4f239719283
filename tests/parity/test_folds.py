"""P18: folds are stratified and keep groups whole, at least as evenly as scikit-learn's StratifiedGroupKFold and StratifiedKFold;
`lockstep kfold` trains them all and prints mean and standard deviation."""

import csv
import json
import os
import pathlib
import statistics
import subprocess

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

LOCKSTEP = pathlib.Path(os.environ.get("LOCKSTEP_BUILD", "build")) / "bin/lockstep"
JOB = """
data: {data}
model: cifar_resnet8
epochs: 1
batch: 32
microbatch: 8
input: {{size: 8, resize: none}}
augment: {{crop: center}}
optimizer: {{lr: 0.02}}
"""


def lockstep(*arguments, check=True):
    result = subprocess.run([LOCKSTEP, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert not check or result.returncode == 0, result.stderr
    return result


def make_data(folder, labels, groups=None, test=0):
    """8 x 8 images; label k is a shade. The last `test` samples are the split test."""
    rng = np.random.default_rng(0)
    rows = []
    for i, label in enumerate(labels):
        pixels = rng.integers(0, 60, (8, 8, 3)) + 40 * label
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
        split = "test" if i >= len(labels) - test else "train" if i % 4 else "validation"
        rows.append([f"{i}.png", f"class{label}", split, *([f"group{groups[i]}"] if groups is not None else [])])
    with open(folder / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "split", *(["group"] if groups is not None else [])], *rows])
    grouping = ["--group-col", "group"] if groups is not None else []
    lockstep("pack", folder / "table.csv", folder / "data.h5", "--split-col", "split", *grouping)
    (folder / "job.yaml").write_text(JOB.format(data=folder / "data.h5"))
    return folder / "job.yaml"


def folds_of(job, k, *overrides):
    listed = json.loads(lockstep("kfold", job, k, *overrides, "--list", "--json").stdout)
    return {int(pathlib.Path(s["source"]).stem): s["fold"] for s in listed["samples"]}


def shares(labels, fold, k):
    """k x classes: samples of each class in each fold."""
    return np.array([[np.sum((labels == c) & (fold == f)) for c in range(labels.max() + 1)] for f in range(k)])


@pytest.mark.parametrize("k", [2, 5, 7])
def test_stratified_without_groups(tmp_path, k):
    labels = np.random.default_rng(1).choice(4, 150, p=[0.5, 0.3, 0.13, 0.07])
    job = make_data(tmp_path, labels, test=10)
    found = folds_of(job, k)
    assert sorted(found) == list(range(140)), "train and validation, each sample once, and no test sample"
    used = labels[:140]
    ours = shares(used, np.array([found[i] for i in range(140)]) - 1, k)
    theirs = np.zeros(140, int)
    for f, (_, held) in enumerate(StratifiedKFold(k, shuffle=True, random_state=0).split(used, used)):
        theirs[held] = f
    assert np.ptp(ours, axis=0).max() <= 1 and np.ptp(ours.sum(1)) <= 1
    assert np.ptp(ours, axis=0).max() <= np.ptp(shares(used, theirs, k), axis=0).max()
    assert found == folds_of(job, k), "the same each time"
    assert found != folds_of(job, k, "fold_seed=2")
    assert found == folds_of(job, k, "seed=9"), "one division for runs that differ in their seed"


@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_together_and_classes_are_even(tmp_path, seed):
    rng = np.random.default_rng(seed)
    k, sizes = 5, rng.integers(1, 9, 60)
    groups = np.repeat(np.arange(60), sizes)
    labels = np.concatenate([rng.choice(3, n, p=np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])[g % 3])
                             for g, n in enumerate(sizes)])
    job = make_data(tmp_path, labels, groups)
    found = folds_of(job, k)
    fold = np.array([found[i] for i in range(len(labels))]) - 1
    for group in range(60):
        assert len(set(fold[groups == group])) == 1
    theirs = np.zeros(len(labels), int)
    for f, (_, held) in enumerate(StratifiedGroupKFold(k, shuffle=True, random_state=0).split(labels, labels, groups)):
        theirs[held] = f
    total = np.bincount(labels)

    def worst(counts):
        return np.abs(counts / total - 1 / k).max()

    assert worst(shares(labels, fold, k)) <= max(worst(shares(labels, theirs, k)), 0.05)
    by_class = np.argsort(np.argsort(labels, kind="stable")) * k // len(labels)
    assert worst(shares(labels, by_class, k)) > 0.2, "the measure can tell folds that are not stratified"


def test_more_folds_than_the_smallest_class(tmp_path):
    labels = np.array([0] * 30 + [1] * 4)
    job = make_data(tmp_path, labels)
    result = lockstep("kfold", job, 5, "--list", check=False)
    assert result.returncode == 1
    assert "5 folds need 5 samples of every class, but class 'class1'" in result.stderr and "at most 4 folds" in result.stderr
    assert folds_of(job, 4)
    for words, said in (((1,), "no number of folds"), (("x",), "no number of folds"), ((3, "fold=2"), "kfold sets 'fold=2' itself"),
                        ((), "a job file and a number of folds")):
        result = lockstep("kfold", job, *words, check=False)
        assert result.returncode == 2 and said in result.stderr


def test_more_folds_than_groups_of_a_class(tmp_path):
    groups = np.arange(40) // 2
    labels = np.where(groups < 2, 1, 0)
    result = lockstep("kfold", make_data(tmp_path, labels, groups), 3, "--list", check=False)
    assert result.returncode == 1 and "3 folds need 3 groups of every class, but class 'class1'" in result.stderr


def test_all_folds_by_one_command(tmp_path):
    """Each fold's figures are those of `train folds=K fold=I`, and the spread is that of a sample."""
    labels = np.arange(90) % 3
    job = make_data(tmp_path, labels, test=15)
    output = lockstep("kfold", job, 3, "--run", tmp_path / "runs", "--json").stdout
    report = json.loads(output[output.index("\n{") + 1 :])
    assert [fold["samples"] for fold in report["folds"]] == [25, 25, 25]
    scores = [fold["macro_f1"] for fold in report["folds"]]
    assert report["mean"]["macro_f1"]["mean"] == pytest.approx(statistics.mean(scores), abs=1e-12)
    assert report["mean"]["macro_f1"]["standard_deviation"] == pytest.approx(statistics.stdev(scores), abs=1e-12)
    lockstep("train", job, "folds=3", "fold=2", "--run", tmp_path / "alone")
    epochs = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if '"epoch"' in line]
              for run in (tmp_path / "alone", tmp_path / "runs/fold-2")]
    assert [e["weights"] for e in epochs[0] if e["type"] == "epoch"] == [e["weights"] for e in epochs[1] if e["type"] == "epoch"]
    again = lockstep("kfold", job, 3, "--run", tmp_path / "runs", "--json", "--resume").stdout
    assert json.loads(again[again.index("\n{") + 1 :]) == report
    evaluated = json.loads(lockstep("eval", tmp_path / "alone/checkpoints/best_f1.h5", tmp_path / "data.h5", "--split",
                                    "validation", "--json").stdout)
    assert evaluated["samples"] == 25 and evaluated["macro_f1"] == pytest.approx(scores[1], abs=1e-12)
