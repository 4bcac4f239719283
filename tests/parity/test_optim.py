"""Schedules and SGD against torch.optim, both in float64."""

import os
import subprocess

import numpy as np
import pytest
import torch

BUILD = os.environ["LOCKSTEP_BUILD"]
STEPS = 1000


def rates(kind, lr, step=1, gamma=0.1, warmup=0, factor=0.01, total=1, eta_min=0.0, count=STEPS):
    words = [kind, lr, step, gamma, warmup, factor, total, eta_min, count]
    command = [f"{BUILD}/tests/unit_optim_test_schedule", *(repr(w) for w in words)]
    return np.array(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split(), dtype=float)


def torch_rates(make, lr, count=STEPS):
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=lr)
    schedule = make(optimizer)
    values = []
    for _ in range(count):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(values)


def assert_close(ours, theirs):
    # torch multiplies the last rate step by step; the error of that grows with the steps.
    assert len(ours) == len(theirs)
    assert np.max(np.abs(ours - theirs) / np.abs(theirs)) <= 1e-11


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("step, gamma", [(30, 0.1), (7, 0.97), (1, 0.999), (2000, 0.5)])
@pytest.mark.parametrize("warmup, factor", [(0, 0.01), (100, 0.01), (1, 0.5), (13, 1.0)])
def test_step_with_warmup(step, gamma, warmup, factor):  # P8
    lr = 0.1

    def make(optimizer):
        after = torch.optim.lr_scheduler.StepLR(optimizer, step, gamma)
        if warmup == 0:
            return after
        first = torch.optim.lr_scheduler.LinearLR(optimizer, factor, 1.0, warmup)
        return torch.optim.lr_scheduler.SequentialLR(optimizer, [first, after], [warmup])

    assert_close(rates(1, lr, step, gamma, warmup, factor), torch_rates(make, lr))


@pytest.mark.parametrize("eta_min", [0.001, 0.05])
def test_cosine(eta_min):
    def make(optimizer):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min)

    assert_close(rates(2, 0.1, total=STEPS, eta_min=eta_min), torch_rates(make, 0.1))


@pytest.mark.parametrize(
    "momentum, dampening, weight_decay, nesterov",
    [(0, 0, 0, 0), (0, 0, 0.1, 0), (0.9, 0, 0, 0), (0.9, 0, 5e-4, 1), (0.8, 0.3, 0.01, 0)],
)
def test_sgd(momentum, dampening, weight_decay, nesterov):
    rng = np.random.default_rng(3)
    count, steps, lr = 37, 20, 0.05
    start, grads = rng.normal(size=count), rng.normal(size=(steps, count))
    words = [momentum, dampening, weight_decay, nesterov, steps, lr]
    text = f"{count}\n" + " ".join(repr(float(v)) for v in np.concatenate([start, grads.ravel()]))
    out = subprocess.run(
        [f"{BUILD}/tests/unit_optim_test_optimizer", *(repr(w) for w in words)],
        input=text, check=True, capture_output=True, text=True,
    ).stdout
    ours = np.array(out.split(), dtype=float).reshape(steps, count)

    parameter = torch.nn.Parameter(torch.tensor(start))
    optimizer = torch.optim.SGD(
        [parameter], lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=bool(nesterov)
    )
    for step in range(steps):
        parameter.grad = torch.tensor(grads[step])
        optimizer.step()
        error = np.max(np.abs(ours[step] - parameter.detach().numpy()))
        assert error <= 1e-14 * (step + 1), step
