"""The reference device against PyTorch's float64 autograd for every op case, and SGD against torch.optim.SGD.

The program `ops_test dump` writes what it was given and what it made of it; PyTorch recomputes it here.
"""

import json
import os
import pathlib
import subprocess

import numpy
import pytest
import torch
import torch.nn.functional as F

torch.set_num_threads(2)

# Relative to |expected| plus the root mean square of the tensor. Both sides sum in float64 in different orders; at a mean
# of 1e4 BatchNorm loses four digits of sixteen.
TOLERANCE = 1e-10
BUILD = pathlib.Path(os.environ.get("LOCKSTEP_BUILD", "build"))
KINDS = 11
CASES = 320


class Dump:
    def __init__(self, folder):
        root = json.loads((folder / "cases.json").read_text())
        self.cases, self.sgd = root["cases"], root["sgd"]
        self.data = numpy.fromfile(folder / "data.bin", dtype=numpy.float64)

    def get(self, entry, name, shape=None):
        if name not in entry["tensors"]:
            return None
        offset, count = entry["tensors"][name]
        tensor = torch.from_numpy(self.data[offset : offset + count].copy())
        return tensor if shape is None else tensor.reshape(shape)


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ops")
    subprocess.run([BUILD / "bin" / "ops_test", "dump", "reference", folder], check=True, timeout=300)
    return Dump(folder)


def clamp(value, low, high):
    return torch.where(value <= low, torch.full_like(value, low), torch.where(value >= high, torch.full_like(value, high), value))


# PyTorch's own hardsigmoid multiplies its gradient by 1/6 rounded to float32, even in float64, and what relu6 gives behind NaN
# depends on how many elements there are. So these two are composed; test_composed_activations_equal_pytorch holds them to PyTorch.
ACTIVATIONS = {"none": lambda value: value, "relu": torch.relu, "relu6": lambda value: clamp(value, 0, 6), "silu": F.silu,
               "hard_swish": F.hardswish, "sigmoid": torch.sigmoid, "hard_sigmoid": lambda value: clamp(value + 3, 0, 6) / 6}


def activate(case, value):
    return ACTIVATIONS[case["act"]](value)


def leaf(tensor):
    return None if tensor is None else tensor.requires_grad_(True)


def optional(values):
    return None if values is None else torch.tensor(values, dtype=torch.float64)


def soft_f1(probabilities, labels, others, epsilon):
    """Macro-F1 with probabilities for predictions, over these samples and the counts of others."""
    tp, predicted, support = torch.zeros(3, labels.shape[1], dtype=torch.float64) if others is None else others
    tp, predicted = tp + (probabilities * labels).sum(0), predicted + probabilities.sum(0)
    return (2 * tp / (predicted + support + labels.sum(0) + epsilon)).mean()


def recompute_loss(dump, case, x):
    """The losses of the rows, and the scalar whose gradient dx is."""
    n, classes, rows = *case["shape"][:2], case["rows"]
    x = x.reshape(n, classes)[:rows]
    labels = dump.get(case, "labels").long()[:rows]
    own = F.one_hot(labels, classes).double()
    share, partner = dump.get(case, "in_label_share"), dump.get(case, "in_partner")
    mixed = own if share is None else share[:rows, None] * own + (1 - share[:rows, None]) * own[partner.long()[:rows]]
    s = case["smoothing"]
    target = (1 - s) * mixed + (s * (1 - mixed) / (classes - 1) if case["others"] else s / classes)
    weights, alpha, offsets = (optional(case[name]) for name in ("class_weights", "alpha", "logit_offsets"))
    z = x if offsets is None else x + offsets

    losses = case["cross_entropy"] * F.cross_entropy(z, target, weights, reduction="none")
    if case["focal"] > 0:
        log_p = torch.log_softmax(z, 1)
        factors = target * (1 if alpha is None else alpha) * (1 if weights is None else weights)
        losses = losses - case["focal"] * (factors * (1 - log_p.exp()) ** case["gamma"] * log_p).sum(1)
    if weights is not None:
        losses = losses * case["weight_scale"]
    if share is None and not case["others"] and case["cross_entropy"] > 0 and case["focal"] == 0:
        # The mean over the samples is PyTorch's own weighted mean (P6).
        theirs = case["cross_entropy"] * F.cross_entropy(z, labels, weights, label_smoothing=s)
        assert_close(losses.mean().detach(), theirs.detach(), f"{case['name']}: mean")

    apart = 0
    if case["f1"] > 0 and case["training"]:
        others = dump.get(case, "in_f1_others", (3, classes))
        value = case["f1"] * (1 - soft_f1(torch.softmax(x, 1), mixed, others, case["epsilon"]))
        if case["f1_microbatch"]:
            losses = losses + value
        else:
            apart = value * case["f1_samples"]
    return torch.cat([losses, torch.zeros(n - rows, dtype=torch.float64)]), losses.sum() + apart


def recompute(dump, case):
    """Returns {name: tensor} of everything the device should have written."""
    n, c, h, w = case["shape"]
    kind, result = case["kind"], {}
    if kind == "input":
        images = dump.get(case, "images", (n, h, w, c)).permute(0, 3, 1, 2)
        mean = torch.tensor(case["mean"], dtype=torch.float64).view(1, c, 1, 1)
        std = torch.tensor(case["std"], dtype=torch.float64).view(1, c, 1, 1)
        y = (images / 255 - mean) / std
        if (partner := dump.get(case, "in_partner")) is not None:
            share = dump.get(case, "in_pixel_share", (n, 1, 1, 1))
            y = share * y + (1 - share) * y[partner.long()]
        return {"y": y}

    x = leaf(dump.get(case, "in_x", (n, c, h, w)))
    params = [leaf(dump.get(case, "in_param0")), leaf(dump.get(case, "in_param1"))]
    residual = leaf(dump.get(case, "in_residual", (n, c, 1, 1) if kind == "scale" else (n, c, h, w)))
    if kind == "conv2d":
        weight = params[0].reshape(case["out_channels"], c // case["groups"], *case["kernel"])
        pad, (top, left) = case["pad"], case["pad_less"]
        padded = F.pad(x, (pad - left, pad, pad - top, pad))
        y = activate(case, F.conv2d(padded, weight, params[1], case["stride"], 0, case["dilation"], case["groups"]))
    elif kind == "batchnorm":
        stats = dump.get(case, "in_stats")
        running = (None, None) if stats is None else (stats[:c], stats[c:])
        measured = case["training"] and not case["fixed"]
        z = F.batch_norm(x, *running, params[0], params[1], measured, 0.1, case["eps"])
        keep = dump.get(case, "in_keep", (n, 1, 1, 1))
        z = z if keep is None else z * keep
        y = activate(case, z if residual is None else z + residual)
        if case["pool"][0] > 0:
            y = F.max_pool2d(y, *case["pool"])
        if measured:
            result["mean"] = x.detach().mean((0, 2, 3))
            result["variance"] = x.detach().var((0, 2, 3), unbiased=False)
    elif kind == "activation":
        y = activate(case, x)
    elif kind == "add":
        y = activate(case, x + residual)
    elif kind == "scale":
        y = x * residual
    elif kind == "dropout":
        y = x * dump.get(case, "in_keep", (n, c, h, w))
    elif kind == "maxpool":
        y = F.max_pool2d(x, case["kernel"], case["stride"], case["pad"])
    elif kind == "global_avgpool":
        y = F.adaptive_avg_pool2d(x, 1)
    elif kind == "linear":
        y = F.linear(x.reshape(n, c), params[0].reshape(case["out_features"], c), params[1])
    elif kind == "loss":
        y, total = recompute_loss(dump, case, x)
    else:
        pytest.fail(f"no PyTorch counterpart of {kind}")

    result["y"] = y.detach()
    if not case["backward"]:
        return result
    if kind == "loss":
        y, dy = total, torch.tensor(case["loss_scale"], dtype=torch.float64)
    else:
        dy = dump.get(case, "in_dy0", y.shape)
        if case["dy_count"] == 2:
            dy = dy + dump.get(case, "in_dy1", y.shape)
    y.backward(dy)
    if case["need_dx"]:
        result["dx"] = x.grad
    if residual is not None:
        result["dresidual"] = residual.grad
    for i, param in enumerate(params):
        if param is not None and not case["frozen"]:
            result[f"grad{i}"] = param.grad
    return result


def assert_close(seen, expected, what):
    seen, expected = seen.flatten(), expected.flatten()
    assert seen.shape == expected.shape, what
    finite = expected[torch.isfinite(expected)]
    size = finite.square().mean().sqrt() if finite.numel() else torch.tensor(0.0)
    both_nan = torch.isnan(seen) & torch.isnan(expected)
    within = (seen - expected).abs() <= TOLERANCE * (expected.abs() + size)
    bad = ~(within | both_nan)
    if bad.any():
        at = int(bad.nonzero()[0])
        pytest.fail(f"{what}[{at}] is {seen[at].item():.17g}, PyTorch has {expected[at].item():.17g}")


def test_every_case_is_dumped(dump):
    assert len(dump.cases) >= CASES
    assert len({case["kind"] for case in dump.cases}) == KINDS
    assert len({case["name"] for case in dump.cases}) == len(dump.cases)


def test_ops_equal_pytorch(dump):
    tensors = 0
    for case in dump.cases:
        expected = recompute(dump, case)
        written = {name for name in case["tensors"] if not name.startswith("in_") and name not in ("images", "labels")}
        assert written == set(expected), case["name"]
        for name, tensor in expected.items():
            assert_close(dump.get(case, name), tensor, f"{case['name']}: {name}")
            tensors += 1
    assert tensors > 2 * CASES


def test_composed_activations_equal_pytorch():
    values = torch.cat([torch.linspace(-8, 8, 1001), torch.tensor([-3.0, 0.0, 3.0, 6.0])]).double()
    for name, theirs in (("relu6", F.relu6), ("hard_sigmoid", F.hardsigmoid)):
        gradients = []
        for function in (ACTIVATIONS[name], theirs):
            x = values.clone().requires_grad_(True)
            y = function(x)
            y.sum().backward()
            gradients.append((y.detach(), x.grad))
        for ours, expected in zip(*gradients):
            assert (ours - expected).abs().max() <= 1e-8  # 1/6 in float32


def test_comparison_rejects_nan_and_small_errors():
    good = torch.linspace(1, 2, 10, dtype=torch.float64)
    for spoil in (float("nan"), 1 + 1e-8):
        bad = good.clone()
        bad[3] *= spoil
        with pytest.raises(pytest.fail.Exception):
            assert_close(bad, good, "spoilt")


def test_sgd_equals_pytorch(dump):
    assert len(dump.sgd) >= 6
    for entry in dump.sgd:
        start, grads, trace = (dump.get(entry, name) for name in ("start", "grads", "trace"))
        grads, trace = grads.reshape(-1, start.numel()), trace.reshape(-1, start.numel())
        assert grads.shape[0] == 10
        p = start.clone().requires_grad_(True)
        keys = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
        optimizer = torch.optim.SGD([p], **{key: entry[key] for key in keys})
        for step, grad in enumerate(grads):
            p.grad = grad.clone()
            optimizer.step()
            settings = {key: entry[key] for key in keys}
            assert_close(trace[step], p.detach(), f"SGD {settings}, step {step}")
