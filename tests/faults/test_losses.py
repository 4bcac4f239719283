"""Losses: the same bits on every launch (P5, P6), and settings that cannot be."""
import json

import pytest

from conftest import records, run, write_idx
from test_bad_input import refused
from test_same_bits import assert_same_run, train

WEIGHTS = "loss.class_weights=0.5,2,1,1,0,3,1,1,0.25,1"
LOSSES = {
    "f1": ["loss.f1=1", "loss.cross_entropy=0.5"],
    "f1_mixed": ["loss.f1=1", "mix.mixup=0.4", "mix.cutmix=1", "loss.smoothing=0.1", "loss.weighting=given", WEIGHTS],
    "f1_per_microbatch": ["loss.f1=0.5", "loss.f1_counts=per_microbatch"],
    "focal_weighted": ["loss.cross_entropy=0", "loss.focal=1", "loss.weighting=given", WEIGHTS,
                       "loss.logit_adjustment=1"],
}


@pytest.mark.parametrize("name", LOSSES)
def test_ranks_give_the_same_bits(name, small_job, tmp_path):
    """P5, P6: the sum of the class weights and the counts of F1 are the whole window's; the shorter last one included."""
    for ranks in (1, 2, 4):
        train(small_job, tmp_path / str(ranks), "epochs=1", *LOSSES[name], ranks=ranks)
    assert_same_run(tmp_path / "1", tmp_path / "2")
    assert_same_run(tmp_path / "1", tmp_path / "4")


def test_the_loss_is_named_at_the_start(small_job, tmp_path):
    """One line with rule and values, on stdout and in metrics.jsonl; cross-entropy alone is no news."""
    text = run("train", small_job, "max_updates=1", "--run", tmp_path / "plain").stdout
    assert "loss:" not in text
    assert records(tmp_path / "plain", "run")[0]["loss"] == "1 cross-entropy"
    text = run("train", small_job, "max_updates=1", "loss.weighting=inverse_frequency", "loss.smoothing=0.1", "loss.f1=0.5",
               "--run", tmp_path / "weighted").stdout
    line = next(line for line in text.splitlines() if line.startswith("loss:"))
    assert line == "loss: " + records(tmp_path / "weighted", "run")[0]["loss"]
    assert "1 cross-entropy + 0.5 soft macro-F1 of the window; label smoothing 0.1 on every class" in line
    values = [float(item.split()[1]) for item in line.split("inverse-frequency class weights:")[1].split(",")]
    assert len(values) == 10 and all(0.5 < value < 2 for value in values)


def test_eval_means_the_loss_of_the_job(small_job, small_data, tmp_path):
    """Class weights come from the checkpoint's own counts, F1 from the whole split."""
    train(small_job, tmp_path / "r", "epochs=1", "loss.weighting=effective_number", "loss.f1=0.5", "loss.logit_adjustment=1")
    seen = json.loads(run("eval", tmp_path / "r/checkpoints/last.h5", small_data, "--split", "validation", "--json").stdout)
    epoch = records(tmp_path / "r", "epoch")[-1]
    assert seen["loss"] == pytest.approx(epoch["validation"]["loss"], rel=1e-6)


def test_resuming_in_the_middle(small_job, tmp_path):
    """P10: class weights are computed again from the data set."""
    keys = ["epochs=1", "loss.weighting=inverse_frequency", "loss.f1=0.5"]
    train(small_job, tmp_path / "whole", *keys)
    train(small_job, tmp_path / "parts", "max_updates=3", *keys, ranks=2)
    train(small_job, tmp_path / "parts", *keys, flags=("--resume",))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    refused("train", small_job, *keys[:2], "loss.f1=0.6", "--run", tmp_path / "parts", "--resume",
            says=["cannot resume", "loss.f1"])


def test_settings_that_cannot_be(small_job, tmp_path):
    for overrides, says in [
        (["loss.smoothing=1"], "loss.smoothing"),
        (["loss.smoothing=-0.1"], "loss.smoothing"),
        (["loss.cross_entropy=-1"], "loss.cross_entropy"),
        (["loss.cross_entropy=0"], "leaves nothing to minimise"),
        (["loss.weighting=inverse"], "one of none, given, inverse_frequency"),
        (["loss.weighting=given"], "needs loss.class_weights"),
        (["loss.class_weights=1,2"], "'loss.weighting: given' only"),
        (["loss.weighting=given", "loss.class_weights=1,2,3"], "has 3 values, but the data set has 10 classes"),
        (["loss.weighting=given", "loss.class_weights=1,1,1,1,-1,1,1,1,1,1"], "loss.class_weights"),
        (["loss.weighting=given", "loss.class_weights=0,0,0,0,0,0,0,0,0,0"], "are all 0"),
        (["loss.focal=1", "loss.focal_alpha=0.25"], "loss.focal_alpha has 1 value, but the data set has 10 classes"),
        (["loss.focal_alpha=1,1,1,1,1,1,1,1,1,1"], "loss.focal above 0"),
        (["loss.focal=1", "loss.focal_gamma=-1"], "loss.focal_gamma"),
        (["loss.f1=1", "loss.f1_epsilon=0"], "loss.f1_epsilon"),
        (["loss.weighting=effective_number", "loss.effective_beta=1"], "loss.effective_beta"),
        (["loss.logit_adjustment=nan"], "loss.logit_adjustment"),
    ]:
        refused("train", small_job, *overrides, "--run", tmp_path / "r", says=[says])
        assert not (tmp_path / "r").exists(), overrides


def test_a_class_without_training_samples(tmp_path):
    """Refused when packing; the rules that divide by a class's samples refuse it too (tests/unit/train/test_loss.c)."""
    folder = write_idx(tmp_path / "idx", 200, 50)
    labels = folder / "train-labels-idx1-ubyte"
    data = bytearray(labels.read_bytes())
    data[8:] = bytes(2 if value == 3 else value for value in data[8:])
    labels.write_bytes(data)
    refused("pack", folder, tmp_path / "d.h5", "--val", "40", says=['the class "3" has no training image'])


def test_one_class(tmp_path):
    folder = write_idx(tmp_path / "idx", 100, 20)
    for name in ("train", "t10k"):
        labels = folder / f"{name}-labels-idx1-ubyte"
        labels.write_bytes(labels.read_bytes()[:8] + bytes(len(labels.read_bytes()) - 8))
    refused("pack", folder, tmp_path / "d.h5", "--val", "20", says=["one class only"])
