"""P5, P10, P16, P23: a job's result does not depend on the launch."""
import json
import os
import pathlib
import subprocess

import pytest

from conftest import assert_same_tensors, command, environment, records, run, tensors

PHOTO_JOB = """
data: {data}
model: resnet18
epochs: 1
batch: 16
microbatch: 4
input: {{size: 64, resize: short_side, resize_size: 72}}
augment: {{crop: random_resized, hflip: 0.5}}
optimizer: {{lr: 0.02}}
"""


def train(job, folder, *overrides, ranks=1, flags=("--overwrite",)):
    return run("train", job, *overrides, "--run", folder, *flags, ranks=ranks)


def assert_same_run(first, second):
    for name in ("last.h5", "best_f1.h5", "best_loss.h5"):
        assert_same_tensors(first / "checkpoints" / name, second / "checkpoints" / name)
    for kind in ("update", "epoch", "final"):
        assert records(first, kind) == records(second, kind) != []


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_give_the_same_bits(small_job, tmp_path, ranks):
    """Weights, momentum, running statistics, metrics, choice of the bests, a shorter last window included (P5, P23)."""
    train(small_job, tmp_path / "one")
    train(small_job, tmp_path / "many", ranks=ranks)
    assert_same_run(tmp_path / "one", tmp_path / "many")


def test_cores_give_the_same_bits(small_job, tmp_path):
    """One rank on one core runs its leaves in turn, on two side by side (P5)."""
    train(small_job, tmp_path / "all")
    result = subprocess.run(["taskset", "-c", str(min(os.sched_getaffinity(0))),
                             *command("train", small_job, "--run", tmp_path / "one")], env=environment())
    assert result.returncode == 0
    assert_same_run(tmp_path / "all", tmp_path / "one")


def test_a_different_seed_differs(small_job, tmp_path):
    """The comparison can fail."""
    train(small_job, tmp_path / "one", "max_updates=3")
    train(small_job, tmp_path / "two", "max_updates=3", "seed=4")
    with pytest.raises(AssertionError):
        assert_same_tensors(tmp_path / "one/checkpoints/last.h5", tmp_path / "two/checkpoints/last.h5")


@pytest.mark.parametrize("ranks", [2, 4])
def test_photographs_with_augmentation(photo_data, tmp_path, ranks):
    job = tmp_path / "photos.yaml"
    job.write_text(PHOTO_JOB.format(data=photo_data))
    train(job, tmp_path / "one")
    train(job, tmp_path / "many", ranks=ranks)
    assert_same_run(tmp_path / "one", tmp_path / "many")


AUGMENTED = """
augment: {{crop: random_resized, hflip: 0.5, vflip: 0.2, rotate: 10, policy: %s, brightness: 0.2, hue: 0.1, grayscale: 0.1,
          blur: 0.3, noise: 0.3, noise_sigma: 0.05, erase: 0.3, erase_fill: noise, interpolation: bilinear}}
mix: {{mixup: 0.4, cutmix: 1, prob: 0.8}}
"""


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_every_augmentation_and_mixing(photo_data, tmp_path, policy):
    """P16: all of them at once, on 1, 2 and 4 ranks and any number of workers; stopped in mid-epoch and resumed (P10)."""
    job = tmp_path / "photos.yaml"
    lines = [line for line in PHOTO_JOB.splitlines() if not line.startswith("augment")]
    job.write_text(("\n".join(lines) + AUGMENTED % policy).format(data=photo_data))
    train(job, tmp_path / "one")
    train(job, tmp_path / "two", "loader.workers=3", ranks=2)
    assert_same_run(tmp_path / "one", tmp_path / "two")
    train(job, tmp_path / "parts", "max_updates=1", ranks=4)
    train(job, tmp_path / "parts", ranks=4, flags=("--resume",))
    assert_same_run(tmp_path / "one", tmp_path / "parts")
    if policy == "randaugment":
        train(job, tmp_path / "unmixed", "mix.prob=0", "max_updates=1")
        with pytest.raises(AssertionError):
            assert_same_tensors(tmp_path / "one/checkpoints/last.h5", tmp_path / "unmixed/checkpoints/last.h5")


SAMPLERS = {
    "class_balanced": ["sampler.kind=class_balanced", "sampler.draws=300"],
    "weighted": ["sampler.kind=weighted", "sampler.weights=1,1,2,1,0.5,1,1,8,1,0"],
    "repeated": ["sampler.repeats=3", "mix.mixup=0.3"],
    "fold": ["folds=4", "fold=2"],
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_give_the_same_bits(small_job, tmp_path, name):
    """P5, P10: on 1, 2 and 4 ranks, stopped in mid-epoch; the ledger counts samples and how many differ (P26)."""
    settings = [*SAMPLERS[name], "epochs=1"]
    train(small_job, tmp_path / "one", *settings)
    train(small_job, tmp_path / "two", *settings, ranks=2)
    assert_same_run(tmp_path / "one", tmp_path / "two")
    train(small_job, tmp_path / "parts", *settings, "max_updates=3", ranks=4)
    train(small_job, tmp_path / "parts", *settings, ranks=4, flags=("--resume",))
    assert_same_run(tmp_path / "one", tmp_path / "parts")
    ledger, = (line["ledger"] for line in records(tmp_path / "one", "epoch"))
    samples = {"class_balanced": 300, "weighted": 470, "repeated": 1410, "fold": 450}[name]
    assert ledger["samples"] == samples and ledger["skipped"] == 0
    if name in ("repeated", "fold"):
        assert ledger["unique"] == {"repeated": 470, "fold": 450}[name]
    elif name == "class_balanced":
        assert 200 <= ledger["unique"] <= 300
    else:
        assert 200 <= ledger["unique"] < 470, "drawn with replacement"


@pytest.mark.parametrize("first,second", [(1, 2), (2, 1), (4, 2)])
def test_resuming_on_another_number_of_ranks(small_job, tmp_path, first, second):
    """P10: stopped in the middle of an epoch, gone on with elsewhere: the uninterrupted run's bits."""
    train(small_job, tmp_path / "whole")
    train(small_job, tmp_path / "parts", "max_updates=11", ranks=first)
    train(small_job, tmp_path / "parts", ranks=second, flags=("--resume",))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


MOBILE_JOB = """
data: {data}
model: {model}
epochs: 1
batch: 16
microbatch: 4
input: {{size: 32, resize: short_side, resize_size: 36}}
network: {{dropout: 0.3, drop_path: 0.4}}
optimizer: {{lr: 0.02}}
"""


@pytest.mark.parametrize("model", ["efficientnet_b0", "tf_efficientnet_lite0"])
def test_dropout_and_stochastic_depth(photo_data, tmp_path, model):
    """What is dropped follows from seed, epoch and position, whoever computes it, and dropping changes the result (P5)."""
    job = tmp_path / "mobile.yaml"
    job.write_text(MOBILE_JOB.format(data=photo_data, model=model))
    train(job, tmp_path / "one")
    for ranks in (2, 4):
        train(job, tmp_path / "many", ranks=ranks)
        assert_same_run(tmp_path / "one", tmp_path / "many")
    for key in ("dropout", "drop_path"):
        train(job, tmp_path / "other", f"network.{key}=0")
        with pytest.raises(AssertionError):
            assert_same_tensors(tmp_path / "one/checkpoints/last.h5", tmp_path / "other/checkpoints/last.h5")


def test_loader_workers_do_not_matter(small_job, tmp_path):
    train(small_job, tmp_path / "one", "loader.workers=1", "loader.prefetch=1")
    train(small_job, tmp_path / "many", "loader.workers=5", "loader.prefetch=9")
    assert_same_run(tmp_path / "one", tmp_path / "many")


def test_rank_counts_that_do_not_work_are_refused(small_job, tmp_path):
    result = run("train", small_job, "--run", tmp_path / "three", ranks=3, check=False)
    assert result.returncode == 1
    assert "rank counts that work: 1, 2, 4" in result.stderr
    assert not (tmp_path / "three").exists()


RECIPES = {
    "adamw": ["optimizer.kind=adamw", "optimizer.lr=0.003", "optimizer.clip_norm=0.5", "ema.decay=0.9",
              "schedule.kind=cosine", "schedule.warmup_epochs=0.5"],
    "adam": ["optimizer.kind=adam", "optimizer.lr=0.003", "optimizer.clip_value=0.01", "ema.decay=0.99", "ema.warmup=true",
             "schedule.kind=one_cycle"],
    "rmsprop": ["optimizer.kind=rmsprop", "optimizer.lr=0.001", "optimizer.centered=true", "optimizer.layer_decay=0.7",
                "optimizer.clip_norm=0.5", "ema.decay=0.8", "schedule.per=epoch", "schedule.kind=exponential"],
    "rmsprop_tf": ["optimizer.kind=rmsprop_tf", "optimizer.lr=0.001", "optimizer.no_decay=bn1, fc.bias", "ema.decay=0.9",
                   "schedule.kind=plateau", "schedule.patience=0", "schedule.threshold=0.9"],
    "sgd": ["optimizer.nesterov=true", "optimizer.clip_norm=0.3", "ema.decay=0.9", "schedule.kind=one_cycle"],
    "frozen": ["freeze.names=conv1, bn1, layer1, layer2.0.*2, fc.bias", "freeze.batchnorm=true", "optimizer.clip_norm=0.3",
               "ema.decay=0.9", "sync_batchnorm=2"],
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_on_ranks_and_resumed(small_job, tmp_path, name):
    """Every optimizer with clipping and a moving average: one rank, and two that stop in mid-epoch and go on as four (P5,
    P10); with a plateau schedule the second stop comes after its first reduction (P9)."""
    words = [*RECIPES[name], "epochs=3"]
    train(small_job, tmp_path / "whole", *words)
    train(small_job, tmp_path / "parts", *words, "max_updates=5", ranks=2)
    train(small_job, tmp_path / "parts", *words, "max_updates=18", ranks=4, flags=("--resume",))
    train(small_job, tmp_path / "parts", *words, flags=("--resume",))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    if name == "frozen":
        other = run("train", small_job, *words, "freeze.names=conv1, bn1", "--run", tmp_path / "parts", "--resume", check=False)
        assert other.returncode == 1 and "cannot resume: 'freeze.names' is" in other.stderr
    rates = [line["lr"] for line in records(tmp_path / "whole", "update")]
    if name == "rmsprop_tf":
        assert rates == pytest.approx([0.001] * 16 + [0.0001] * 8)
    assert all(line["validation"]["ema"] for line in records(tmp_path / "whole", "epoch"))


def test_the_average_is_what_leaves(small_job, small_data, tmp_path):
    """With a moving average, /model is the average: its golden logits (P25), its evaluation again, its exports."""
    train(small_job, tmp_path / "run", "ema.decay=0.9", "ema.warmup=true")
    best = tmp_path / "run/checkpoints/best_f1.h5"
    held = tensors(best)
    assert any((held[f"model/{n}"] != held[f"unaveraged/{n}"]).any() for n in ("conv1.weight", "bn1.running_mean"))
    run("verify", best)
    run("convert", best, tmp_path / "model.safetensors")
    run("verify", tmp_path / "model.safetensors")
    again = json.loads(run("eval", best, small_data, "--split", "validation", "--json").stdout)
    final = [line for line in records(tmp_path / "run", "final") if line["checkpoint"] == "best_f1" and line["split"] == "validation"]
    assert again["loss"] == pytest.approx(final[0]["metrics"]["loss"], rel=1e-6) and final[0]["metrics"]["ema"]
    assert "moving average (EMA) of decay 0.9" in run("inspect", best).stdout
    beside = pathlib.Path(f"{best.resolve()}.json")  # best_f1.h5 is a link
    assert json.loads(beside.read_text())["ema_decay"] == 0.9


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_what_is_computed_again_is_the_same(small_job, tmp_path, device):
    """recompute changes memory, not a bit; a run may go on with another setting (P5, P10)."""
    keys = ["model=mobilenetv3_large_100", f"device={device}", "batch=16", "microbatch=4", "drop_last=true"]
    train(small_job, tmp_path / "kept", *keys, "max_updates=3")
    train(small_job, tmp_path / "again", *keys, "max_updates=2", "recompute=convs", ranks=2)
    run("train", small_job, *keys, "max_updates=3", "recompute=all", "--run", tmp_path / "again", "--resume")
    assert_same_tensors(tmp_path / "kept/checkpoints/last.h5", tmp_path / "again/checkpoints/last.h5")
    plans = [json.loads(run("plan", small_job, *keys, f"recompute={r}", "--json").stdout)["plan"] for r in ("none", "all")]
    again = [call for call in plans[1]["calls"] if call["op"] == "compute again"]
    assert len(again) > 10 and plans[1]["arena_bytes"] < plans[0]["arena_bytes"]
