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


def test_drawings(job, tmp_path):
    """What depends on the run is drawn as a band and said so; momentum has an axis of its own."""
    job.write_text(JOB.replace("step_epochs: 2", "patience: 1"))
    for kind, texts in (("plateau", ["highest possible", "lowest possible"]), ("one_cycle", ["momentum", "learning rate"]),
                        ("cosine_restarts", ["learning rate", "epoch"])):
        out = tmp_path / f"{kind}.svg"
        printed = schedule(job, f"schedule.kind={kind}", "--updates-per-epoch", 10, "-o", out).stdout
        assert ("depends on the run" in printed) == (kind == "plateau")
        words = "".join(ElementTree.parse(out).getroot().itertext())
        assert all(text in words for text in texts)


def test_plateau_bound(job):
    """The lowest rate is that of torch when nothing improves after the first evaluation that counts."""
    rows = list(csv.DictReader(schedule(job, "schedule.kind=plateau", "schedule.patience=1", "schedule.factor=0.5",
                                        "--csv", "--updates-per-epoch", 10).stdout.splitlines()))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    for epoch in range(1, 6):  # the first epoch is the warm-up's
        assert {float(r["lowest_lr"]) for r in rows if int(r["epoch"]) == epoch} == {optimizer.param_groups[0]["lr"]}
        assert {float(r["lr"]) for r in rows if int(r["epoch"]) == epoch} == {0.2}
        torchs.step(1.0)


@pytest.mark.parametrize("words, message", [
    (["schedule.kind=cosine", "schedule.epochs=5"], "the schedule ends before the run: schedule.epochs is 5 and epochs is 6"),
    (["schedule.kind=one_cycle", "schedule.epochs=1"], "the schedule ends before the run"),
    (["schedule.warmup_epochs=7"], "schedule.warmup_epochs is 7, longer than the run of 6 epochs"),
    (["schedule.per=epoch", "schedule.warmup_epochs=0.5"], "schedule.warmup_epochs is 0.5, but schedule.per=epoch"),
    (["schedule.per=epoch", "schedule.step_epochs=2.5"], "schedule.step_epochs is 2.5"),
    (["schedule.kind=multistep", "schedule.milestones=3, 3"], "schedule.milestones must ascend: 3 stands after 3"),
    (["schedule.kind=one_cycle", "schedule.three_phase=true", "schedule.pct_start=0.6"], "schedule.pct_start is 0.6"),
    (["schedule.kind=one_cycle", "optimizer.momentum=0"], "schedule.cycle_momentum needs a momentum"),
    (["schedule.kind=cosin"], "cosine_restarts"),
    (["schedule.factor=1"], "schedule.factor"),
])
def test_bad_schedules(job, words, message):
    assert message in schedule(job, *words, "--updates-per-epoch", 10, code=1).stderr


def test_bad_input(job):
    assert "did you mean 'epochs'" in schedule(job, "epocs=3", code=1).stderr
    assert "nothing.h5" in schedule(job, code=1).stderr
    assert "needs a job file" in schedule(code=2).stderr
    job.write_text(JOB.replace("schedule:", "shedule:"))
    assert f"{job} line 7: unknown key 'shedule.kind'; did you mean 'schedule.kind'?" in schedule(job, code=1).stderr
