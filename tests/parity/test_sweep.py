"""lockstep sweep: every variant with every seed, in one command that can be stopped, run again, started on several ranks, and that ends
with the comparison. What it trains is what lockstep train does, bit for bit."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import time

import h5py
import pytest
from test_folds import LOCKSTEP, make_data

ROOT = pathlib.Path(__file__).parents[2]
SWEEP = """
base: job.yaml
set: {epochs: 2}
seeds: [3, 4]
variants:
  plain:
  fast: {optimizer: {lr: 0.04}, input: {mean: [0.4, 0.4, 0.4]}}
"""
MPI = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def sweep(folder, *words, code=0, ranks=1):
    launch = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run([*launch, LOCKSTEP, "sweep", *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=300, env=MPI)
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    make_data(folder, [i % 3 for i in range(72)], test=12)
    folder.joinpath("sweep.yaml").write_text(SWEEP)
    return folder


def weights(run):
    with h5py.File(run / "checkpoints/last.h5") as file:
        return b"".join(file["model"][name][()].tobytes() for name in sorted(file["model"]))


def states(text):
    return [line.split()[3] if "not begun" not in line else "new" for line in text.splitlines()[1:]]


@pytest.fixture(scope="module")
def swept(folder):
    assert states(sweep(folder, "sweep.yaml", "-o", "out", "--dry-run").stdout) == ["new"] * 4 and not (folder / "out").exists()
    return sweep(folder, "sweep.yaml", "-o", "out").stdout


def test_trains_what_train_does_and_compares(folder, swept):
    subprocess.run([LOCKSTEP, "train", "job.yaml", "epochs=2", "seed=4", "optimizer.lr=0.04", "input.mean=0.4, 0.4, 0.4", "--run", "alone"],
                   cwd=folder, check=True, capture_output=True)
    assert weights(folder / "out/fast-seed-4") == weights(folder / "alone")
    names = [line.split("/")[-1] for line in swept.splitlines() if line.startswith("run ")]
    assert names == ["plain-seed-3", "fast-seed-3", "plain-seed-4", "fast-seed-4"]
    rows = list(csv.DictReader(open(folder / "out/report.csv")))
    assert {(row["recipe"], row["seed"]) for row in rows} == {(v, s) for v in ("plain", "fast") for s in ("3", "4")}
    assert "| plain | 2 |" in (folder / "out/report.md").read_text() and "<h1>" in (folder / "out/report.html").read_text()
    text = sweep(folder, "sweep.yaml", "-o", "out", "--report", "--decision").stdout
    assert "plain + decision" in text and "fast + decision" in (folder / "out/report.md").read_text()
    line = [json.loads(text) for text in open(folder / "out/fast-seed-4/metrics.jsonl") if '"epoch"' in text][-1]
    assert 0 < line["peak_memory_mib"] < 4096


def test_finished_runs_are_skipped_and_killed_ones_go_on(folder, swept):
    before = (folder / "out/plain-seed-3/checkpoints/last.h5").stat().st_mtime_ns
    wanted = weights(folder / "out/fast-seed-3")
    (folder / "out/fast-seed-3/predictions.h5").unlink()  # killed at the very end
    assert states(sweep(folder, "sweep.yaml", "-o", "out", "--list").stdout) == ["finished", "unfinished", "finished", "finished"]
    text = sweep(folder, "sweep.yaml", "-o", "out").stdout
    assert text.count("finished already") == 3 and "fast-seed-3, going on" in text
    assert (folder / "out/plain-seed-3/checkpoints/last.h5").stat().st_mtime_ns == before
    assert weights(folder / "out/fast-seed-3") == wanted and (folder / "out/fast-seed-3/predictions.h5").exists()


def test_a_changed_job_or_data_set_is_refused(folder, swept, tmp_path):
    done = sweep(folder, "sweep.yaml", "-o", "out", "optimizer.momentum=0.5", code=1)
    assert "plain-seed-3 holds another run: 'optimizer.momentum' is 0.5 in the job" in done.stderr and "-o" in done.stderr
    listed = sweep(folder, "sweep.yaml", "-o", "out", "optimizer.momentum=0.5", "--list").stdout
    assert states(listed) == ["refused"] * 4
    make_data(tmp_path, [i % 3 for i in range(60)], test=12)
    done = sweep(folder, "sweep.yaml", "-o", "out", f"data={tmp_path / 'data.h5'}", code=1)
    assert "trained on another data set" in done.stderr
    # More epochs of a constant rate are no other job: the runs go on.
    assert states(sweep(folder, "sweep.yaml", "-o", "out", "epochs=3", "--list").stdout) == ["unfinished"] * 4


def test_on_two_ranks_a_failing_run_is_passed_over(folder, swept):
    folder.joinpath("bad.yaml").write_text(SWEEP.replace("plain:", "bad: {optimizer: {lr: 1000000}}").replace("[3, 4]", "[3]"))
    done = sweep(folder, "bad.yaml", "-o", "two", ranks=2, code=1)
    assert "two/bad-seed-3 failed: " in done.stderr and "not finite" in done.stderr
    assert "1 of 2 runs failed" in done.stderr and done.stderr.count("holds") == 0
    assert weights(folder / "two/fast-seed-3") == weights(folder / "out/fast-seed-3")
    assert "not finished" in (folder / "two/report.md").read_text()
    sweep(folder, "bad.yaml", "-o", "two", "--only", 2)  # finished: nothing to do, nothing failed


def test_a_signal_stops_it_and_the_same_command_goes_on(folder, swept, tmp_path):
    words = [LOCKSTEP, "sweep", "sweep.yaml", "epochs=40", "-o", tmp_path / "out"]
    process = subprocess.Popen([*words, "checkpoint.every=1"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out/plain-seed-3/checkpoints/last.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 75 and "plain-seed-3" in error and "the same command goes on" in error
    assert states(sweep(folder, *words[2:], "--list").stdout) == ["unfinished", "new", "new", "new"]
    assert "nothing to compare yet" in sweep(folder, *words[2:], "--report").stdout
    text = sweep(folder, *words[2:], "--only", 1).stdout
    assert "plain-seed-3, going on" in text and "epoch 40/40" in text and "epoch  1/40" not in text
    assert states(sweep(folder, *words[2:], "--list").stdout) == ["finished", "new", "new", "new"]


BAD = {
    "unknown key": (("lr: 0.04", "lrr: 0.04"), "line 7: unknown key 'optimizer.lrr'; did you mean 'optimizer.lr'"),
    "unknown key of the sweep": (("set:", "sets:"), "line 3: unknown key 'sets'"),
    "bad value": (("lr: 0.04", "lr: fast"), "line 7: 'optimizer.lr' is 'fast'"),
    "twice": (("fast:", "plain:"), "line 7: two variants are called 'plain'"),
    "no file name": (("fast:", "a/b:"), "line 7: 'a/b' cannot name a variant"),
    "markup": (("fast:", '"<script>":'), "line 7: '<script>' cannot name a variant"),
    "hidden": (("fast:", "..:"), "'..' cannot name a variant"),
    "line break": (("fast:", '"a\\nb":'), "'a?b' cannot name a variant"),
    "no seeds": (("seeds: [3, 4]", ""), "the key 'seeds' is missing"),
    "empty seeds": (("[3, 4]", "[]"), "line 4: 'seeds' must be a list of at least one number"),
    "a seed that is none": (("[3, 4]", "[3, x]"), "line 4: 'seed' is 'x'"),
    "seed twice": (("[3, 4]", "[3, 3]"), "line 4: the seed 3 is given twice"),
    "seed in a variant": (("lr: 0.04}", "lr: 0.04}, seed: 1"), "line 7: 'seed' is set by the sweep"),
    "no variants": (("  plain:\n", "  {}\n"), "not valid YAML"),
    "empty variants": (("variants:", "variants: {}\nset2:"), "unknown key 'set2'"),
    "key twice": (("{lr: 0.04}", "{lr: 0.04, lr: 0.05}"), "line 7: 'optimizer.lr' is given twice"),
    "empty group": (("{lr: 0.04}", "{}"), "line 7: 'optimizer' has no keys"),
    "a list for one value": (("lr: 0.04", "lr: [0.1, 0.2]"), "line 7: 'optimizer.lr' is '0.1, 0.2'"),
    "alias": (("set: {epochs: 2}", "set: &a {epochs: 2}\nbase: *a"), "is given twice"),
    "alias as a variant": (("  plain:", "  plain: &a {epochs: 2}\n  other: *a"), "aliases (*name) are not allowed"),
    "tag": (("epochs: 2", "epochs: !!int 2"), "tags (!name) are not allowed"),
    "no base": (("base: job.yaml", ""), "variant 'plain' has no job file"),
    "missing base": (("job.yaml", "gone.yaml"), "gone.yaml"),
    "base in set": (("epochs: 2", "base: job.yaml"), "'base' belongs to the sweep or to a variant"),
    "equal variants": (("lr: 0.04}, input: {mean: [0.4, 0.4, 0.4]}", "lr: 0.02}"), "variants 'plain' and 'fast' are the same job"),
    "other folds": (("lr: 0.04}", "lr: 0.04}, folds: 2, fold: 1"), "variants 'plain' and 'fast' differ in 'folds' (0, 2)"),
    "what keys cannot tell alone": (("lr: 0.04}", "lr: 0.04}, microbatch: 5"), "variant 'fast': batch 32 is not a multiple"),
    "not YAML": (("[3, 4]", "[3, 4"), "not valid YAML"),
    "two documents": (("variants:", "---\nvariants:"), "second document"),
    "a list": (("base: job.yaml", "- base"), "not valid YAML"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_sweeps_get_a_sentence(folder, name):
    (old, new), sentence = BAD[name]
    assert old in SWEEP
    folder.joinpath("wrong.yaml").write_text(SWEEP.replace(old, new, 1))
    done = sweep(folder, "wrong.yaml", "--list", code=1)
    assert sentence in done.stderr and done.stderr.count("\n") == 1 and "wrong.yaml" in done.stderr + sentence and done.stdout == ""


def test_empty_and_large_sweeps(folder):
    for text, sentence in [("", "is no sweep"), ("seeds: [1]\nvariants: {}\n", "'variants' must name at least one"),
                           ("x" * (1 << 20) + "y", "hardly a sweep"), (f"base: j\nseeds: {list(range(300))}\nvariants: {{a: }}\n", "more than 256"),
                           (f"base: j\nseeds: {list(range(200))}\nvariants: {{a: , b: }}\n", "more than the 256 runs")]:
        folder.joinpath("wrong.yaml").write_text(text)
        assert sentence in sweep(folder, "wrong.yaml", "--list", code=1).stderr


def test_wrong_usage(folder):
    assert "list it under 'seeds'" in sweep(folder, "sweep.yaml", "seed=3", code=2).stderr
    assert "has 4 runs" in sweep(folder, "sweep.yaml", "--only", 5, code=2).stderr
    sweep(folder, "sweep.yaml", "--list", "--report", code=2)
    sweep(folder, code=2)
    assert "gone.yaml" in sweep(folder, "gone.yaml", code=1).stderr


def test_the_six_recipes_lie_there(folder, tmp_path):
    """The script packs what is not packed, and hands all else to the sweep; --list trains nothing."""
    variables = dict(os.environ, LOCKSTEP=str(LOCKSTEP))
    words = ["bash", ROOT / "jobs/compare-recipes.sh", folder / "data.h5", tmp_path / "six", "--list"]
    done = subprocess.run(words, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stderr
    assert len(states(done.stdout)) == 18 and str(tmp_path / "six/efficientnet-b3-seed-3") in done.stdout
