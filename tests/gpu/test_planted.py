"""Faults that the stand-ins plant on purpose (LK_SIM_PLANT, tests/gpu/sim/plant.c) against the checks that must catch them: the
list of op cases, ten-step parity with the cpu device, the same bits, and the watched stand-in. Each check passes without."""

import os
import subprocess

import numpy as np
import pytest
from test_races import watched  # noqa: F401 (a fixture)
from test_train_standin import job, losses, tensors, train  # noqa: F401 (job is a fixture)

TEN = ["epochs=3", "max_updates=10", "schedule.kind=cosine", "optimizer.momentum=0.9"]


def weights(folder):
    return {name: value.tobytes() for name, value in tensors(folder).items()}


def ops(build, case, fault):
    """Does the device agree with the reference over these cases?"""
    environment = {**os.environ, "LOCKSTEP_MODULES": str(build / "tests/gpu/lib/lockstep"), "LK_SIM_PLANT": fault}
    command = [build / "bin/ops_test", "compare", "cuda", "--type", "float32", "--case", case]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert ("FAIL" in done.stdout) == (done.returncode != 0)
    assert "times the tolerance" in done.stdout or done.returncode == 0, done.stdout + done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("fault, case", [("stride", "conv 3x3"), ("padding", "conv 3x3"), ("axis", "linear")])
def test_ops_catch(build, fault, case):
    """A wrong stride, a wrong padding, a sum over the wrong axis."""
    assert ops(build, case, "")
    assert not ops(build, case, fault)


@pytest.fixture(scope="module")
def runs(build, job, tmp_path_factory):  # noqa: F811
    """Ten updates as they should be: on the cpu device, kernel by kernel, captured."""
    folder = tmp_path_factory.mktemp("runs")
    train(build, job, folder / "cpu", "device=cpu", *TEN)
    train(build, job, folder / "eager", "device=cuda", "cuda_graphs=off", *TEN)
    train(build, job, folder / "graphs", "device=cuda", *TEN)
    return folder


def follows(folder, oracle):
    return np.allclose(losses(folder), losses(oracle), rtol=2e-4, atol=0)


def test_ten_steps_catch_swapped_gradients(build, job, runs, tmp_path):  # noqa: F811
    """Two weight gradients of one shape: each is right, and each op passes."""
    train(build, job, tmp_path / "run", "device=cuda", *TEN, LK_SIM_PLANT="swap")
    assert follows(runs / "eager", runs / "cpu")
    assert not follows(tmp_path / "run", runs / "cpu")


@pytest.mark.parametrize("fault", ["rate", "pointer"])
def test_the_same_bits_catch_what_a_graph_has_kept(build, job, runs, tmp_path, fault):  # noqa: F811
    """A learning rate that is that of the first replay, and addresses of a gradient slab that is not this microbatch's."""
    train(build, job, tmp_path / "run", "device=cuda", *TEN, LK_SIM_PLANT=fault)
    assert weights(runs / "graphs") == weights(runs / "eager")
    assert weights(tmp_path / "run") != weights(runs / "eager")


def test_the_host_reads_no_loss_before_it_has_come(build, job, runs, tmp_path):  # noqa: F811
    """Until the host has waited, pinned memory holds a pattern: losses and norm are then no numbers to write down."""
    assert len(losses(runs / "graphs")) == 10
    done = train(build, job, tmp_path / "run", "device=cuda", "max_updates=2", status=1, LK_SIM_PLANT="read")
    assert "cannot build a line of metrics.jsonl" in done.stderr


@pytest.mark.parametrize(
    "fault, overrides, sentence",
    [
        ("wait", [], "a race: .* on stream 2 reads .*, which a copy on stream 1 wrote, and nothing orders the two"),
        ("wait", ["cuda_graphs=off"], "a race: .* on stream 2 reads .*, which a copy on stream 1 wrote"),
        ("record", [], "pinned memory was changed before the host knew that the copy of its .* bytes was done"),
        ("free", ["cuda_graphs=off"], "(reads|writes) freed memory"),
        ("workspace", ["compute=bfloat16"], "reads byte .* of an allocation of .*, which nobody has written"),
    ],
    ids=["wait", "wait-eager", "record", "free", "workspace"],
)
def test_the_watched_stand_in_catches(build, job, watched, tmp_path, fault, overrides, sentence):  # noqa: F811
    """A missing event, a buffer that is freed too early, a workspace that nobody has filled."""
    plain = ["device=cuda", "max_updates=2", *overrides]
    train(build, job, tmp_path / "run", *plain, LOCKSTEP_MODULES=watched)
    with pytest.raises(AssertionError, match=f"stand-in GPU: .*{sentence}"):
        train(build, job, tmp_path / "run", *plain, LOCKSTEP_MODULES=watched, LK_SIM_PLANT=fault)


def test_messages_that_do_not_match_catch_a_bucket_sent_twice(build, job, tmp_path):  # noqa: F811
    if not (build / "tests/gpu/lib/lockstep/lockstep_nccl.so").exists():
        pytest.skip("this build has no NCCL module")
    plain = ["device=cuda", "max_updates=1"]
    train(build, job, tmp_path / "run", *plain, ranks=2, LK_SIM_GPUS=2)
    with pytest.raises(AssertionError, match=r"rank 1 receives message \d+ of \d+ bytes from rank 0, which sends"):
        train(build, job, tmp_path / "run", *plain, ranks=2, LK_SIM_GPUS=2, LK_SIM_PLANT="bucket")
