"""The real cuDNN accepts the convolution graphs of the models, asked without a GPU (docs/gpu.md): a sample of all models here, each of
them in tests/long."""

import pytest
from cudnn_alone import all_have_an_engine, ask, make_driver


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    return make_driver(tmp_path_factory.mktemp("driver"))


@pytest.mark.parametrize("compute, every", [("float32", 16), ("bfloat16", 16), ("tf32", 128), ("float16", 128)])
def test_a_sample_of_all_convolutions_has_engines(build, driver, compute, every):
    asked, there = all_have_an_engine(ask(build, driver, "pypi", "all", "256", compute, str(every)))
    assert asked == (there + every - 1) // every and there > 700


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_every_convolution_of_a_model_has_an_engine(build, driver, compute):
    assert all_have_an_engine(ask(build, driver, "toolkit", "resnet18", "256", compute)) == (32, 32)


def test_a_shape_that_nobody_takes_is_refused(build, driver):
    """The question can be answered with no: more elements than cuDNN counts."""
    done = ask(build, driver, "pypi", "resnet18", str(1 << 40), "bfloat16", "8")
    assert done.returncode == 1 and "refused" in done.stdout
