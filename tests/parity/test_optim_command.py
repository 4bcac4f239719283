"""`lockstep schedule` against torch's schedulers, its drawing, and bad input."""

import csv
import os
import pathlib
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
import torch

LOCKSTEP = pathlib.Path(os.environ["LOCKSTEP_BUILD"]) / "bin" / "lockstep"
JOB = """version: 1
data: nothing.h5
model: cifar_resnet8
epochs: 6
batch: 128
optimizer: {lr: 0.2}
schedule: {kind: step, step_epochs: 2, gamma: 0.5, warmup_epochs: 1, warmup_factor: 0.1}
"""


def schedule(*words, code=0, **options):
    done = subprocess.run([LOCKSTEP, "schedule", *map(str, words)], capture_output=True, text=True, **options)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def job(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["step", "cosine", "constant"])
def test_csv_is_torchs(job, kind):  # P8
    per_epoch = 25
    rows = list(csv.DictReader(schedule(job, f"schedule.kind={kind}", "--csv", "--updates-per-epoch", per_epoch).stdout.splitlines()))
    assert [int(r["update"]) for r in rows] == list(range(150)) and int(rows[-1]["epoch"]) == 5
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=0.2)
    first = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, per_epoch)
    if kind == "step":
        after = torch.optim.lr_scheduler.StepLR(optimizer, 2 * per_epoch, 0.5)
    elif kind == "cosine":
        after = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5 * per_epoch)
    else:
        after = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [first, after], [per_epoch])
    for row in rows:
        assert abs(float(row["lr"]) - optimizer.param_groups[0]["lr"]) <= 1e-12, row
        optimizer.step()
        both.step()


def test_table_and_max_updates(job):
    lines = schedule(job, "--updates-per-epoch", 10, "max_updates=25").stdout.splitlines()
    assert lines[0] == "25 updates, 10 an epoch"
    assert [line.split() for line in lines[3:]] == [["0", "0", "0.02", "0.182"], ["1", "10", "0.2", "0.2"], ["2", "20", "0.2", "0.2"]]


def test_drawing(job, tmp_path):
    out = tmp_path / "rate 'one'.svg"
    schedule(job, "--updates-per-epoch", 10, "-o", out)
    assert ElementTree.parse(out).getroot().tag.endswith("svg")
    before = out.read_bytes()
    done = schedule(job, "--updates-per-epoch", 10, "-o", out, code=1, env={"PATH": "/nowhere"})
    assert "gnuplot is not installed" in done.stderr and out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["job.yaml", out.name])


def test_bad_input(job):
    assert "did you mean 'epochs'" in schedule(job, "epocs=3", code=1).stderr
    assert "nothing.h5" in schedule(job, code=1).stderr
    assert "needs a job file" in schedule(code=2).stderr
    job.write_text(JOB.replace("schedule:", "shedule:"))
    assert f"{job} line 7: unknown key 'shedule.kind'; did you mean 'schedule.kind'?" in schedule(job, code=1).stderr
