"""P10, P11: SIGKILL at any moment; resuming always works and ends with the bits of the uninterrupted run."""
import os
import random
import signal
import subprocess
import time

from conftest import LOCKSTEP, assert_same_tensors, records, run

KILLS = int(os.environ.get("LOCKSTEP_KILLS", "200"))


def test_kill_at_any_moment(small_job, tmp_path):
    job = ["checkpoint.every=1", "epochs=2"]
    started = time.monotonic()
    run("train", small_job, *job, "--run", tmp_path / "whole")
    duration = time.monotonic() - started
    random.seed(17)
    kills, rounds = 0, 0
    while kills < KILLS:
        rounds += 1
        folder = tmp_path / f"killed-{rounds}"
        finished = False
        while not finished:
            process = subprocess.Popen([LOCKSTEP, "train", str(small_job), *job, "--run", str(folder), "--resume"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            try:
                # Often before the first checkpoint is written, often within a write, seldom after the end.
                process.wait(timeout=random.uniform(0.02, max(0.4, duration * 0.4)) if kills < KILLS else 120)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
            finished = process.returncode == 0
            assert process.returncode in (0, -signal.SIGKILL), process.stderr.read()
        for name in ("last.h5", "best_f1.h5", "best_loss.h5"):
            assert_same_tensors(folder / "checkpoints" / name, tmp_path / "whole/checkpoints" / name)
        for kind in ("update", "epoch"):
            assert records(folder, kind) == records(tmp_path / "whole", kind)
        assert not list((folder / "checkpoints").glob("*.tmp.*"))
    assert kills >= KILLS
