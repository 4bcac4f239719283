"""P8, P10, P13: gradients of a scaled loss, and updates that are skipped where they overflow."""
import json

import h5py
import pytest

from conftest import assert_same_tensors, records, run, tensors

# Float32 overflows at 2^128: some windows are skipped first; the scale soon doubles again, and overflows again.
OVERFLOWING = ["loss_scale.kind=dynamic", f"loss_scale.initial={2**126}", "loss_scale.growth_interval=2", "loss.cross_entropy=64",
               "optimizer.lr=0.001", "schedule.kind=cosine"]


def train(job, folder, *overrides, flags=("--overwrite",), **options):
    return run("train", job, *overrides, "--run", folder, *flags, **options)


def without(lines, *names):
    return [{key: value for key, value in line.items() if key not in names} for line in lines]


def state(folder):
    with h5py.File(folder / "checkpoints/last.h5") as file:
        return json.loads(file["text/state"][()])


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_power_of_two_changes_no_bit(small_job, tmp_path, device):
    """Scaling and unscaling are exact, before the norm and the clipping by it (P8). The reference computes in float64."""
    overrides = [f"device={device}", "optimizer.clip_norm=0.5", "batch=16", "microbatch=8", "max_updates=2", "evaluate.batch=130"]
    train(small_job, tmp_path / "plain", *overrides)
    train(small_job, tmp_path / "scaled", *overrides, "loss_scale.kind=dynamic")
    assert_same_tensors(tmp_path / "plain/checkpoints/last.h5", tmp_path / "scaled/checkpoints/last.h5")
    plain, scaled = records(tmp_path / "plain", "update"), records(tmp_path / "scaled", "update")
    assert {line["loss_scale"] for line in scaled} == {65536} and without(scaled, "loss_scale") == plain
    assert {line["gradient_norm"] > 0.5 for line in plain} == {True}


@pytest.fixture(scope="module")
def overflowing(small_job, tmp_path_factory):
    folder = tmp_path_factory.mktemp("overflowing") / "run"
    return folder, train(small_job, folder, *OVERFLOWING)


def test_overflow_skips_the_update(small_job, overflowing, tmp_path):
    """P13: the window is spent, the scale halves, update number and learning rate stay; after it all goes on."""
    folder, done = overflowing
    skips, updates, epochs = (records(folder, kind) for kind in ("skip", "update", "epoch"))
    assert 2 < len(skips) < 14 and len(skips) + len(updates) == 16
    assert all(line["next_loss_scale"] * 2 == line["loss_scale"] and "is not finite" in line["reason"] for line in skips)
    assert [line["update"] for line in updates] == list(range(1, len(updates) + 1))
    assert [line["skipped"] for line in skips] == list(range(1, len(skips) + 1))
    assert sum(line["skipped_updates"] for line in epochs) == len(skips)
    assert all(line["ledger"]["samples"] == 470 and line["ledger"]["reductions"] == 8 for line in epochs)
    scales = [line["loss_scale"] for line in updates]
    assert max(scales) > min(scales)  # it grew again
    assert "is skipped: the gradient of" in done.stderr
    train(small_job, tmp_path / "plain", "schedule.kind=cosine", "optimizer.lr=0.001")
    rates = [line["lr"] for line in records(tmp_path / "plain", "update")]
    assert [line["lr"] for line in updates] == rates[: len(updates)]
    scaling = {key: value for key, value in state(folder).items() if key.startswith("scaling.")}
    assert scaling["scaling.skipped"] == len(skips) and scaling["scaling.scale"] > 2**100


@pytest.mark.parametrize("ranks", [2, 4])
def test_all_ranks_skip_alike(small_job, overflowing, tmp_path, ranks):
    """P5, P13."""
    train(small_job, tmp_path / "many", *OVERFLOWING, ranks=ranks)
    assert_same_tensors(overflowing[0] / "checkpoints/last.h5", tmp_path / "many/checkpoints/last.h5")
    for kind in ("update", "skip", "epoch"):
        assert records(overflowing[0], kind) == records(tmp_path / "many", kind)


@pytest.mark.parametrize("updates", [1, 3])
def test_a_resumed_run_has_the_same_scale(small_job, overflowing, tmp_path, updates):
    """P10: scale, counters and the lines of skipped updates, also where max_updates had asked for fewer windows."""
    folder = tmp_path / "run"
    train(small_job, folder, *OVERFLOWING, f"max_updates={updates}")
    assert len(records(folder, "update")) == updates
    train(small_job, folder, *OVERFLOWING, flags=("--resume",))
    assert_same_tensors(overflowing[0] / "checkpoints/last.h5", folder / "checkpoints/last.h5")
    for kind in ("update", "skip", "epoch"):
        assert records(overflowing[0], kind) == records(folder, kind)


def test_a_skipped_update_leaves_nothing_behind(small_job, tmp_path):
    """Weights and running statistics after an epoch of skipped updates are those before."""
    skipping = ["loss_scale.kind=dynamic", f"loss_scale.initial={2**126}", "loss.cross_entropy=1e6", "epochs=1"]
    train(small_job, tmp_path / "one", *skipping)
    train(small_job, tmp_path / "two", *skipping, "optimizer.lr=0.5", "batch=128")
    assert_same_tensors(tmp_path / "one/checkpoints/last.h5", tmp_path / "two/checkpoints/last.h5")
    found = tensors(tmp_path / "one/checkpoints/last.h5")
    for name, value in found.items():
        if name.startswith("model/") and "running" in name:
            assert (value == name.endswith("var")).all()
    [epoch] = records(tmp_path / "one", "epoch")
    assert epoch["skipped_updates"] == 8 and epoch["train"] == {"loss": None, "accuracy": None}


def test_twenty_in_a_row_end_the_run(small_job, tmp_path):
    """The first update ruins the weights: none after it is finite, and the checkpoint before it stays."""
    done = train(small_job, tmp_path / "run", "loss_scale.kind=dynamic", "optimizer.lr=1e6", "loss.cross_entropy=1e6", "batch=16", "microbatch=16",
                 "max_updates=3", check=False)
    assert done.returncode == 1
    assert "update 2 of epoch 1 was skipped 20 times in a row, the last at loss scale 0.125: " in done.stderr
    assert "the gradient of conv1.weight is not finite" in done.stderr
    assert len(records(tmp_path / "run", "skip")) == 19


def test_without_scaling_overflow_ends_the_run(small_job, tmp_path):
    """The rule for all other runs stays what it is."""
    done = train(small_job, tmp_path / "run", "optimizer.lr=1e6", check=False)
    assert done.returncode == 1 and "was not applied" in done.stderr


def test_a_scale_is_a_power_of_two(small_job, tmp_path):
    done = train(small_job, tmp_path / "run", "loss_scale.initial=1000", check=False)
    assert "loss_scale.initial is 1000 and must be a power of two from 1 to 2^126" in done.stderr
