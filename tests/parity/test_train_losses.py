"""The losses of `lockstep train` against the same loss written in PyTorch over the whole window at once: class-weighted means
divide by the window's weights (P6), F1 counts the window's samples, and validation uses the whole split (P1)."""

import math

import numpy as np
import pytest
import torch
from model_oracle import assert_close, relative
from test_train_torch import CLASSES, SEED, TOLERANCE, Net, epoch_order, initial_state, packed, rate, read_split, train
from torch import nn
from torch.nn import functional as F

__all__ = ["packed"]  # the fixture
EPSILON = 1e-8


def soft_f1_loss(logits, labels):
    p, q = torch.softmax(logits, 1), F.one_hot(labels, CLASSES).double()
    return 1 - (2 * (p * q).sum(0) / (p.sum(0) + q.sum(0) + EPSILON)).mean()


def inverse_frequency(counts):
    """As sklearn.utils.class_weight.compute_class_weight("balanced", ...)."""
    return counts.sum() / (CLASSES * counts)


def effective_number(counts, beta):
    weights = (1 - beta) / (1 - beta**counts)
    return weights * CLASSES / weights.sum()


def focal(logits, labels, gamma, alpha):
    log_p = torch.log_softmax(logits, 1).gather(1, labels[:, None]).squeeze(1)
    return (-alpha[labels] * (1 - log_p.exp()) ** gamma * log_p).mean()


def smooth_others(logits, labels, s):
    target = torch.full(logits.shape, s / (CLASSES - 1), dtype=torch.float64)
    target[torch.arange(len(labels)), labels] = 1 - s
    return F.cross_entropy(logits, target)


ALPHA = torch.tensor([0.25, 0.5, 1, 2, 0.75], dtype=torch.float64)

# name: (overrides, loss of (logits, labels, training counts), loss of validation or None: the same)
LOSSES = {
    "class weights": (
        ["loss.weighting=inverse_frequency"],
        lambda z, y, n: F.cross_entropy(z, y, inverse_frequency(n), label_smoothing=0.1),
    ),
    "effective number": (
        ["loss.weighting=effective_number", "loss.effective_beta=0.9", "loss.cross_entropy=0.5"],
        lambda z, y, n: 0.5 * F.cross_entropy(z, y, effective_number(n, 0.9), label_smoothing=0.1),
    ),
    "given weights": (
        ["loss.weighting=given", "loss.class_weights=[2, 0, 1, 0.5, 3]", "loss.smoothing=0"],
        lambda z, y, n: F.cross_entropy(z, y, torch.tensor([2, 0, 1, 0.5, 3], dtype=torch.float64)),
    ),
    "focal": (
        ["loss.cross_entropy=0", "loss.focal=1", "loss.focal_gamma=2", "loss.focal_alpha=0.25,0.5,1,2,0.75",
         "loss.smoothing=0"],
        lambda z, y, n: focal(z, y, 2, ALPHA),
    ),
    "smoothing on the others": (
        ["loss.smoothing=0.3", "loss.smoothing_rule=others"],
        lambda z, y, n: smooth_others(z, y, 0.3),
    ),
    "logit adjustment": (
        ["loss.logit_adjustment=1.5"],
        lambda z, y, n: F.cross_entropy(z + 1.5 * torch.log(n / n.sum()), y, label_smoothing=0.1),
    ),
    "f1 of the window": (
        ["loss.f1=0.5"],
        lambda z, y, n: F.cross_entropy(z, y, label_smoothing=0.1) + 0.5 * soft_f1_loss(z, y),
    ),
    "f1 alone": (["loss.cross_entropy=0", "loss.f1=2"], lambda z, y, n: 2 * soft_f1_loss(z, y)),
}


def run_torch(state, packed, loss, per_microbatch=False, microbatch=8):
    """One epoch: two windows of 32 = 4 x 8 and one of 13 = 8 + 5."""
    model = Net().double()
    names = model.state_dict()
    model.load_state_dict({name: torch.from_numpy(state[name]) if name in state else names[name] for name in names})
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=0.001)
    x, y = read_split(packed, 0)
    counts = torch.bincount(y, minlength=CLASSES).double()
    order, losses = epoch_order(len(x), SEED, 0), []
    starts = range(0, len(order), 32)
    model.train()
    for update, start in enumerate(starts):
        window = order[start : start + 32]
        parts = [window[i : i + microbatch] for i in range(0, len(window), microbatch)]
        optimizer.zero_grad()
        logits = [model(x[rows]) for rows in parts]
        if per_microbatch:
            total = sum(len(rows) * loss(z, y[rows], counts) for z, rows in zip(logits, parts)) / len(window)
        else:
            total = loss(torch.cat(logits), y[window], counts)
        total.backward()
        optimizer.param_groups[0]["lr"] = rate(update, len(starts))
        optimizer.step()
        losses.append(total.item())
    model.eval()
    vx, vy = read_split(packed, 1)
    with torch.no_grad():
        return model, losses, loss(model(vx), vy, counts).item()


@pytest.fixture(scope="module")
def start(build, packed, tmp_path_factory):
    return initial_state(build, packed, tmp_path_factory.mktemp("start"))


def compare(build, packed, start, folder, overrides, loss, per_microbatch=False, ranks=1):
    model, losses, validation = run_torch(start, packed, loss, per_microbatch)
    tensors, _, lines = train(build, packed, folder, "epochs=1", *overrides, ranks=ranks)
    seen = [line["loss"] for line in lines if line["type"] == "update"]
    assert len(seen) == len(losses) == 3
    assert relative(seen, losses) <= TOLERANCE, f"losses {seen}, PyTorch's {losses}"
    expected = {k: v.double().numpy() for k, v in model.state_dict().items() if "num_batches" not in k}
    assert_close(tensors, expected, TOLERANCE, "parameters and running statistics")
    epoch = next(line for line in lines if line["type"] == "epoch")
    assert relative(epoch["validation"]["loss"], validation) <= TOLERANCE


@pytest.mark.parametrize("name", LOSSES)
def test_losses_follow_torch(name, build, packed, start, tmp_path):
    compare(build, packed, start, tmp_path, *LOSSES[name], ranks=2 if "f1 of" in name or "given" in name else 1)


def test_f1_of_each_microbatch(build, packed, start, tmp_path):
    compare(build, packed, start, tmp_path, ["loss.f1=0.5", "loss.f1_counts=per_microbatch"], LOSSES["f1 of the window"][1],
            per_microbatch=True)


def test_the_windows_f1_is_not_that_of_microbatches(build, packed, start, tmp_path):
    """The comparison can fail."""
    with pytest.raises(AssertionError):
        compare(build, packed, start, tmp_path, ["loss.f1=0.5"], LOSSES["f1 of the window"][1], per_microbatch=True)


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat(np.arange(CLASSES), [7, 1, 30, 4, 9])
    ours = inverse_frequency(torch.bincount(torch.from_numpy(labels)).double()).numpy()
    assert np.allclose(ours, compute_class_weight("balanced", classes=np.arange(CLASSES), y=labels), rtol=1e-15)
    assert math.isclose(effective_number(torch.tensor([5.0, 1, 2, 3, 4]), 0.9).sum().item(), CLASSES)
