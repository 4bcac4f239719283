"""lockstep show on runs made up as test_compare makes them: figures equal metrics.jsonl's; nothing is claimed of a run that still goes."""

import json
import os
import re
import subprocess

import pytest
from test_compare import make_run


def show(build, *words, code=0, locale="C.UTF-8"):
    env = {**{k: v for k, v in os.environ.items() if k not in ("LC_CTYPE", "LANG")}, "LC_ALL": locale}
    done = subprocess.run([build / "bin" / "lockstep", "show", *map(str, words)], capture_output=True, text=True, env=env)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("show") / "run", keys="epochs: 3\n")
    (run / "checkpoints").mkdir()
    for name in ("best_f1.h5", "last.h5"):
        (run / "checkpoints" / name).touch()
    return run


def test_figures_are_those_of_metrics(build, run):
    text = show(build, run).stdout
    assert "run: finished\n" in text and "cifar_resnet8 on nowhere.h5, epoch 3 of 3, 30 updates" in text
    assert re.search(r"learning rate █+.*▁+  0.1 -> 0.03333\n", text)
    # The first validation loss was not finite: no column is claimed for it.
    assert re.search(r"val. loss      █▁  nan -> 0.3333; best 0.3333 in epoch 3\n", text), text
    assert re.search(r"val. macro-F1 ▁▄█  0.2 -> 0.6; best 0.6 in epoch 3\n", text), text
    assert "0:08 of training, 200 images/s, data wait 0.0%, peak memory 50 MiB" in text
    for line in (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()):
        if line["type"] == "final":
            row = next(r for r in text.splitlines() if r.split()[:2] == [line["checkpoint"], line["split"]])
            assert row.split()[2:] == [f"{line['metrics'][k]:.4f}" for k in ("macro_f1", "accuracy", "loss")] + ["200"]
    assert f"checkpoints in {run}/checkpoints: best_f1.h5, last.h5\n" in text


@pytest.mark.parametrize("words, locale", [(["--ascii"], "C.UTF-8"), ([], "C"), ([], "en_US.ISO-8859-1")])
def test_plain_letters_where_blocks_cannot_be_shown(build, run, words, locale):
    text = show(build, run, *words, locale=locale).stdout
    assert text.isascii() and "val. macro-F1 _-#" in text


def test_json(build, run):
    [result] = json.loads(show(build, run, "--json").stdout)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["type"] == "epoch"]
    assert [e["macro_f1"] for e in result["history"]] == [e["validation"]["macro_f1"] for e in epochs]
    assert [e["loss"] for e in result["history"]] == [e["validation"]["loss"] for e in epochs]
    finals = {(f["checkpoint"], f["split"]): f["macro_f1"] for f in result["final"]}
    assert finals == {(f["checkpoint"], f["split"]): f["metrics"]["macro_f1"] for f in lines if f["type"] == "final"}
    assert result["finished"] and result["best_f1_epoch"] == 3 and result["epochs_done"] == result["epochs"] == 3


def test_a_run_still_going_and_several(build, run, tmp_path):
    going = make_run(tmp_path / "going", keys="epochs: 9\n", finished=False)
    with open(going / "metrics.jsonl", "a") as file:
        file.write('{"type":"upda')
    os.utime(going / "metrics.jsonl", (1e9, 1e9))
    text = show(build, going).stdout
    assert re.search(r"stopped or still going \(last written \d+:\d\d:\d\d ago\)", text) and "epoch 3 of 9" in text
    assert "best_f1 " not in text and "no checkpoints yet" in text
    lines = show(build, run, going).stdout.splitlines()
    assert len(lines) == 3 and lines[1].endswith("▁▄█  finished") and lines[2].endswith("▁▄█  unfinished")
    assert lines[1].split()[:3] == ["run", "3/3", "0.6000"] and lines[2].split()[:4] == ["going", "3/9", "0.6000", "-"]


def test_a_run_that_has_just_begun(build, tmp_path):
    run = make_run(tmp_path / "new", finished=False)
    (run / "metrics.jsonl").write_text('{"type":"run","ranks":2,"arithmetic":"oneDNN","update":0}\n')
    text = show(build, run).stdout
    assert "2 ranks, oneDNN" in text and "epoch 0 of" in text and "nan" not in text
    assert show(build, run, run).stdout.splitlines()[1].split()[2:4] == ["-", "-"]


def test_bad_input(build, tmp_path):
    assert "is not a run" in show(build, tmp_path, code=1).stderr
    show(build, code=2)
