"""What `cmake --install` puts under a prefix runs from anywhere, without the folder that it was built in; presets of a fresh checkout."""
import json
import pathlib
import subprocess

import pytest
from conftest import BUILD, environment

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("install") / "opt"
    subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], check=True, capture_output=True)
    return prefix


def installed(prefix, cwd, *words, launch=()):
    """Runs the installed program where the build's folder cannot be read."""
    hide = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{BUILD.resolve()}" && exec "$@"', "sh"]
    if subprocess.run([*hide, "true"], capture_output=True).returncode != 0:
        hide = []  # needs the right to mount; the test of the libraries' paths stands without it
    return subprocess.run([*hide, *launch, prefix / "bin/lockstep", *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120,
                          env=environment())


def test_the_program_needs_nothing_of_the_build(prefix):
    listed = subprocess.run(["ldd", prefix / "bin/lockstep"], capture_output=True, text=True, check=True).stdout
    assert "not found" not in listed and str(BUILD.resolve()) not in listed and str(ROOT) not in listed
    shared = {path.name for path in (prefix / "share/lockstep").iterdir()}
    assert shared - {"bench"} == {"recipes", "slurm"}
    if (BUILD / "lib/lockstep/lockstep_cuda.so").exists():  # what the GPU's self-test runs is installed with it
        assert (prefix / "share/lockstep/bench/torch_step.py").exists()
        for tool in ("ops_test", "step_profile"):
            listed = subprocess.run(["ldd", prefix / "libexec/lockstep" / tool], capture_output=True, text=True, check=True).stdout
            assert "not found" not in listed and str(BUILD.resolve()) not in listed


def test_it_trains_from_another_folder(prefix, small_job, tmp_path):
    for launch in ([], ["mpirun", "--oversubscribe", "-n", "2"]):
        done = installed(prefix, tmp_path, "train", small_job, "--run", f"run{len(launch)}", "max_updates=2", launch=launch)
        assert done.returncode == 0, done.stderr
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("run0", "run4")]
    losses = [[json.loads(line)["loss"] for line in file if '"type":"update"' in line] for file in lines]
    assert losses[0] == losses[1] and len(losses[0]) == 2
    checkpoint = tmp_path / "run0/checkpoints/last.h5"
    assert installed(prefix, "/", "verify", checkpoint).returncode == 0


def test_installed_recipes_are_jobs(prefix, small_data, tmp_path):
    for recipe in sorted((prefix / "share/lockstep/recipes").glob("*.yaml")):
        done = installed(prefix, tmp_path, "schedule", recipe, f"data={small_data}")
        assert done.returncode == 0, f"{recipe.name}: {done.stderr}"


def test_presets_are_known_to_cmake():
    for kind in ("configure", "build", "test"):
        listed = subprocess.run(["cmake", f"--list-presets={kind}"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert all(f'"{name}"' in listed for name in ("release", "debug", "asan")), listed
