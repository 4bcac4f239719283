"""Talks to bin/image_tool, one process for all calls."""

import os
import pathlib
import subprocess

import numpy as np
import pytest

BUILD = pathlib.Path(os.environ.get("LOCKSTEP_BUILD", "build"))
PHOTOS = pathlib.Path(
    os.environ.get(
        "LOCKSTEP_PHOTOS",
        pathlib.Path(__file__).resolve().parents[3].parent / "shared/data/clothing-small",
    )
)


class ImageError(Exception):
    """An answer of "error STATUS MESSAGE"."""


class ImageTool:
    def __init__(self):
        program = BUILD / "bin/image_tool"
        if not program.exists():
            pytest.fail(f"{program} is missing: build it and set LOCKSTEP_BUILD")
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(self, *words):
        """Returns (H x W x C pixels, text)."""
        self.process.stdin.write((" ".join(str(w) for w in words) + "\n").encode())
        self.process.stdin.flush()
        line = self.process.stdout.readline().decode()
        if not line.startswith("ok "):
            raise ImageError(line.strip() or f"image_tool died on {words}")
        _, width, height, channels, text = line.rstrip("\n").split(" ", 4)
        shape = (int(height), int(width), int(channels))
        data = self.process.stdout.read(shape[0] * shape[1] * shape[2])
        return np.frombuffer(data, np.uint8).reshape(shape), text

    def decode(self, path, channels=3, min_width=0, min_height=0):
        return self.call("decode", path, channels, min_width, min_height)[0]

    def probe(self, path):
        """Returns encoding, width, height, channels, orientation."""
        encoding, *numbers = self.call("probe", path)[1].split()
        return encoding, *map(int, numbers)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def tool():
    client = ImageTool()
    yield client
    client.close()


def photos(step):
    """Every step-th photograph, or a skip that says why."""
    if not PHOTOS.is_dir():
        pytest.skip(f"no photographs in {PHOTOS}: set LOCKSTEP_PHOTOS")
    return sorted(PHOTOS.rglob("*.jpg"))[::step]


def assert_same_pixels(ours, theirs, what):
    theirs = np.asarray(theirs)
    theirs = theirs[:, :, None] if theirs.ndim == 2 else theirs
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape} against {theirs.shape}"
    if not np.array_equal(ours, theirs):
        wrong = np.argwhere(ours != theirs)
        most = np.abs(ours.astype(int) - theirs.astype(int)).max()
        raise AssertionError(f"{what}: {len(wrong)} of {ours.size} values differ, by up to {most}, first at {wrong[0]}")
