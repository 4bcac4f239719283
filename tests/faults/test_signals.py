"""P22: a signal stops all ranks after a whole update, with status 75, and resuming gives the same bits."""
import os
import signal
import subprocess
import time

import pytest

from conftest import LOCKSTEP, assert_same_tensors, command, environment, run


def wait_for_updates(folder, count, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before the signal"
        try:
            if (folder / "metrics.jsonl").stat().st_size > 0 and (folder / "checkpoints/last.h5").exists():
                return
        except FileNotFoundError:
            pass
        time.sleep(0.01)
    raise AssertionError("no update in a minute")


def ranks_of(process):
    """The lockstep processes below a launcher (or the process itself)."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,comm="], capture_output=True, text=True).stdout
    children = [int(pid) for pid, parent, name in map(str.split, listed.splitlines())
                if name == "lockstep" and int(parent) == process.pid]
    return sorted(children) or [process.pid]


def start(job, folder, ranks, *launcher):
    words = command("train", job, "checkpoint.every=1", "epochs=6", "--run", folder, ranks=ranks)
    words[1:1] = launcher
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    wait_for_updates(folder, 1, process)
    return process


def assert_resumes(job, tmp_path):
    run("train", job, "epochs=6", "--run", tmp_path / "stopped", "--resume")
    run("train", job, "epochs=6", "--run", tmp_path / "whole")
    assert_same_tensors(tmp_path / "stopped/checkpoints/last.h5", tmp_path / "whole/checkpoints/last.h5")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_signal_to_one_rank_stops_all(small_job, tmp_path, number, ranks):
    process = start(small_job, tmp_path / "stopped", ranks)
    os.kill(ranks_of(process)[-1], number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, (out, err)
    assert "go on with --resume" in err
    assert_resumes(small_job, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_launcher(small_job, tmp_path, number):
    """Open MPI passes SIGUSR1 on; after SIGINT and SIGTERM it has a status of its own, and the state is saved all the same."""
    # The time that Open MPI gives its ranks between SIGTERM and SIGKILL is one second unless told.
    process = start(small_job, tmp_path / "stopped", 2, "--mca", "odls_base_sigkill_timeout", "10")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    if number == signal.SIGUSR1:
        assert process.returncode == 75 and "go on with --resume" in err, (out, err)
    else:  # it no longer passes on what its ranks print
        assert process.returncode != 0, (out, err)
    assert_resumes(small_job, tmp_path)


def test_a_second_interrupt_ends_at_once(small_job, tmp_path):
    process = subprocess.Popen([LOCKSTEP, "train", str(small_job), "checkpoint.every=1", "epochs=100", "batch=256", "microbatch=256", "--run",
                                str(tmp_path / "run")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_updates(tmp_path / "run", 1, process)
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    assert process.returncode in (75, -signal.SIGINT)
