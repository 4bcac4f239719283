"""The drivers of the whole runs (tests/parity/whole_runs), at a size that takes seconds: both sides run, go on, and are compared."""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import sklearn.metrics

HERE = pathlib.Path(__file__).parent / "whole_runs"
BUILD = pathlib.Path(os.environ["LOCKSTEP_BUILD"])
PHOTOS = pathlib.Path(os.environ.get("LOCKSTEP_PHOTOS", pathlib.Path(__file__).parents[3] / "shared/data/clothing-small"))
sys.path.insert(0, str(HERE))
TINY = ["epochs=2", "batch=8", "microbatch=4", "input.size=32", "input.resize_size=36", "schedule.warmup_epochs=0"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    if not PHOTOS.is_dir():
        pytest.skip(f"no photographs at {PHOTOS}: set LOCKSTEP_PHOTOS")
    folder = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 8), ("validation", 4), ("test", 5)):
        for name in ("dress", "hat", "pants"):
            (folder / split / name).mkdir(parents=True)
            for path in sorted((PHOTOS / split / name).iterdir())[:count]:
                (folder / split / name / path.name).symlink_to(path)
    return folder


def drive(*words):
    done = subprocess.run([sys.executable, HERE / "run.py", *map(str, words)], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_both_sides_run_in_parts_and_are_compared(photos, tmp_path):
    run = ["run", BUILD, photos, tmp_path, "--recipes", "resnet18_scratch", "--set", *TINY]
    drive(*run, "--seeds", 1, "--seconds", 0)  # stops at once
    assert not (tmp_path / "results.jsonl").exists()
    drive(*run, "--seeds", 1, "--sides", "lockstep")
    drive(*run, "--seeds", 1, 2)
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(r["side"], r["seed"]) for r in results] == [("lockstep", 1), ("torch", 1), ("lockstep", 2), ("torch", 2)]
    for r in results:
        assert len(r["epochs"]) == len(r["seconds"]) == 2 and min(r["seconds"]) > 0
        assert r["labels"] == [0] * 5 + [1] * 5 + [2] * 5  # the same samples in the same order
        expected = sklearn.metrics.f1_score(r["labels"], r["predictions"], average="macro", zero_division=0)
        assert abs(r["test_f1"] - expected) < 1e-9
    row = json.loads(drive("report", tmp_path, "--json"))[0]
    assert row["interval"][0] <= row["difference"] <= row["interval"][1]
    assert set(row["time_to_level"]) == {"lockstep", "torch"}
    table = drive("report", tmp_path).splitlines()
    assert len(table) >= 4 and table[2].startswith("| resnet18_scratch | lockstep | 2 |")
    assert drive(*run, "--seeds", 1, 2) == ""  # nothing is left to do


def test_torch_goes_on_where_it_stood(photos, tmp_path):
    import recipe
    import torch_recipe

    one = recipe.read(HERE / "resnet18_scratch.yaml", [*TINY, "schedule.kind=constant"])
    torch_recipe.main(one, photos, tmp_path / "a")
    torch_recipe.main({**one, "epochs": 1}, photos, tmp_path / "b")
    torch_recipe.main(one, photos, tmp_path / "b")
    a, b = (json.loads((tmp_path / name / "result.json").read_text()) for name in "ab")
    assert len(a["epochs"]) == len(b["epochs"]) == 2 and a["epochs"][0] == b["epochs"][0]


def test_the_interval_and_the_score():
    import run

    rng = np.random.default_rng(3)
    labels = rng.integers(4, size=200)
    runs = [[{"labels": labels.tolist(), "predictions": np.where(rng.random(200) < share, labels, 0).tolist()}
             for _ in range(3)] for share in (0.9, 0.6)]
    for r in [*runs[0], *runs[1]]:
        expected = sklearn.metrics.f1_score(labels, r["predictions"], average="macro")
        assert abs(run.macro_f1(labels, np.array(r["predictions"]), 4) - expected) < 1e-12
    low, high = run.interval(*runs, resamples=400)
    assert 0.1 < low < high < 0.5
    same = run.interval(runs[0], runs[0], resamples=400)
    assert same[0] <= 0 <= same[1]


def test_a_key_that_the_script_does_not_know_is_refused():
    import recipe

    with pytest.raises(SystemExit, match="does not know the key 'mixup'"):
        recipe.read(HERE / "resnet18_scratch.yaml", ["mix.mixup=0.2".replace("mix.", "augment.")])
    with pytest.raises(SystemExit, match="schedules"):
        recipe.read(HERE / "resnet18_scratch.yaml", ["schedule.kind=plateau"])
