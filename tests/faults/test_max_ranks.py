"""`max_ranks: R` adds chains of microbatches before the tree (P5): the same bits on every launch of up to R ranks, other bits and
fewer gradient slabs than without it; launches and values that do not work are refused."""
import json
import os
import re
import subprocess

import pytest

from conftest import assert_same_tensors, command, environment, records, run
from test_bad_input import refused
from test_same_bits import assert_same_run, train

EIGHT = ["microbatch=8", "max_ranks=4"]  # 8 microbatches an update; the last window has 22 samples: 8 + 8 + 6, a chain and a half


@pytest.fixture(scope="module")
def whole(small_job, tmp_path_factory):
    """One epoch on one rank and all cores."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    said = train(small_job, folder, *EIGHT, "epochs=1").stdout
    assert "batch 64 = 8 x 8: 1 rank x 8 accumulated in chains of 2" in said
    return folder


def slabs(folder_output):
    return int(re.search(r"; (\d+) gradient slabs?\n", folder_output).group(1))


def test_ranks_and_cores_give_the_same_bits(whole, small_job, tmp_path):
    """On 1, 2 and 4 ranks; on one core a rank runs its microbatches in turn, on two side by side."""
    for ranks in (2, 4):
        said = train(small_job, tmp_path / str(ranks), *EIGHT, "epochs=1", ranks=ranks).stdout
        assert f"batch 64 = 8 x 8: {ranks} ranks x {8 // ranks} accumulated in chains of 2" in said
        assert_same_run(whole, tmp_path / str(ranks))
    result = subprocess.run(["taskset", "-c", str(min(os.sched_getaffinity(0))),
                             *command("train", small_job, *EIGHT, "epochs=1", "--run", tmp_path / "core")], env=environment())
    assert result.returncode == 0
    assert_same_run(whole, tmp_path / "core")


def test_long_chains(small_job, tmp_path):
    """Chains of four on one rank and on four, beside BatchNorm over groups that cut them otherwise and an F1 term over the window,
    whose parts stay those of microbatches; without the key the sums are others."""
    keys = ["microbatch=4", "epochs=1", "sync_batchnorm=2", "loss.f1=0.5"]  # the last window: a chain, and 4 + 2 samples of one
    for ranks in (1, 4):
        train(small_job, tmp_path / str(ranks), *keys, "max_ranks=4", ranks=ranks)
    assert_same_run(tmp_path / "1", tmp_path / "4")
    train(small_job, tmp_path / "tree", *keys)
    assert records(tmp_path / "tree", "epoch")[0]["ledger"] == records(tmp_path / "1", "epoch")[0]["ledger"]
    with pytest.raises(AssertionError):
        assert_same_tensors(tmp_path / "tree/checkpoints/last.h5", tmp_path / "1/checkpoints/last.h5")


def test_as_many_as_microbatches_is_the_default(small_job, tmp_path):
    train(small_job, tmp_path / "default", "max_updates=2")
    train(small_job, tmp_path / "four", "max_updates=2", "max_ranks=4", ranks=4)
    assert_same_tensors(tmp_path / "default/checkpoints/last.h5", tmp_path / "four/checkpoints/last.h5")
    assert records(tmp_path / "default", "update") == records(tmp_path / "four", "update") != []


def test_resuming_on_another_number_of_ranks(whole, small_job, tmp_path):
    """P10; the key changes the bits, so a run keeps it."""
    train(small_job, tmp_path / "parts", *EIGHT, "epochs=1", "max_updates=3", ranks=4)
    train(small_job, tmp_path / "parts", *EIGHT, "epochs=1", ranks=2, flags=("--resume",))
    assert_same_run(whole, tmp_path / "parts")
    refused("train", small_job, "microbatch=8", "epochs=1", "--run", tmp_path / "parts", "--resume", says=["max_ranks"])


def test_fewer_slabs(small_job, tmp_path):
    """What a plan promises is what a run takes."""
    for key, one_core, two_cores in (("0", 4, 4), ("4", 4, 4), ("2", 3, 4), ("1", 2, 3)):
        for cores, expected in ((1, one_core), (2, two_cores)):
            plan = json.loads(run("plan", small_job, "microbatch=8", f"max_ranks={key}", "--json", "--cores", cores).stdout)
            assert plan["ranks"][0]["gradient_slabs"] == expected
            assert plan["chain"] == (8 // int(key) if key != "0" else 1)
            assert [row["ranks"] for row in plan["ranks"]] == [n for n in (1, 2, 4, 8) if n <= (int(key) or 8)]
    plan = json.loads(run("plan", small_job, "microbatch=8", "max_ranks=1", "--json").stdout)
    said = train(small_job, tmp_path / "r", "microbatch=8", "max_ranks=1", "max_updates=1").stdout
    assert slabs(said) == plan["ranks"][0]["gradient_slabs"]
    assert "8 x 8 (gradients added in chains of 2)" in run("plan", small_job, *EIGHT).stdout


def test_values_and_launches_that_do_not_work(small_job, tmp_path):
    refused("train", small_job, "max_ranks=3", says=["max_ranks is 3", "does not divide the 4 microbatches", "divisor of 4"])
    refused("train", small_job, "max_ranks=8", says=["max_ranks is 8", "does not divide the 4 microbatches"])
    refused("train", small_job, "max_ranks=-1", says=["max_ranks"])
    refused("train", small_job, "max_ranks=2", "--run", tmp_path / "r", ranks=4,
            says=["4 ranks cannot share 4 microbatches in 2 chains of 2", "max_ranks 2", "rank counts that work: 1, 2"])
    assert not (tmp_path / "r").exists()
    assert "max_ranks" in run("train", "--help").stdout
