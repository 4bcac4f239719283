"""The real cuDNN accepts every convolution graph of every model there is, training and inference (docs/gpu.md): an hour."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "gpu"))
from cudnn_alone import all_have_an_engine, ask, make_driver

BUILD = pathlib.Path(os.environ["LOCKSTEP_BUILD"])


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    if not (BUILD / "bin/gpu_graphs").exists():
        pytest.skip("this build has no CUDA module")
    return make_driver(tmp_path_factory.mktemp("driver"))


@pytest.mark.parametrize("compute", ["float32", "tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("library, batch, passes", [("pypi", "256", []), ("pypi", "100", ["forward"]), ("toolkit", "256", [])])
def test_every_convolution_of_every_model_has_an_engine(driver, library, batch, passes, compute):
    asked, there = all_have_an_engine(ask(BUILD, driver, library, "all", batch, compute, *passes, seconds=3000))
    assert asked == there > (200 if passes else 700)
