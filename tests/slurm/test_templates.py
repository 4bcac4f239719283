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


SWEEP = "base: job.yaml\nset: {epochs: 1}\nseeds: [1]\nvariants: {plain: , fast: {optimizer: {lr: 0.1}}}\n"
SBATCH = """#!/bin/bash
for word; do printf '%s\\n' "$word"; done > {folder}/sbatch-$(ls {folder} | grep -c sbatch-).txt
echo "41;cluster"
"""


def test_a_sweep_as_an_array(job, tmp_path):
    """--slurm submits what is not finished and a comparison after it; the template runs one task, and then the comparison."""
    (job.parent / "sweep.yaml").write_text(SWEEP)
    variables = stand_ins(tmp_path / "bin", 2)
    words = [LOCKSTEP, "sweep", "sweep.yaml", "-o", str(tmp_path / "out"), "--slurm", str(SLURM / "sweep.sbatch")]
    missing = subprocess.run(words, env=dict(variables, PATH=str(tmp_path / "bin")), cwd=job.parent, capture_output=True, text=True)
    assert missing.returncode == 1 and "cannot start sbatch" in missing.stderr
    (tmp_path / "bin/sbatch").write_text(SBATCH.format(folder=tmp_path / "bin"))
    (tmp_path / "bin/sbatch").chmod(0o755)
    words.insert(3, "evaluate.batch=25")
    done = subprocess.run(words, env=variables, cwd=job.parent, check=True, capture_output=True, text=True, timeout=60)
    assert "array job 41 trains the runs 1,2" in done.stdout and "report.html" in done.stdout
    array, page = ((tmp_path / f"bin/sbatch-{i}.txt").read_text().splitlines() for i in (0, 1))
    same = [str(SLURM / "sweep.sbatch"), "sweep.yaml", "-o", str(tmp_path / "out"), "evaluate.batch=25"]
    assert array == ["--parsable", "--array=1,2", *same] and page == ["--parsable", "--dependency=afterany:41", *same, "--report"]
    for index in ("1", "2"):
        task = dict(variables, SLURM_ARRAY_TASK_ID=index, SLURM_ARRAY_JOB_ID="41")
        subprocess.run(["bash", *array[2:]], env=task, cwd=job.parent, check=True, timeout=120)
        assert not (tmp_path / "out/report.html").exists()
    subprocess.run(["bash", *page[2:]], env=variables, cwd=job.parent, check=True, timeout=60)
    assert (tmp_path / "out/report.html").exists()
    run("train", job, "epochs=1", "seed=1", "optimizer.lr=0.1", "evaluate.batch=25", "--run", tmp_path / "plain")
    assert_same_tensors(tmp_path / "out/fast-seed-1/checkpoints/last.h5", tmp_path / "plain/checkpoints/last.h5")
    done = subprocess.run(words, env=variables, cwd=job.parent, check=True, capture_output=True, text=True, timeout=60)
    assert "nothing was submitted" in done.stdout and not (tmp_path / "bin/sbatch-2.txt").exists()


@pytest.mark.parametrize("template", sorted(SLURM.glob("*.sbatch")), ids=lambda path: path.name)
def test_template_is_well_formed(template):
    subprocess.run(["bash", "-n", template], check=True)
    text = template.read_text()
    resumes = '"$LOCKSTEP" sweep' if template.stem == "sweep" else "--resume"  # a sweep always goes on
    for wanted in ("#SBATCH --signal=USR1@90", "#SBATCH --requeue", resumes):
        assert wanted in text
