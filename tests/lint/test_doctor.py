"""doctor: what it says about this machine, and about one that is made unfit."""

import json
import os
import pathlib
import resource
import subprocess

LOCKSTEP = pathlib.Path(os.environ["LOCKSTEP_BUILD"]) / "bin" / "lockstep"


def doctor(*words, limits=(), **changes):
    def restrict():
        for what, value in limits:
            resource.setrlimit(what, (value, value))

    environment = {k: v for k, v in {**os.environ, **changes}.items() if v is not None}
    return subprocess.run([LOCKSTEP, "doctor", *words], capture_output=True, text=True, preexec_fn=restrict, env=environment)


def findings(done):
    return {f["check"]: f for f in json.loads(done.stdout)["findings"]}


def test_every_finding_has_its_cure():
    done = doctor("--json")
    assert done.returncode == 0, done.stderr
    found = findings(done)
    assert len(found) >= 12 and json.loads(done.stdout)["fit"] is True
    for finding in found.values():
        assert finding["text"]
        assert (finding["cure"] != "") == (finding["level"] in ("warning", "bad")), finding
    assert "oneDNN 3" in found["arithmetic"]["text"] and "HDF5 1." in found["hdf5"]["text"]
    text = doctor().stdout
    assert all(name in text for name in found) and "\x1b" not in text


def test_unfit_machines():
    done = doctor("--json", limits=[(resource.RLIMIT_NOFILE, 32)])
    assert done.returncode == 1 and "1 of 12 checks are bad, the first is open files" in done.stderr
    assert findings(done)["open files"]["level"] == "bad" and json.loads(done.stdout)["fit"] is False
    done = doctor("--json", limits=[(resource.RLIMIT_AS, 500 << 20)])
    assert done.returncode == 1 and findings(done)["memory"]["level"] == "bad"


def test_another_mpi_first_in_the_path(tmp_path):  # P20
    library = findings(doctor("--json"))["mpi"]["text"]
    target = "mpiexec.hydra" if "Open MPI" in library else "orterun"
    (tmp_path / target).write_text("#!/bin/sh\n")
    (tmp_path / target).chmod(0o755)
    (tmp_path / "mpirun").symlink_to(target)
    path = f"{tmp_path}:{os.environ['PATH']}"
    finding = findings(doctor("--json", PATH=path, SLURM_JOB_ID=None))["launcher"]
    assert finding["level"] == "warning" and "start with 'mpi" in finding["cure"]
    finding = findings(doctor("--json", PATH="/nowhere", SLURM_JOB_ID=None))["launcher"]
    assert finding["level"] == "warning" and finding["cure"].startswith("install ")


def test_bound_to_one_core():
    if len(os.sched_getaffinity(0)) < 2:
        return
    done = subprocess.run(["taskset", "-c", str(min(os.sched_getaffinity(0))), LOCKSTEP, "doctor", "--json"],
                          capture_output=True, text=True)
    assert "bound to 1 of" in findings(done)["cores"]["text"]
