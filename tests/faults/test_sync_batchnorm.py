"""Synchronised BatchNorm: the same bits on every launch that can run a group at once (P5, P23), the others are refused, and a
failure of one leaf releases all that wait for it (P14, P19)."""
import json
import os
import shutil
import subprocess

import h5py
import pytest

from conftest import command, environment, records, run
from test_bad_input import refused
from test_same_bits import assert_same_run, train


@pytest.mark.parametrize("group", [2, 4])
def test_ranks_give_the_same_bits(group, small_job, tmp_path):
    """A group on one rank, on one lane of each of several ranks, and across ranks; the shorter last window included."""
    for ranks in (1, 2, 4):
        train(small_job, tmp_path / str(ranks), "epochs=1", f"sync_batchnorm={group}", ranks=ranks)
    assert_same_run(tmp_path / "1", tmp_path / "2")
    assert_same_run(tmp_path / "1", tmp_path / "4")
    train(small_job, tmp_path / "alone", "epochs=1")
    assert records(tmp_path / "alone", "update") != records(tmp_path / "1", "update")


def test_one_core_f1_and_mixing(small_job, tmp_path):
    """More lanes than cores, both passes of an F1 term over the window, mixed samples."""
    keys = ["epochs=1", "sync_batchnorm=4", "loss.f1=1", "mix.mixup=0.4"]
    train(small_job, tmp_path / "ranks", *keys, ranks=2)
    result = subprocess.run(["taskset", "-c", str(min(os.sched_getaffinity(0))),
                             *command("train", small_job, *keys, "--run", tmp_path / "one")], env=environment())
    assert result.returncode == 0
    assert_same_run(tmp_path / "ranks", tmp_path / "one")


def test_resuming_on_another_number_of_ranks(small_job, tmp_path):
    keys = ["epochs=1", "sync_batchnorm=2"]
    train(small_job, tmp_path / "whole", *keys)
    train(small_job, tmp_path / "parts", "max_updates=3", *keys, ranks=4)
    train(small_job, tmp_path / "parts", *keys, ranks=2, flags=("--resume",))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    refused("train", small_job, "epochs=1", "--run", tmp_path / "parts", "--resume", says=["sync_batchnorm"])


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("sample", [7, 300])
def test_a_bad_sample_ends_all(sample, ranks, small_job, small_data, tmp_path):
    """P14: the sentence is that of the leaf that failed, not of those that waited for it."""
    path = tmp_path / "flipped.h5"
    shutil.copy(small_data, path)
    with h5py.File(path) as file:
        offset = file["data/00000"].id.get_offset() + int(file["index/offset"][sample])
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x80]))
    for keys in (["sync_batchnorm=4"], ["sync_batchnorm=2", "loss.f1=1"]):
        refused("train", small_job, f"data={path}", *keys, "--run", tmp_path / "r", "--overwrite", ranks=ranks, says=["hash"])


def test_groups_and_launches_that_do_not_work(small_job, tmp_path):
    refused("train", small_job, "sync_batchnorm=3", says=["sync_batchnorm is 3", "the 4 microbatches"])
    refused("train", small_job, "sync_batchnorm=-1", says=["sync_batchnorm"])
    keys = ["batch=96", "sync_batchnorm=2"]  # 6 microbatches: 2 ranks have 3 each
    refused("train", small_job, *keys, "--run", tmp_path / "r", ranks=2,
            says=["2 ranks have 3 microbatches each", "sync_batchnorm", "rank counts that work: 1, 6"])
    assert not (tmp_path / "r").exists()
    run("train", small_job, *keys, "max_updates=1", "--run", tmp_path / "r")
    rows = json.loads(run("plan", small_job, *keys, "--json").stdout)["ranks"]
    assert [row["ranks"] for row in rows] == [1, 6] and rows[0]["lanes"] % 2 == 0
