"""`lockstep train` from file to checkpoint against a PyTorch loop written as its users write one: the order of the epoch,
accumulation over microbatches with the loss divided by the whole window (P5), the shorter last window, the schedule (P8),
momentum and BatchNorm's running statistics (P23)."""

import json
import os
import struct
import subprocess

import h5py
import numpy as np
import pytest
import torch
from model_oracle import BasicBlock, assert_close, relative
from timm.optim import RMSpropTF
from timm.utils import ModelEmaV3
from torch import nn

SIDE, CLASSES, TRAIN, VALIDATION = 16, 5, 77, 20
MEAN, STD = 0.3, 0.25
SEED = 11
TOLERANCE = 1e-9
JOB = f"""
model: cifar_resnet8
device: reference
epochs: 2
batch: 32
microbatch: 8
seed: {SEED}
input: {{size: {SIDE}, color: grey, resize: none, mean: [{MEAN}], std: [{STD}]}}
augment: {{crop: center, hflip: 0}}
loss: {{smoothing: 0.1}}
optimizer: {{lr: 0.05, momentum: 0.9, weight_decay: 0.001}}
schedule: {{kind: step, step_epochs: 1, gamma: 0.5, warmup_epochs: 0.7, warmup_factor: 0.2}}
evaluate: {{batch: 7}}
"""


def philox(key, counter, rounds=10):
    """Philox4x32 (Salmon et al. 2011, section 3.3)."""
    mask = 0xFFFFFFFF
    c, k = list(counter), list(key)
    for _ in range(rounds):
        high0, low0 = divmod(0xD2511F53 * c[0], 1 << 32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 1 << 32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c


def epoch_order(count, seed, epoch, purpose=2):
    """Fisher-Yates from the end; draw i is a function of (seed, epoch, i) alone."""
    mixed = (seed ^ purpose * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    order = list(range(count))
    for i in range(count - 1, 0, -1):
        words = philox((mixed & 0xFFFFFFFF, mixed >> 32), (i, 0, 0, epoch))
        j = ((words[0] << 32 | words[1]) * (i + 1)) >> 64
        order[i], order[j] = order[j], order[i]
    return order


class Net(nn.Module):
    """The small-image ResNet of depth 8 for grey images."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(BasicBlock(16, 16, 1))
        self.layer2 = nn.Sequential(BasicBlock(16, 32, 2))
        self.layer3 = nn.Sequential(BasicBlock(32, 64, 2))
        self.fc = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3)))


def lockstep(build, *words, ranks=1):
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    launch = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run([*launch, build / "bin" / "lockstep", *map(str, words)], capture_output=True, text=True,
                          env=environment, timeout=300)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def packed(build, tmp_path_factory):
    """Images whose class shows (a bright square somewhere), as a packed data set."""
    folder = tmp_path_factory.mktemp("train-torch")
    rng = np.random.default_rng(5)
    for name, count in (("train", TRAIN + VALIDATION), ("t10k", 10)):
        labels = rng.integers(0, CLASSES, count).astype(np.uint8)
        pixels = rng.integers(0, 120, (count, SIDE, SIDE)).astype(np.uint8)
        for image, label in zip(pixels, labels):
            image[3 * label : 3 * label + 4, 2:13] += 100
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, SIDE, SIDE) + pixels.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    lockstep(build, "pack", folder, folder / "data.h5", "--val", VALIDATION)
    return folder / "data.h5"


def read_split(packed, split):
    """Pixels normalised to N x 1 x H x W float64, and labels, in the order of the file."""
    with h5py.File(packed) as file:
        index = {name: file["index"][name][:] for name in ("split", "segment", "offset", "length", "label")}
        rows = np.flatnonzero(index["split"] == split)
        data = {s: file[f"data/{s:05}"][:] for s in set(index["segment"])}
    images = [data[index["segment"][r]][index["offset"][r] :][: index["length"][r]].reshape(1, SIDE, SIDE) for r in rows]
    mean, std = np.float64(np.float32(MEAN)), np.float64(np.float32(STD))
    x = (np.stack(images).astype(np.float64) / 255 - mean) / std
    return torch.from_numpy(x), torch.from_numpy(index["label"][rows].astype(np.int64))


def train(build, packed, folder, *overrides, ranks=1):
    job = folder / "job.yaml"
    job.write_text(f"data: {packed}\n{JOB}")
    lockstep(build, "train", job, *overrides, "--run", folder / "run", ranks=ranks)
    with h5py.File(folder / "run" / "checkpoints" / "last.h5") as file:
        def group(name):
            return {key: value[()] for key, value in file[name].items() if "num_batches" not in key}

        tensors = group("model")
        state = {name: group(f"optimizer/{name}") for name in file["optimizer"]} if "optimizer" in file else {}
        if "unaveraged" in file:
            state["unaveraged"] = group("unaveraged")
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return tensors, state, lines


def initial_state(build, packed, folder):
    """What the same seed starts from: one update at a learning rate of 0 leaves the parameters alone."""
    tensors, _, _ = train(build, packed, folder, "optimizer.lr=0", "max_updates=1")
    return {name: value for name, value in tensors.items() if "running" not in name and "num_batches" not in name}


def rate(update, updates_per_epoch):
    """Linear warm-up, then StepLR counted from its end."""
    warmup = int(0.7 * updates_per_epoch + 0.5)
    if update < warmup:
        return 0.05 * (0.2 + 0.8 * update / warmup)
    return 0.05 * 0.5 ** ((update - warmup) // updates_per_epoch)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=0.001)


def torch_run(state, packed, make=sgd, rate=rate, clip=None, ema=None, prepare=None):
    """Two epochs: 32 = 4 x 8, a last window of 13 = 8 + 5. The losses of the windows, of the evaluations, and the
    gradient's norm before clipping. prepare: called on the model each time after model.train()."""
    torch.manual_seed(0)
    model = Net().double()
    names = model.state_dict()
    model.load_state_dict({name: torch.from_numpy(state[name]) if name in state else names[name] for name in names})
    prepare = prepare or (lambda model: None)
    prepare(model)
    optimizer = make(model)
    average = ModelEmaV3(model, **ema) if ema else None
    x, y = read_split(packed, 0)
    window_losses, epoch_losses, norms, update = [], [], [], 0
    for epoch in range(2):
        order = epoch_order(len(x), SEED, epoch)
        model.train()
        prepare(model)
        starts = range(0, len(order), 32)
        for start in starts:
            window = order[start : start + 32]
            for group in optimizer.param_groups:
                group["lr"] = rate(update, len(starts)) * group.get("lr_scale", 1)
            optimizer.zero_grad()
            total = 0.0
            for first in range(0, len(window), 8):
                rows = window[first : first + 8]
                loss = nn.functional.cross_entropy(model(x[rows]), y[rows], label_smoothing=0.1, reduction="sum")
                (loss / len(window)).backward()
                total += loss.item()
            norms.append(nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]).item())
            if clip and clip[0] == "norm":
                nn.utils.clip_grad_norm_(model.parameters(), clip[1])
            elif clip:
                nn.utils.clip_grad_value_(model.parameters(), clip[1])
            optimizer.step()
            window_losses.append(total / len(window))
            update += 1
            if average:
                average.update(model, step=update)
        evaluated = average.module if average else model
        evaluated.eval()
        vx, vy = read_split(packed, 1)
        with torch.no_grad():
            epoch_losses.append(nn.functional.cross_entropy(evaluated(vx), vy, label_smoothing=0.1).item())
    return model, optimizer, average, {"losses": window_losses, "epochs": epoch_losses, "norms": norms}


def state_of(model):
    return {k: v.double().numpy() for k, v in model.state_dict().items() if "num_batches" not in k}


@pytest.fixture(scope="module")
def start(build, packed, tmp_path_factory):
    return initial_state(build, packed, tmp_path_factory.mktemp("start"))


def assert_follows(lines, trace, tolerance):
    updates = [line for line in lines if line["type"] == "update"]
    assert len(updates) == len(trace["losses"]) == 6
    for update, loss, norm in zip(updates, trace["losses"], trace["norms"]):
        assert update["loss"] == pytest.approx(loss, rel=tolerance), f"loss of update {update['update']}"
        assert update["gradient_norm"] == pytest.approx(norm, rel=tolerance), f"norm of update {update['update']}"
    epochs = [line for line in lines if line["type"] == "epoch"]
    assert relative([line["validation"]["loss"] for line in epochs], trace["epochs"]) <= tolerance


@pytest.mark.parametrize("ranks", [1, 2])
def test_training_follows_torch(build, packed, start, tmp_path, ranks):
    model, optimizer, _, trace = torch_run(start, packed)
    tensors, state, lines = train(build, packed, tmp_path, ranks=ranks)
    assert_follows(lines, trace, TOLERANCE)
    assert_close(tensors, state_of(model), TOLERANCE, "parameters and running statistics")
    buffers = {name: optimizer.state[p]["momentum_buffer"].numpy() for name, p in model.named_parameters()}
    assert_close(state["momentum"], buffers, TOLERANCE, "momentum")
    epochs = [line for line in lines if line["type"] == "epoch"]
    assert all(0 < line["peak_memory_mib"] < 200 for line in epochs), "not that of this large process, which started it"


def warm_cosine(update, updates_per_epoch, lr=0.01):
    warmup = int(0.7 * updates_per_epoch + 0.5)
    if update < warmup:
        return lr * (0.2 + 0.8 * update / warmup)
    return lr * (1 + np.cos(np.pi * (update - warmup) / (2 * updates_per_epoch - warmup))) / 2


BLOCKS = ("conv1 bn1", "layer1.0", "layer2.0", "layer3.0", "fc")


def layered(model):
    """Half the rate from block to block downwards, no decay for BatchNorm, biases and the first convolution."""
    groups = []
    for name, parameter in model.named_parameters():
        depth = next(i for i, block in enumerate(BLOCKS) if name.startswith(tuple(block.split())))
        decays = parameter.ndim > 1 and name != "conv1.weight"
        groups.append({"params": [parameter], "lr_scale": 0.5 ** (4 - depth), "weight_decay": 0.01 if decays else 0})
    return RMSpropTF(groups, lr=1.0, alpha=0.9, eps=1e-3, momentum=0.9)


COSINE = ["schedule.kind=cosine", "optimizer.lr=0.01"]
RECIPES = {
    # What people get wrong: accumulation, then clipping by the norm of the whole, then AdamW, in a warm-up.
    "adamw": (COSINE + ["optimizer.kind=adamw", "optimizer.weight_decay=0.05", "optimizer.clip_norm=0.5"],
              dict(make=lambda m: torch.optim.AdamW(m.parameters(), lr=1.0, weight_decay=0.05), rate=warm_cosine,
                   clip=("norm", 0.5))),
    "adamw with a moving average": (
        COSINE + ["optimizer.kind=adamw", "optimizer.weight_decay=0.05", "optimizer.clip_norm=0.5", "ema.decay=0.7",
                  "ema.warmup=true"],
        dict(make=lambda m: torch.optim.AdamW(m.parameters(), lr=1.0, weight_decay=0.05), rate=warm_cosine,
             clip=("norm", 0.5), ema=dict(decay=0.7, use_warmup=True))),
    "sgd with a moving average": (["ema.decay=0.9"], dict(ema=dict(decay=0.9))),
    "rmsprop in layers, limited": (
        COSINE + ["optimizer.kind=rmsprop_tf", "optimizer.alpha=0.9", "optimizer.epsilon=0.001",
                  "optimizer.weight_decay=0.01", "optimizer.decay_norm_and_bias=false", "optimizer.no_decay=conv1",
                  "optimizer.clip_value=0.01", "optimizer.layer_decay=0.5"],
        dict(make=layered, rate=warm_cosine, clip=("value", 0.01))),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_follow_torch(build, packed, start, tmp_path, name):
    """Whole runs of two epochs; the norm is logged before clipping (P8), evaluation is that of the average."""
    overrides, recipe = RECIPES[name]
    model, optimizer, average, trace = torch_run(start, packed, **recipe)
    tensors, state, lines = train(build, packed, tmp_path, *overrides)
    tolerance = 1e-8  # a quotient of averages magnifies what rounding leaves of a gradient that is nearly zero
    assert_follows(lines, trace, tolerance)
    assert_close(tensors, state_of(average.module if average else model), tolerance, "what is evaluated")
    if average:
        assert_close(state["unaveraged"], state_of(model), tolerance, "what training goes on with")
        assert all(line["validation"]["ema"] for line in lines if line["type"] == "epoch")
    if recipe.get("clip", ("",))[0] == "norm":
        assert sum(norm > 0.5 for norm in trace["norms"]) >= 3, "clipping must have something to do"
    names = {"AdamW": ("exp_avg", "exp_avg_sq"), "RMSpropTF": ("square_avg",), "SGD": ()}[type(optimizer).__name__]
    for key in names:
        buffers = {name: optimizer.state[p][key].numpy() for name, p in model.named_parameters()}
        assert_close(state[key], buffers, tolerance, key)
