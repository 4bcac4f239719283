"""cmake --build . --target bundle: an archive that runs where it is unpacked, with nothing of the environment."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import BUILD

MOST_BYTES = 64 << 20
# What the machine supplies: C, C++, MPI, CUDA. All else is in the archive.
MACHINE = ("ld-linux", "libc.so", "libm.so", "libpthread.so", "libdl.so", "librt.so", "libresolv.so", "libstdc++.so", "libgcc_s.so", "libmpi",
           "libopen-", "libevent", "libcuda", "libcublas", "libcudnn", "libnccl", "linux-vdso")


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


def run(bundle, *words, cwd):
    """With an empty environment, and without the folder of the build where that can be hidden."""
    hide = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{BUILD.resolve()}" && exec "$@"', "sh"]
    if subprocess.run([*hide, "true"], capture_output=True).returncode != 0:
        hide = []
    return subprocess.run([*hide, "env", "-i", bundle / "bin/lockstep", *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120)


def test_it_has_all_libraries_but_the_machines(bundle):
    files = [bundle / "bin/lockstep", *(bundle / "lib/lockstep").glob("*.so"), *(bundle / "lib/lockstep/own").iterdir()]
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
            assert own or pathlib.Path(name.split(" ")[0]).name.startswith(MACHINE), f"{file}: {line}"


def test_it_runs_with_an_empty_environment(bundle, small_job, tmp_path):
    done = run(bundle, "doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["fit"] is True, done.stdout + done.stderr
    done = run(bundle, "train", small_job, "device=cpu", "max_updates=2", "--run", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run(bundle, "verify", "run/checkpoints/last.h5", cwd=tmp_path).returncode == 0


def test_terms_of_what_it_carries_are_in_it(bundle):
    terms = {path.stem for path in (bundle / "share/lockstep/licences").iterdir()}
    assert {"onednn", "libhwloc15", "libgomp1", "zlib1g"} <= terms or not pathlib.Path("/etc/debian_version").exists()
