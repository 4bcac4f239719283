"""The sbatch templates start, stop at SIGUSR1 with status 75, queue themselves again, and go on (P22), with stand-ins for srun and scontrol."""
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "faults"))
from conftest import LOCKSTEP, SMALL_JOB, assert_same_tensors, environment, run, write_idx  # noqa: E402

SLURM = pathlib.Path(__file__).parents[2] / "slurm"

SRUN = """#!/bin/bash
[ "${{1#--cpus-per-task=}}" != "$1" ] && shift
exec mpirun --oversubscribe -n {ranks} "$@"
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    run("pack", write_idx(folder / "idx", 600, 100), folder / "small.h5", "--val", "130")
    (folder / "job.yaml").write_text(SMALL_JOB.format(data=folder / "small.h5"))
    return folder / "job.yaml"


def stand_ins(folder, ranks):
    folder.mkdir()
    for name, text in (("srun", SRUN.format(ranks=ranks)), ("scontrol", f'#!/bin/bash\necho "$@" >> {folder}/scontrol.txt\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return dict(environment(), PATH=f"{folder}:{os.environ['PATH']}", LOCKSTEP=LOCKSTEP, SLURM_JOB_ID="7", SLURM_CPUS_PER_TASK="1")


@pytest.mark.parametrize("template,ranks", [("one-node.sbatch", 2), ("several-nodes.sbatch", 4)])
def test_template_trains(job, tmp_path, template, ranks):
    variables = dict(stand_ins(tmp_path / "bin", ranks), LOCKSTEP_RUN=str(tmp_path / "run"))
    subprocess.run(["bash", SLURM / template, job], env=variables, check=True, timeout=120)
    run("train", job, "--run", tmp_path / "plain")
    assert_same_tensors(tmp_path / "run/checkpoints/last.h5", tmp_path / "plain/checkpoints/last.h5")


def test_usr1_queues_again_and_goes_on(job, tmp_path):
    variables = dict(stand_ins(tmp_path / "bin", 2), LOCKSTEP_RUN=str(tmp_path / "run"))
    words = ["bash", SLURM / "one-node.sbatch", job, "epochs=20", "checkpoint.every=1"]
    process = subprocess.Popen(words, env=variables, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run/checkpoints/last.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    listed = subprocess.run(["ps", "-e", "-ww", "-o", "pid=,args="], capture_output=True, text=True).stdout
    ranks = [int(line.split()[0]) for line in listed.splitlines() if str(tmp_path / "run") in line and f"{LOCKSTEP} train" in line and
             "mpirun" not in line and "bash" not in line]
    assert len(ranks) == 2, listed
    for pid in ranks:
        os.kill(pid, signal.SIGUSR1)
    assert process.wait(timeout=60) == 75
    assert (tmp_path / "bin/scontrol.txt").read_text() == "requeue 7\n"
    subprocess.run(words, env=variables, check=True, timeout=240)
    run("train", job, "epochs=20", "--run", tmp_path / "plain")
    assert_same_tensors(tmp_path / "run/checkpoints/last.h5", tmp_path / "plain/checkpoints/last.h5")


@pytest.mark.parametrize("template", sorted(SLURM.glob("*.sbatch")), ids=lambda path: path.name)
def test_template_is_well_formed(template):
    subprocess.run(["bash", "-n", template], check=True)
    text = template.read_text()
    for wanted in ("#SBATCH --signal=USR1@90", "#SBATCH --requeue", "--resume"):
        assert wanted in text
