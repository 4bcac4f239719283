"""Starts a run in which one rank misbehaves and checks how it ends: in time, with the right sentence and exit status.

Usage: run_fault.py FAULT FAMILY LAUNCHER PROGRAM CHECKED_PROGRAM
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

RANKS = 3

ENDED = (r"a process ended while others waited in barrier \(call 2, phase 'epoch 1 update 2'\): rank 2 \(\S+, process "
         r"\d+\) last in phase 'epoch 1 update 2 loading', after allreduce \(call 1\)")

# name: (mode, checked program?, most seconds, least exit status is not 0?, texts that must appear)
FAULTS = {
    "stopped": ("stopped", False, 20, True, [
        r"no answer for 2 s in barrier \(call 2, phase 'epoch 1 update 2'\) from rank 2 \(\S+, process \d+\) "
        r"last in phase 'epoch 1 update 2 loading', after allreduce \(call 1\); all ranks last met in allreduce "
        r"\(call 1\) of phase 'epoch 1 update 1': stopped, dead or too slow"]),
    "stopped_reduce": ("stopped_reduce", False, 20, True, [
        r"no answer for 2 s in gradient sum \(call \d+, phase 'epoch 1 update 3 backward'\) from rank 2 \(\S+, "
        r"process \d+\) last in phase 'epoch 1 update 3 backward', after gradient begin"]),
    "sleeping": ("sleeping", False, 20, True, [r"no answer for 2 s in barrier .* from rank 2 .*update 2 loading'"]),
    "killed": ("killed", False, 20, True, [ENDED]),
    "finished": ("finished", False, 20, True, [ENDED]),
    "error": ("error", False, 20, True, [r"lockstep: rank 2: cat.jpg is no image"]),
    "lonely": ("lonely", False, 20, True, [r"lockstep: rank 2 of 3 \(\S+\): dog.jpg is no image"]),
    "alike": ("alike", False, 20, True, [r"lockstep: rank 0 of 3 \(\S+\): the loss of update 2 is not finite"]),
    "idle": ("idle", False, 20, False, [r"a rank that waited a second used 0\.[0-2]\d\d s of its core", r"all well on 3"]),
    "unequal": ("unequal", False, 20, True, [r"lockstep: the job file of rank 2 \(\S+\) differs from that of rank 0"]),
    "astray": ("astray", False, 20, True, [r"rank 2 \(\S+\) waits in broadcast \(call 2, phase 'epoch 1 update 2 loading'"
                                           r"\) while rank 0 waits in barrier|MPI\w+ failed|broadcast"]),
    "astray_checked": ("astray", True, 20, True, [
        r"rank 2 is in broadcast\(count 8, root 0\) as call 2 where rank 0 is in barrier\(count 0, root 0\) as call 2"]),
    "count_checked": ("count", True, 20, True, [
        r"rank 2 is in broadcast\(count 4, root 0\) as call 2 where rank 0 is in broadcast\(count 8, root 0\)"]),
}


def run(command, limit):
    """Output, exit status and seconds; kills the whole group when the limit is over."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return output, None, time.monotonic() - begun
    return output, process.returncode, time.monotonic() - begun


def left_over(program):
    """Processes of the program that outlived the run."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.readlink(f"/proc/{entry}/exe") == os.path.realpath(program):
                    found.append(int(entry))
            except OSError:
                pass
    return found


def flags_of(family):
    return ["--allow-run-as-root", "--oversubscribe"] if family == "openmpi" else []


def check(condition, what, output):
    if not condition:
        print(output)
        sys.exit(f"FAILED: {what}")


def other_launcher(family):
    names = ["mpiexec.mpich", "mpiexec.hydra"] if family == "openmpi" else ["mpirun.openmpi"]
    return next((path for path in map(shutil.which, names) if path), None)


def main():
    fault, family, launcher, program, checked = sys.argv[1:]
    if fault == "singleton":
        output, status, seconds = run([program, "none"], 20)
        check(status == 0 and "all well on 1" in output, "a process without a launcher is a run of one", output)
        return
    if fault == "launcher":
        other = other_launcher(family)
        if other is None:
            print("skipped: no launcher of another MPI here")
            sys.exit(77)
        flags = flags_of("mpich" if family == "openmpi" else "openmpi")
        output, status, seconds = run([other, *flags, "-n", "2", program, "none"], 30)
        expected = (r"started 2 processes, but the MPI of this program \(.*\) sees a single one: start it with '\S*"
                    + ("mpirun" if family == "openmpi" else "mpiexec"))
        check(status not in (0, None), f"refused in time (status {status})", output)
        check(len(re.findall(expected, output)) == 1, f"says /{expected}/ once", output)
        print(f"{seconds:.1f} s\n{output}")
        return
    mode, use_checked, limit, fails, texts = FAULTS[fault]
    if family == "mpich" and texts == [ENDED]:
        texts = []  # its launcher kills all ranks as soon as one is dead: nobody is left to say more
    target = checked if use_checked else program
    before = set(left_over(target))
    output, status, seconds = run([launcher, *flags_of(family), "-n", str(RANKS), target, mode], limit)
    check(status is not None, f"ends within {limit} s", output)
    check((status != 0) == fails, f"exit status {status}", output)
    for text in texts:
        check(re.search(text, output), f"says /{text}/", output)
    check(output.count("no answer for") <= 1, "one rank speaks for all", output)
    time.sleep(1)
    check(not set(left_over(target)) - before, "no process is left behind", output)
    print(f"{seconds:.1f} s, exit status {status}\n{output}")


main()
