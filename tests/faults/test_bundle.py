"""cmake --build . --target bundle: an archive that runs where it is unpacked, with nothing of the environment."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import BUILD, environment

MOST_BYTES = 64 << 20
# What the machine supplies: C, C++, MPI, CUDA. All else is in the archive.
MACHINE = ("ld-linux", "libc.so", "libm.so", "libpthread.so", "libdl.so", "librt.so", "libresolv.so", "libstdc++.so", "libgcc_s.so", "libcuda", "libcublas", "libcudnn", "libnccl", "linux-vdso")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    if shutil.which("patchelf") is None:
        pytest.skip("needs patchelf")
    subprocess.run(["cmake", "--build", BUILD, "--target", "bundle"], check=True, capture_output=True,
                   env={**os.environ, "XZ_OPT": "-0 -T0"})
    archives = list(BUILD.glob("lockstep-*.tar.xz"))
    assert len(archives) == 1 and archives[0].stat().st_size <= MOST_BYTES
    folder = tmp_path_factory.mktemp("bundle")
    subprocess.run(["tar", "xf", archives[0], "-C", folder], check=True)
    (unpacked,) = folder.iterdir()
    return unpacked


def mpi_library():
    """The file that the MPI module is linked with."""
    listed = subprocess.run(["ldd", BUILD / "lib/lockstep/lockstep_mpi.so"], check=True, capture_output=True, text=True).stdout
    return next(line.split(" => ")[1].split(" ")[0] for line in listed.splitlines() if line.strip().startswith("libmpi"))


def run(bundle, *words, cwd, mpi=True):
    """With an empty environment, and without the folder of the build, and MPI, where they can be hidden."""
    gone = "" if mpi else f'mount --bind /dev/null "$(readlink -f {mpi_library()})" &&'
    hide = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{BUILD.resolve()}" && {gone} exec "$@"', "sh"]
    if subprocess.run([*hide, "true"], capture_output=True).returncode != 0:
        hide = []
        if not mpi:
            pytest.skip("may not mount")
    return subprocess.run([*hide, "env", "-i", bundle / "bin/lockstep", *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120)


def test_it_has_all_libraries_but_the_machines(bundle):
    modules = sorted((bundle / "lib/lockstep").glob("*.so"))
    assert "lockstep_mpi.so" in {path.name for path in modules}
    files = [bundle / "bin/lockstep", *modules, *(bundle / "lib/lockstep/own").iterdir()]
    if (bundle / "libexec").exists():
        files += [bundle / "libexec/lockstep/ops_test", bundle / "libexec/lockstep/step_profile"]
    assert len(files) > 20
    for file in files:
        path = subprocess.run(["patchelf", "--print-rpath", file], check=True, capture_output=True, text=True).stdout.strip()
        assert path.startswith("$ORIGIN") and ":" not in path, f"{file}: {path}"
        for line in subprocess.run(["ldd", file], check=True, capture_output=True, text=True).stdout.splitlines():
            name, _, where = line.strip().partition(" => ")
            own = where.startswith(str(bundle / "lib/lockstep/own")) or "/lib/lockstep/own/" in where
            # What MPI itself is linked with comes with it.
            assert own or file.name == "lockstep_mpi.so" or pathlib.Path(name.split(" ")[0]).name.startswith(MACHINE), f"{file}: {line}"


def test_it_runs_with_an_empty_environment(bundle, small_job, tmp_path):
    done = run(bundle, "doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["fit"] is True, done.stdout + done.stderr
    done = run(bundle, "train", small_job, "device=cpu", "max_updates=2", "--run", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run(bundle, "verify", "run/checkpoints/last.h5", cwd=tmp_path).returncode == 0


def test_one_rank_needs_no_mpi(bundle, small_job, tmp_path):
    done = run(bundle, "doctor", "--json", cwd=tmp_path, mpi=False)
    finding = next(f for f in json.loads(done.stdout)["findings"] if f["check"] == "mpi")
    assert done.returncode == 0 and "one rank only: MPI cannot be loaded" in finding["text"]
    done = run(bundle, "train", small_job, "device=cpu", "max_updates=1", "--run", "run", cwd=tmp_path, mpi=False)
    assert done.returncode == 0, done.stderr


def test_several_ranks_take_the_machines(bundle, small_job, tmp_path):
    done = subprocess.run(["mpirun", "--oversubscribe", "-n", "2", bundle / "bin/lockstep", "train", small_job, "device=cpu", "max_updates=1", "--run", "run"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 0, done.stderr
    assert '"ranks":2' in (tmp_path / "run/metrics.jsonl").read_text()


def test_terms_of_what_it_carries_are_in_it(bundle):
    terms = {path.stem for path in (bundle / "share/lockstep/licences").iterdir()}
    assert {"onednn", "libhwloc15", "libgomp1", "zlib1g"} <= terms or not pathlib.Path("/etc/debian_version").exists()
