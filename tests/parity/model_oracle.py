"""PyTorch's side of the comparisons, and the driver of model_tool."""

import contextlib
import dataclasses
import pathlib
import subprocess
import tempfile

import h5py
import numpy as np
import timm
import torch
import torchvision
from torch import nn

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

TORCHVISION = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
CIFAR = [f"cifar_resnet{depth}" for depth in (8, 14, 20, 32, 44, 56)]
EFFICIENTNET = [f"efficientnet_b{i}" for i in range(5)]
LITE = [f"tf_efficientnet_lite{i}" for i in range(5)]
TIMM = [*EFFICIENTNET, *LITE, "mobilenetv3_large_100"]


class BasicBlock(nn.Module):
    """Block of the small-image ResNet; the shortcut is a 1 x 1 convolution where shapes differ."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + identity)


class CifarResNet(nn.Module):
    """He et al. 2016, section 4.2, with projection shortcuts and torchvision's names and initialisation."""

    def __init__(self, depth, classes):
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for stage, width in enumerate((16, 32, 64)):
            layers = []
            for block in range(blocks):
                layers.append(BasicBlock(inputs, width, 2 if stage > 0 and block == 0 else 1))
                inputs = width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean(dim=(2, 3)))


class ExactHardsigmoid(nn.Module):
    """torch.nn.Hardsigmoid's backward pass multiplies by a 1/6 rounded to float32, in float64 too: an error of 3e-8."""

    def forward(self, x):
        return nn.functional.relu6(x + 3) / 6


def with_exact_gradients(model):
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Hardsigmoid):
                setattr(module, name, ExactHardsigmoid())
    return model


def make_model(name, classes, seed=0):
    """The model in float64 with initial weights; float32 ones, so that every device starts from the same values."""
    torch.manual_seed(seed)
    if name.startswith("cifar_resnet"):
        return CifarResNet(int(name.removeprefix("cifar_resnet")), classes).double()
    if name in TIMM:  # dropout and drop path are off unless asked for
        return with_exact_gradients(timm.create_model(name, num_classes=classes)).double()
    return getattr(torchvision.models, name)(num_classes=classes).double()


def get_state(model):
    """state_dict without the counters that only PyTorch keeps, as float64 arrays."""
    return {k: v.detach().double().numpy().copy() for k, v in model.state_dict().items() if "num_batches" not in k}


def set_state(model, state):
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "num_batches" not in name:
                tensor.copy_(torch.from_numpy(np.asarray(state[name])))


def rounded(state):
    """The state that a float32 device can hold."""
    return {k: v.astype(np.float32).astype(np.float64) for k, v in state.items()}


def perturb_statistics(state, seed=1):
    """Running statistics away from (0, 1) and gammas away from 1, so that evaluation depends on all of them."""
    rng = np.random.default_rng(seed)
    out = dict(state)
    for name, value in state.items():
        if name.endswith("running_mean"):
            out[name] = rng.normal(0, 0.2, value.shape)
        elif name.endswith("running_var"):
            out[name] = rng.uniform(0.5, 2.0, value.shape)
    return rounded(out)


def make_images(samples, size, classes, seed=0):
    """Smooth random pixels: blobs of low frequency plus noise, as uint8 NHWC, with labels."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (samples, 3, 6, 6)))
    smooth = nn.functional.interpolate(coarse, (size, size), mode="bilinear").numpy()
    pixels = np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 255)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1).astype(np.uint8)), rng.integers(
        0, classes, samples
    ).astype(np.int32)


def normalise(images, dtype):
    x = torch.from_numpy(images).to(dtype).permute(0, 3, 1, 2) / 255
    mean = torch.from_numpy(MEAN).to(dtype).view(1, 3, 1, 1)
    std = torch.from_numpy(STD).to(dtype).view(1, 3, 1, 1)
    return ((x - mean) / std).contiguous()


@dataclasses.dataclass
class Job:
    """What model_tool reads from the root's attributes; the names are the same."""

    model: str
    device: str = "reference"
    mode: str = "train"
    classes: int = 10
    channels: int = 3
    height: int = 64
    width: int = 64
    batch: int = 8
    microbatches: int = 1
    steps: int = 1
    rows: int = 0
    threads: int = 2
    seed: int = 0
    write_grads: int = 1
    write_params: int = 1
    dropout: float = 0.0
    drop_path: float = 0.0
    bn_momentum: float = 0.0  # 0: the model's own
    smoothing: float = 0.1
    lr: float = 0.05
    momentum: float = 0.9
    dampening: float = 0.0
    weight_decay: float = 1e-4
    nesterov: int = 0

    @property
    def samples(self):
        return self.steps * self.microbatches * self.batch


class Tool:
    def __init__(self, program):
        self.program = program

    @contextlib.contextmanager
    def run(self, job, state=None, images=None, labels=None):
        with tempfile.TemporaryDirectory(prefix="lockstep-parity-") as folder:
            source, result = pathlib.Path(folder) / "in.h5", pathlib.Path(folder) / "out.h5"
            with h5py.File(source, "w") as f:
                for name, value in dataclasses.asdict(job).items():
                    f.attrs[name] = (value or job.batch) if name == "rows" else value
                f["mean"], f["std"] = MEAN, STD
                for name, value in (state or {}).items():
                    f[f"state/{name}"] = value
                if images is not None:
                    f["images"], f["labels"] = images, labels
            done = subprocess.run([self.program, source, result], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            with h5py.File(result, "r") as f:
                yield f


class Oracle:
    """PyTorch training one job; float64 unless told otherwise."""

    def __init__(self, job, state, dtype=torch.float64, memory_format=torch.contiguous_format):
        self.job, self.dtype, self.memory_format = job, dtype, memory_format
        self.model = make_model(job.model, job.classes)
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d) and job.bn_momentum > 0:
                module.momentum = job.bn_momentum
        set_state(self.model, state)
        self.model.to(dtype=dtype, memory_format=memory_format).train()
        self.loss = nn.CrossEntropyLoss(label_smoothing=job.smoothing, reduction="none")
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=job.lr,
            momentum=job.momentum,
            dampening=job.dampening,
            weight_decay=job.weight_decay,
            nesterov=bool(job.nesterov),
        )

    def gradients(self, images, labels):
        """Accumulates over the microbatches of one window; returns losses per sample and logits."""
        self.optimizer.zero_grad()
        losses, logits = [], []
        for first in range(0, len(images), self.job.batch):
            x = normalise(images[first : first + self.job.batch], self.dtype)
            y = self.model(x.contiguous(memory_format=self.memory_format))
            loss = self.loss(y, torch.from_numpy(labels[first : first + self.job.batch]).long())
            (loss.sum() / len(images)).backward()
            losses.append(loss.detach().double().numpy())
            logits.append(y.detach().double().numpy())
        return np.concatenate(losses), np.concatenate(logits)

    def forward(self, images):
        """Logits of one microbatch in training mode."""
        with torch.no_grad():
            return self.model.train()(normalise(images, self.dtype)).double().numpy()

    def grads(self):
        return {name: p.grad.detach().double().numpy().copy() for name, p in self.model.named_parameters()}

    def step(self):
        self.optimizer.step()

    def evaluate(self, images, labels):
        self.model.eval()
        with torch.no_grad():
            y = self.model(normalise(images, self.dtype))
            loss = self.loss(y, torch.from_numpy(labels).long())
        return loss.double().numpy(), y.double().numpy()


def relative(ours, theirs, zero=0.0):
    """Norm of the difference over the norm of theirs, or over `zero` where theirs is nothing but rounding beside it; NaN
    stays NaN."""
    difference = np.linalg.norm(np.ravel(ours) - np.ravel(theirs))
    norm = np.linalg.norm(np.ravel(theirs))
    return difference / max(zero if norm < 1e-12 * zero else norm, 1e-300)


def largest(tensors):
    """Norm of the largest. What a BatchNorm takes away again, the bias before it, has a gradient of zero in exact
    arithmetic: its rounding is measured by this."""
    return max(np.linalg.norm(np.ravel(value)) for value in tensors.values())


def assert_close(ours, theirs, tolerance, what):
    """Compares dictionaries of tensors in order and names the first that differs, and the worst."""
    assert set(ours) == set(theirs), f"{what}: names differ: {sorted(set(ours) ^ set(theirs))[:5]}"
    zero = largest(theirs)
    errors = {name: relative(ours[name], theirs[name], zero) for name in theirs}
    first = next((name for name in theirs if not errors[name] <= tolerance), None)
    worst = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
    assert first is None, (
        f"{what}: {first} is the first to differ, by {errors[first]:.2e} (tolerance {tolerance:.0e}); "
        f"the worst is {worst}, by {errors[worst]:.2e}"
    )
    return errors[worst]


def read_group(group):
    """All data sets below a group, by their name."""
    return {name: group[name][...] for name in group}
