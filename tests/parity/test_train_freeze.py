"""`lockstep train` with freeze.names against PyTorch with requires_grad_(False), and with freeze.batchnorm against BatchNorm in
eval() and timm's FrozenBatchNorm2d: ten updates, of two microbatches each and shorter at the end of an epoch, on the reference
device in float64."""

import fnmatch

import h5py
import numpy as np
import pytest
import torch
from model_oracle import assert_close, relative
from test_train_torch import SEED, TOLERANCE, Net, epoch_order, lockstep, packed, read_split, train
from timm.utils import freeze
from torch import nn
from torch.nn import functional as F

__all__ = ["packed"]  # the fixture
BATCH, MICROBATCH, EPOCHS, UPDATES = 16, 8, 2, 10
SETTINGS = [f"batch={BATCH}", f"microbatch={MICROBATCH}", f"epochs={EPOCHS}", "schedule.kind=constant", "schedule.warmup_epochs=0"]
BACKBONE = "conv1, bn1, layer*"

# name: (freeze.names, freeze.batchnorm, further overrides)
CASES = {
    "stem": ("conv1, bn1, layer1", False, []),
    "all but the classifier": (BACKBONE, True, []),
    "middle": ("layer2, layer3.0.conv1", True, ["optimizer.clip_norm=0.5"]),
    "every BatchNorm": ("*bn*, *downsample.1*", True, []),
    "parts of layers": ("fc.bias, layer3.0.bn1.weight, bn1.bias", False, ["optimizer.clip_norm=0.5"]),
    "adamw": ("conv1, bn1, layer1, layer2.0.bn2", True, ["optimizer.kind=adamw", "optimizer.lr=0.01", "optimizer.weight_decay=0.1"]),
}


def is_frozen(patterns, name):
    """A pattern is on the whole name or on its first parts."""
    parts = name.split(".")
    prefixes = [".".join(parts[:i]) for i in range(1, len(parts) + 1)]
    return any(fnmatch.fnmatchcase(prefix, p.strip()) for p in patterns.split(",") for prefix in prefixes)


def model_of(state):
    model = Net().double()
    names = model.state_dict()
    model.load_state_dict({name: torch.from_numpy(state[name]) if name in state else names[name] for name in names})
    model.train()
    return model


def freeze_by_hand(model, patterns, batchnorm):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not is_frozen(patterns, name))
    for module in model.modules():
        if batchnorm and isinstance(module, nn.BatchNorm2d) and not any(p.requires_grad for p in module.parameters()):
            module.eval()


def optimizer_of(model, overrides):
    trained = [p for p in model.parameters() if p.requires_grad]
    if "optimizer.kind=adamw" in overrides:
        return torch.optim.AdamW(trained, lr=0.01, weight_decay=0.1)
    return torch.optim.SGD(trained, lr=0.05, momentum=0.9, weight_decay=0.001)


def run_torch(model, packed, overrides):
    optimizer = optimizer_of(model, overrides)
    x, y = read_split(packed, 0)
    losses = []
    for epoch in range(EPOCHS):
        order = epoch_order(len(x), SEED, epoch)
        for start in range(0, len(order), BATCH):
            window = order[start : start + BATCH]
            optimizer.zero_grad()
            total = 0
            for first in range(0, len(window), MICROBATCH):
                rows = window[first : first + MICROBATCH]
                loss = F.cross_entropy(model(x[rows]), y[rows], label_smoothing=0.1, reduction="sum") / len(window)
                loss.backward()
                total += loss.item()
            if "optimizer.clip_norm=0.5" in overrides:
                norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                assert norm > 0.5, "the limit matters"
            optimizer.step()
            losses.append(total)
    return losses


@pytest.fixture(scope="module")
def start(build, packed, tmp_path_factory):
    """Weights and running statistics that have seen the data: one epoch of all parameters, and the file that holds them."""
    folder = tmp_path_factory.mktemp("start")
    tensors, _, _ = train(build, packed, folder, "epochs=1", "schedule.kind=constant", "schedule.warmup_epochs=0")
    rounded = {name: value.astype(np.float32).astype(np.float64) for name, value in tensors.items()}  # as `init` reads them
    return folder / "run" / "checkpoints" / "last.h5", rounded


def compare(build, packed, start, folder, model, patterns, batchnorm, overrides):
    path, before = start
    tensors, state, lines = train(build, packed, folder, f"init={path}", *SETTINGS, f"freeze.names={patterns}",
                                  f"freeze.batchnorm={str(batchnorm).lower()}", *overrides)
    losses = run_torch(model, packed, overrides)
    seen = [line["loss"] for line in lines if line["type"] == "update"]
    assert len(seen) == len(losses) == UPDATES
    assert relative(seen, losses) <= TOLERANCE, f"losses {seen}, PyTorch's {losses}"
    expected = {k: v.double().numpy() for k, v in model.state_dict().items() if "num_batches" not in k}
    assert_close(tensors, expected, TOLERANCE, "parameters and running statistics")
    frozen = [name for name, _ in Net().named_parameters() if is_frozen(patterns, name)]
    assert frozen
    for name in frozen:
        assert np.array_equal(tensors[name], before[name]), f"{name} is frozen"
        for slab in state.values():
            assert not slab[name].any(), f"{name} has an optimizer state"
    return tensors, before


@pytest.mark.parametrize("case", CASES)
def test_frozen_layers_follow_torch(case, build, packed, start, tmp_path):
    model = model_of(start[1])
    freeze_by_hand(model, *CASES[case][:2])
    tensors, before = compare(build, packed, start, tmp_path, model, *CASES[case])
    fixed = [name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and not m.training]
    assert bool(fixed) == CASES[case][1]
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            same = np.array_equal(tensors[f"{name}.running_mean"], before[f"{name}.running_mean"])
            assert same == (name in fixed), f"running statistics of {name}"


def test_timms_frozen_batchnorm(build, packed, start, tmp_path):
    model = model_of(start[1])
    freeze(model, ["conv1", "bn1", "layer1"], include_bn_running_stats=True)
    assert type(model.bn1).__name__ == "FrozenBatchNorm2d"
    compare(build, packed, start, tmp_path, model, "conv1, bn1, layer1", True, ["optimizer.clip_norm=0.5"])


def test_the_average_of_a_frozen_layer_is_the_layer(build, packed, start, tmp_path):
    """EMA, evaluation and export go on with what was frozen, bit for bit; ranks do not matter (P5)."""
    runs = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        tensors, state, lines = train(build, packed, folder, f"init={start[0]}", *SETTINGS, "freeze.names=" + BACKBONE,
                                      "freeze.batchnorm=true", "ema.decay=0.9", "optimizer.layer_decay=0.5", ranks=ranks)
        runs.append((tensors, state["unaveraged"], [line["weights"] for line in lines if line["type"] == "epoch"]))
    (average, weights, hashes), (_, _, others) = runs
    assert hashes == others
    for name, value in start[1].items():
        if not name.startswith("fc"):
            assert np.array_equal(average[name], value) and np.array_equal(weights[name], value), name
    assert not np.array_equal(average["fc.weight"], weights["fc.weight"])
    lockstep(build, "verify", tmp_path / "1" / "run" / "checkpoints" / "last.h5")


def test_fixed_statistics_are_not_counted_as_tracked(build, packed, start, tmp_path):
    train(build, packed, tmp_path, f"init={start[0]}", *SETTINGS, "freeze.names=bn1", "freeze.batchnorm=true", "max_updates=1")
    with h5py.File(tmp_path / "run" / "checkpoints" / "last.h5") as file:
        assert file["model/bn1.num_batches_tracked"][()] == 0
        assert file["model/layer1.0.bn1.num_batches_tracked"][()] == 2
