"""Job files as Python reads them: `base` resolved, KEY=VALUE applied, and every key either known to the PyTorch script or refused."""

import copy
import pathlib

import yaml

# What lockstep takes for a key that a job does not give. Keys that are not here must not be in a recipe.
DEFAULTS = {
    "data": None, "model": None, "init": None, "epochs": 10, "batch": 128, "microbatch": 0, "seed": 1, "device": "cpu",
    "network": {"dropout": -1, "drop_path": -1},
    "input": {"size": 224, "resize": "short_side", "resize_size": 0, "interpolation": "bilinear",
              "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "augment": {"crop": "random_resized", "scale": [0.08, 1], "ratio": [0.75, 4 / 3], "hflip": 0.5},
    "loss": {"smoothing": 0},
    "optimizer": {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0001, "decay_norm_and_bias": True},
    "schedule": {"kind": "step", "step_epochs": 30, "gamma": 0.1, "warmup_epochs": 0, "warmup_factor": 0.01, "eta_min": 0},
}


def merge(onto, changes, where):
    for key, value in changes.items():
        if key not in onto:
            raise SystemExit(f"{where}: the PyTorch script does not know the key '{key}'")
        if isinstance(onto[key], dict):
            merge(onto[key], value, where)
        else:
            onto[key] = value


def read_file(path, job):
    text = yaml.safe_load(pathlib.Path(path).read_text())
    base = text.pop("base", None)
    if base is not None:
        read_file(pathlib.Path(path).parent / base, job)
    merge(job, text, path)


def read(path, overrides=()):
    """The whole job as nested dictionaries. overrides: "optimizer.lr=0.1"."""
    job = copy.deepcopy(DEFAULTS)
    read_file(path, job)
    for override in overrides:
        key, value = override.split("=", 1)
        nested = yaml.safe_load(value)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        merge(job, nested, override)
    if job["input"]["resize"] != "short_side" or job["augment"]["crop"] != "random_resized":
        raise SystemExit(f"{path}: the PyTorch script knows the resize short_side and the crop random_resized only")
    if job["schedule"]["kind"] not in ("constant", "step", "cosine"):
        raise SystemExit(f"{path}: the PyTorch script knows the schedules constant, step and cosine only")
    if job["microbatch"] == 0:
        job["microbatch"] = job["batch"] // 4 if job["batch"] % 4 == 0 else job["batch"]
    if job["input"]["resize_size"] == 0:
        job["input"]["resize_size"] = int(job["input"]["size"] * 256 / 224 + 0.5)
    return job
