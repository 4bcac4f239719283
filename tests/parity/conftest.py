"""Fixtures of the comparisons with PyTorch. LOCKSTEP_BUILD names the build folder."""

import os
import pathlib
import sys

import pytest
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))


def pytest_configure(config):
    side_by_side = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, min(2, os.cpu_count() or 1) // side_by_side))


@pytest.fixture(scope="session")
def build():
    """The build folder; its programs lie in bin/."""
    path = os.environ.get("LOCKSTEP_BUILD")
    if path is None:
        pytest.fail("set LOCKSTEP_BUILD to the build folder")
    return pathlib.Path(path)


@pytest.fixture(scope="session")
def tool(build):
    """Runs model_tool on the settings, arrays and state given, and opens what it wrote."""
    from model_oracle import Tool

    return Tool(build / "bin" / "model_tool")
