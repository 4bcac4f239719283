"""`lockstep preview`: the grid holds, pixel for pixel, what the loader gives the network."""

import io
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.transforms import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent / "image"))
import image_samples as samples
from image_tool_client import assert_same_pixels, tool  # noqa: F401

LOCKSTEP = pathlib.Path(os.environ.get("LOCKSTEP_BUILD", "build")) / "bin/lockstep"
SIDE, GAP, CAPTION = 128, 6, 2 * (8 + 3) + 3
JOB = """
data: {data}
model: resnet18
batch: 16
microbatch: 8
input: {{size: 128, resize_size: 140}}
augment: {{crop: random_resized, hflip: 0.5}}
"""


def preview(*arguments, check=True):
    result = subprocess.run([LOCKSTEP, "preview", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert not check or result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preview")
    for split, count in (("train", 7), ("validation", 3)):
        for c, name in enumerate(("cats", "dogs")):
            target = folder / "images" / split / name
            target.mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(samples.picture(150 + 9 * i, 170 + 5 * c, 3, seed=10 * i + c))
                image.save(target / f"{i}.png")
    subprocess.run([LOCKSTEP, "pack", folder / "images", folder / "data.h5"], check=True, capture_output=True)
    (folder / "job.yaml").write_text(JOB.format(data=folder / "data.h5"))
    return folder / "job.yaml"


def cells(path, columns):
    """rows x columns x SIDE x SIDE x 3, and the captions' pixels."""
    grid = np.asarray(Image.open(path))
    assert grid.dtype == np.uint8 and grid.shape[1] == GAP + columns * (SIDE + GAP)
    rows = (grid.shape[0] - GAP) // (SIDE + CAPTION + GAP)
    assert grid.shape[0] == GAP + rows * (SIDE + CAPTION + GAP)
    at = [(GAP + r * (SIDE + CAPTION + GAP), GAP + c * (SIDE + GAP)) for r in range(rows) for c in range(columns)]
    pictures = np.array([grid[y : y + SIDE, x : x + SIDE] for y, x in at]).reshape(rows, columns, SIDE, SIDE, 3)
    captions = np.array([grid[y + SIDE : y + SIDE + CAPTION, x : x + SIDE] for y, x in at]).reshape(rows, columns, CAPTION, SIDE, 3)
    return pictures, captions


def test_evaluation_shows_what_eval_reads(job, tmp_path):
    preview(job, "--eval", "-o", tmp_path / "eval.png", "--samples", 2, "--draws", 3)
    pictures, captions = cells(tmp_path / "eval.png", 3)
    paths = [job.parent / "images/validation" / name / f"{i}.png" for name in ("cats", "dogs") for i in range(3)]
    for i, path in enumerate(paths):
        expected = F.center_crop(F.resize(Image.open(path), 140), [SIDE, SIDE])
        assert_same_pixels(pictures[i // 3, i % 3], expected, path.name)
    assert np.array_equal(captions[0, 0], captions[0, 2]) and not np.array_equal(captions[0, 0], captions[1, 0])
    assert (captions == 0).any()


def test_training_draws_and_mixing(job, tmp_path, tool):
    preview(job, "-o", tmp_path / "plain.png", "--samples", 8, "--draws", 3)
    plain, names = cells(tmp_path / "plain.png", 3)
    assert plain.shape[:2] == (8, 3)
    for row in plain:
        assert not np.array_equal(row[0], row[1]) and not np.array_equal(row[1], row[2]), "each epoch draws anew"
    for row in names:
        assert np.array_equal(row[0], row[1]) and np.array_equal(row[0], row[2]), "a row is one sample"
    preview(job, "mix.mixup=1", "-o", tmp_path / "mixup.png", "--samples", 8, "--draws", 3)
    mixed, captions = cells(tmp_path / "mixup.png", 3)
    for epoch in range(3):
        share = float(np.float32(tool.call("mix", 1, 0, 1, 0.5, SIDE, SIDE, 1, epoch, 0)[1].split()[1]))
        for row in range(8):
            expected = share * plain[row, epoch].astype(float) + (1 - share) * plain[row - 1, epoch] + 0.5
            assert np.array_equal(mixed[row, epoch], expected.astype(np.uint8)), (row, epoch)
    assert not np.array_equal(captions, names)
    preview(job, "mix.cutmix=1", "-o", tmp_path / "cutmix.png", "--samples", 8, "--draws", 3)
    cut, _ = cells(tmp_path / "cutmix.png", 3)
    for epoch in range(3):
        x, y, w, h = map(int, tool.call("mix", 0, 1, 1, 0.5, SIDE, SIDE, 1, epoch, 0)[1].split()[2:])
        expected = plain[:, epoch].copy()
        expected[:, y : y + h, x : x + w] = np.roll(plain[:, epoch], 1, axis=0)[:, y : y + h, x : x + w]
        assert np.array_equal(cut[:, epoch], expected)


def test_bad_arguments(job, tmp_path):
    for arguments, status, said in (((), 2, "takes a job file"), ((job, "-o", tmp_path / "no/x.png"), 1, "x.png"),
                                    ((job, "augment.policy=rand_augment"), 1, "did you mean 'randaugment'"),
                                    ((job, "--draws", "0"), 2, "draws")):
        result = preview(*arguments, check=False)
        assert result.returncode == status and said in result.stderr, (arguments, result.stderr)
