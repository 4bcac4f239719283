"""Fixtures of the checks of the CUDA device that need no GPU. LOCKSTEP_BUILD names the build folder."""

import os
import pathlib

import pytest


@pytest.fixture(scope="session")
def build():
    path = os.environ.get("LOCKSTEP_BUILD")
    if path is None:
        pytest.fail("set LOCKSTEP_BUILD to the build folder")
    if not (pathlib.Path(path) / "lib/lockstep/lockstep_cuda.so").exists():
        pytest.skip("this build has no CUDA module")
    return pathlib.Path(path)
