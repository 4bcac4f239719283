"""Shared by the tests that run the program as a user does: small data sets, launches, checkpoints as h5py sees them."""
import gzip
import json
import os
import pathlib
import struct
import subprocess

import h5py
import numpy as np
import pytest

BUILD = pathlib.Path(os.environ["LOCKSTEP_BUILD"])
LOCKSTEP = str(BUILD / "bin" / "lockstep")
PHOTOS = pathlib.Path(os.environ.get("LOCKSTEP_PHOTOS", pathlib.Path(__file__).parents[3] / "shared/data/clothing-small"))
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")

SMALL_JOB = """
data: {data}
model: cifar_resnet8
epochs: 2
batch: 64
microbatch: 16
seed: 3
input: {{size: 28, color: grey, resize: none, mean: [0.286], std: [0.353]}}
augment: {{crop: pad_random, pad: 2, hflip: 0.5}}
optimizer: {{lr: 0.05, momentum: 0.9, weight_decay: 0.0005}}
evaluate: {{batch: 50}}
"""


def environment():
    """Open MPI refuses root unless told; both variables are its own."""
    return dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def command(*arguments, ranks=1, bind=True):
    words = [LOCKSTEP, *map(str, arguments)]
    if ranks == 1:
        return words
    # Ranks share the cores in turn here; what is computed does not depend on it.
    return ["mpirun", "--oversubscribe", *([] if bind else ["--bind-to", "none"]), "-n", str(ranks), *words]


def run(*arguments, ranks=1, check=True, timeout=300, **options):
    result = subprocess.run(command(*arguments, ranks=ranks), capture_output=True, text=True, timeout=timeout,
                            env=environment(), **options)
    if check:
        assert result.returncode == 0, f"{arguments} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}"
    return result


def tensors(path):
    """Every tensor of a checkpoint, by name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) and
                        item.dtype.kind in "fiu" else None)
    assert any(name.startswith("model/") for name in found)
    return found


def assert_same_tensors(first, second):
    one, two = tensors(first), tensors(second)
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].tobytes() == two[name].tobytes(), f"{name} differs between {first} and {second}"


def records(folder, kind):
    """Lines of one type of a run's metrics.jsonl, without what the clock says."""
    lines = [json.loads(line) for line in (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()]
    volatile = ("seconds", "images_per_second", "data_wait", "peak_memory_mib", "time")
    return [{key: value for key, value in line.items() if key not in volatile} for line in lines if line["type"] == kind]


def write_idx(folder, train, test):
    """The first samples of Fashion-MNIST as IDX files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", train), ("t10k", test)):
        pixels = gzip.open(FASHION / f"{name}-images-idx3-ubyte.gz").read()[16:16 + 784 * count]
        labels = gzip.open(FASHION / f"{name}-labels-idx1-ubyte.gz").read()[8:8 + count]
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + pixels)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels)
    return folder


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """470 training samples (64 goes into them 7 times and 22 remain: a shorter window with a smaller microbatch), 130 and 100."""
    folder = tmp_path_factory.mktemp("data")
    run("pack", write_idx(folder / "idx", 600, 100), folder / "small.h5", "--val", "130")
    return folder / "small.h5"


@pytest.fixture(scope="session")
def small_job(small_data, tmp_path_factory):
    path = tmp_path_factory.mktemp("job") / "small.yaml"
    path.write_text(SMALL_JOB.format(data=small_data))
    return path


@pytest.fixture(scope="session")
def photo_data(tmp_path_factory):
    """Eleven photographs of each of four classes for training, four for validation."""
    if not PHOTOS.is_dir():
        pytest.skip(f"no photographs at {PHOTOS}: set LOCKSTEP_PHOTOS")
    folder = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 11), ("validation", 4), ("test", 3)):
        for name in ("dress", "hat", "pants", "shirt"):
            target = folder / "images" / split / name
            target.mkdir(parents=True)
            for path in sorted((PHOTOS / split / name).iterdir())[:count]:
                (target / path.name).symlink_to(path)
    run("pack", folder / "images", folder / "photos.h5")
    return folder / "photos.h5"
