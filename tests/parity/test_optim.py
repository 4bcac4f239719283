"""Schedules and optimizers against torch.optim and timm.optim in float64."""

import csv
import os
import subprocess

import numpy as np
import pytest
import timm.optim
import torch

BUILD = os.environ["LOCKSTEP_BUILD"]
PER_EPOCH, EPOCHS = 100, 10
STEPS = PER_EPOCH * EPOCHS
JOB = """
data: nothing.h5
model: cifar_resnet8
epochs: 10
optimizer: {lr: 0.1}
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    path = tmp_path_factory.mktemp("schedule") / "job.yaml"
    path.write_text(JOB)
    return path


def trace(job, **keys):
    """What `lockstep schedule` prints: columns by name."""
    words = [f"schedule.{key}={value}" for key, value in keys.items()]
    command = [f"{BUILD}/bin/lockstep", "schedule", job, *words, "--csv", "--updates-per-epoch", str(PER_EPOCH)]
    rows = list(csv.DictReader(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()))
    assert len(rows) == STEPS
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def with_warmup(after, warmup, factor):
    """A scheduler of an optimizer with torch's linear warm-up before it."""
    def make(optimizer):
        second = after(optimizer)
        if warmup == 0:
            return second
        first = torch.optim.lr_scheduler.LinearLR(optimizer, factor, 1.0, warmup)
        return torch.optim.lr_scheduler.SequentialLR(optimizer, [first, second], [warmup])
    return make


def torch_trace(make, ticks, updates_per_tick, kind=torch.optim.SGD, **settings):
    optimizer = kind([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=0.1, **settings)
    schedule = make(optimizer)
    rates, momenta = [], []
    for _ in range(ticks):
        group = optimizer.param_groups[0]
        rates += [group["lr"]] * updates_per_tick
        momenta += [group["betas"][0] if "betas" in group else group["momentum"]] * updates_per_tick
        optimizer.step()
        schedule.step()
    return np.array(rates), np.array(momenta)


def assert_close(ours, theirs):
    # torch multiplies the last rate step by step; the error of that grows with the steps.
    assert len(ours) == len(theirs)
    assert np.max(np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-6)) <= 1e-11


LR = torch.optim.lr_scheduler
# Lengths in ticks as torch counts them, from the length of an epoch in ticks and of the run without the warm-up.
SCHEDULES = {
    "step": (dict(kind="step", step_epochs=2, gamma=0.3), lambda o, e, n: LR.StepLR(o, 2 * e, 0.3)),
    "step fine": (dict(kind="step", step_epochs=1, gamma=0.97), lambda o, e, n: LR.StepLR(o, e, 0.97)),
    "multistep": (dict(kind="multistep", milestones="2, 3, 7", gamma=0.2),
                  lambda o, e, n: LR.MultiStepLR(o, [2 * e, 3 * e, 7 * e], 0.2)),
    "exponential": (dict(kind="exponential", gamma=0.5), lambda o, e, n: LR.ExponentialLR(o, 0.5 ** (1 / e))),
    "cosine": (dict(kind="cosine", eta_min=0.003), lambda o, e, n: LR.CosineAnnealingLR(o, n, 0.003)),
    "restarts": (dict(kind="cosine_restarts", restart_epochs=3, eta_min=0.01),
                 lambda o, e, n: LR.CosineAnnealingWarmRestarts(o, 3 * e, 1, 0.01)),
    "restarts growing": (dict(kind="cosine_restarts", restart_epochs=1, restart_factor=2),
                         lambda o, e, n: LR.CosineAnnealingWarmRestarts(o, e, 2)),
    "polynomial": (dict(kind="polynomial", power=0.9), lambda o, e, n: LR.PolynomialLR(o, n, 0.9)),
    "polynomial square": (dict(kind="polynomial", power=2), lambda o, e, n: LR.PolynomialLR(o, n, 2)),
    "constant": (dict(kind="constant"), lambda o, e, n: LR.ConstantLR(o, 1.0)),
    "one cycle": (dict(kind="one_cycle"), lambda o, e, n: LR.OneCycleLR(o, 0.1, n)),
    "one cycle straight": (dict(kind="one_cycle", pct_start=0.43, anneal="linear", div_factor=10, final_div_factor=50,
                                base_momentum=0.8, max_momentum=0.9),
                           lambda o, e, n: LR.OneCycleLR(o, 0.1, n, pct_start=0.43, anneal_strategy="linear", div_factor=10,
                                                         final_div_factor=50, base_momentum=0.8, max_momentum=0.9)),
    "one cycle of three": (dict(kind="one_cycle", three_phase="true", pct_start=0.25),
                           lambda o, e, n: LR.OneCycleLR(o, 0.1, n, three_phase=True, pct_start=0.25)),
    "one cycle, momentum still": (dict(kind="one_cycle", cycle_momentum="false"),
                                  lambda o, e, n: LR.OneCycleLR(o, 0.1, n, cycle_momentum=False)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("per", ["update", "epoch"])
@pytest.mark.parametrize("warmup, factor", [(0, 0.01), (1, 0.05), (3, 0.5)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(job, name, warmup, factor, per):
    """1,000 updates of every schedule, with and without warm-up, once an update and once an epoch (P8)."""
    keys, after = SCHEDULES[name]
    ours = trace(job, per=per, warmup_epochs=warmup, warmup_factor=factor, **keys)
    epoch = PER_EPOCH if per == "update" else 1
    ticks = EPOCHS * epoch
    length = ticks - warmup * epoch
    make = with_warmup(lambda o: after(o, epoch, length), warmup * epoch, factor)
    rates, momenta = torch_trace(make, ticks, STEPS // ticks, momentum=0.9)
    assert_close(ours["lr"], rates)
    assert ("momentum" in ours) == (len(set(momenta)) > 1)
    if "momentum" in ours:
        skip = warmup * PER_EPOCH  # SequentialLR leaves the momentum of its second scheduler alone until then
        assert_close(ours["momentum"][skip:], momenta[skip:])
        assert (ours["momentum"][:skip] == ours["momentum"][skip]).all()


@pytest.mark.filterwarnings("ignore")
def test_one_cycle_moves_beta1(job):
    rates, momenta = torch_trace(lambda o: LR.OneCycleLR(o, 0.1, STEPS), STEPS, 1, torch.optim.AdamW)
    ours = trace(job, kind="one_cycle")
    assert_close(ours["lr"], rates)
    assert_close(ours["momentum"], momenta)


@pytest.mark.parametrize("larger", [0, 1])
@pytest.mark.parametrize("absolute", [0, 1])
@pytest.mark.parametrize("factor, patience, threshold, cooldown, min_lr, eps",
                         [(0.1, 10, 1e-4, 0, 0, 1e-8), (0.5, 2, 0.05, 3, 0.004, 1e-8), (0.7, 0, 0, 1, 0, 0.01), (0.9, 4, 0.2, 0, 0.02, 0)])
def test_plateau(larger, absolute, factor, patience, threshold, cooldown, min_lr, eps):
    """1,000 evaluations whose figure wanders, with a NaN here and there (P9)."""
    rng = np.random.default_rng(1)
    figures = 2 + np.cumsum(rng.normal(size=STEPS)) * 0.02
    figures[rng.integers(0, STEPS, 20)] = np.nan
    words = [larger, factor, patience, threshold, absolute, cooldown, min_lr, eps, 0.1]
    out = subprocess.run([f"{BUILD}/tests/unit_optim_test_plateau", *map(repr, words)], check=True, capture_output=True,
                         text=True, input="\n".join(repr(float(v)) for v in figures)).stdout
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=0.1)
    schedule = LR.ReduceLROnPlateau(optimizer, "max" if larger else "min", factor, patience, threshold,
                                    "abs" if absolute else "rel", cooldown, min_lr, eps)
    wanted = []
    for figure in figures:
        schedule.step(figure)
        wanted.append(optimizer.param_groups[0]["lr"])
    assert [float(v) for v in out.split()] == wanted
    assert len(set(wanted)) > 1


KINDS = {"sgd": 0, "adam": 1, "adamw": 2, "rmsprop": 3, "rmsprop_tf": 4}
OPTIMIZERS = [
    ("sgd", {}),
    ("sgd", dict(weight_decay=0.1)),
    ("sgd", dict(momentum=0.9, weight_decay=5e-4, nesterov=1)),
    ("sgd", dict(momentum=0.8, dampening=0.3, weight_decay=0.01)),
    ("adam", dict(beta1=0.9, beta2=0.999, epsilon=1e-8)),
    ("adam", dict(beta1=0.8, beta2=0.99, epsilon=1e-6, weight_decay=0.1)),
    ("adamw", dict(beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.05)),
    ("adamw", dict(beta1=0.4, beta2=0.95, epsilon=1e-3, weight_decay=0.5)),
    ("rmsprop", dict(alpha=0.99, epsilon=1e-8)),
    ("rmsprop", dict(alpha=0.9, epsilon=1e-3, momentum=0.9, weight_decay=0.01)),
    ("rmsprop", dict(alpha=0.9, epsilon=1e-3, centered=1)),
    ("rmsprop", dict(alpha=0.95, epsilon=1e-3, centered=1, momentum=0.5, weight_decay=0.1)),
    ("rmsprop_tf", dict(alpha=0.9, epsilon=1e-10)),
    ("rmsprop_tf", dict(alpha=0.9, epsilon=1e-3, momentum=0.9, weight_decay=0.01)),
    ("rmsprop_tf", dict(alpha=0.9, epsilon=1e-3, momentum=0.9, centered=1)),
    ("rmsprop_eps", dict(alpha=0.9, epsilon=1e-2, momentum=0.9)),
]


def torch_optimizer(kind, parameter, lr, s):
    words = dict(lr=lr, weight_decay=s.get("weight_decay", 0))
    if kind == "sgd":
        words.update(momentum=s.get("momentum", 0), dampening=s.get("dampening", 0), nesterov=bool(s.get("nesterov")))
        return torch.optim.SGD([parameter], **words)
    if kind.startswith("adam"):
        make = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
        return make([parameter], betas=(s["beta1"], s["beta2"]), eps=s["epsilon"], **words)
    words.update(alpha=s["alpha"], eps=s["epsilon"], momentum=s.get("momentum", 0), centered=bool(s.get("centered")))
    if kind == "rmsprop_tf":
        return timm.optim.RMSpropTF([parameter], **words)
    return torch.optim.RMSprop([parameter], **words)


@pytest.mark.parametrize("clip", ["none", "norm", "value"])
@pytest.mark.parametrize("device, tolerance", [("reference", 1e-13), ("cpu", 1e-6)])
@pytest.mark.parametrize("kind, settings", OPTIMIZERS)
def test_ten_steps(kind, settings, device, tolerance, clip):
    """Ten steps on given gradients, the float32 device against float64 too (P8)."""
    rng = np.random.default_rng(3)
    count, steps, lr = 67, 10, 0.02
    # Numbers that float32 holds, well away from 0, so that a relative error means something.
    start = np.float32(rng.uniform(1, 2, count) * rng.choice([-1, 1], count)).astype(float)
    grads = np.float32(rng.normal(size=(steps, count))).astype(float)
    square_root_outside = kind == "rmsprop_eps"
    given = dict(settings, kind=KINDS["rmsprop" if square_root_outside else kind], steps=steps, lr=lr)
    if clip == "value":
        given["clip_value"] = 0.5
    if clip == "norm":
        given["grad_scale"] = 0.40625  # stands for the factor, which float32 holds
    if square_root_outside:
        given["epsilon_inside_sqrt"] = 1
    out = subprocess.run(
        [f"{BUILD}/tests/unit_optim_test_optimizer", device, *(f"{k}={v!r}" for k, v in given.items())],
        input=f"{count}\n" + " ".join(repr(float(v)) for v in np.concatenate([start, grads.ravel()])),
        check=True, capture_output=True, text=True,
    ).stdout
    ours = np.array(out.split(), dtype=float).reshape(steps, count)

    parameter = torch.nn.Parameter(torch.tensor(start))
    if square_root_outside:  # timm's epsilon with torch's start and momentum: no package has it, so by hand
        square, velocity = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    else:
        optimizer = torch_optimizer(kind, parameter, lr, settings)
    for step in range(steps):
        grad = torch.tensor(grads[step])
        parameter.grad = grad * 0.40625 if clip == "norm" else grad
        if clip == "value":
            torch.nn.utils.clip_grad_value_([parameter], 0.5)
        if square_root_outside:
            g = parameter.grad
            square = settings["alpha"] * square + (1 - settings["alpha"]) * g * g
            velocity = settings["momentum"] * velocity + g / torch.sqrt(square + settings["epsilon"])
            parameter.data -= lr * velocity
        else:
            optimizer.step()
        wanted = parameter.detach().numpy()
        error = np.max(np.abs(ours[step] - wanted) / np.maximum(np.abs(wanted), 0.5))
        assert error <= tolerance, step
