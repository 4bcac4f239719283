"""Ten updates as graphs and kernel by kernel, on the stand-ins: networks of full depth, small pictures (P5): minutes."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "gpu"))
from test_graphs import AROUND, both
from test_train_standin import job  # noqa: F401 (a fixture)

BUILD = pathlib.Path(os.environ["LOCKSTEP_BUILD"])


@pytest.fixture(scope="module")
def build():
    if not (BUILD / "tests/gpu/lib/lockstep/lockstep_cuda.so").exists():
        pytest.skip("this build has no stand-in GPU")
    return BUILD


@pytest.mark.parametrize("model", ["resnet18", "efficientnet_b0"])
def test_ten_updates(build, job, tmp_path, model):  # noqa: F811
    words = ["epochs=3", "max_updates=10", "compute=bfloat16", "recompute=all", *AROUND]
    both(build, job, tmp_path, f"model={model}", *words, seconds=1800)
