"""The recipe of a job file in PyTorch and torchvision, as people write it: the rival of the whole runs.

    python torch_recipe.py JOB.yaml PHOTOS OUT [KEY=VALUE ...]

PHOTOS holds train/, validation/ and test/ with one folder a class. Goes on from OUT/state.pt where there is one; prints a line an
epoch; ends with OUT/result.json: macro-F1 on the test split of the epoch with the best validation macro-F1, and its predictions.
"""

import json
import math
import os
import pathlib
import random
import sys

import numpy as np
import torch
import torchvision
from PIL import Image, ImageOps
from sklearn.metrics import f1_score
from torch import nn
from torchvision import transforms

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import lite_names
import recipe


def load_image(path):
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def make_data(job, photos):
    size, augment = job["input"]["size"], job["augment"]
    how = transforms.InterpolationMode(job["input"]["interpolation"])
    tail = [transforms.ToTensor(), transforms.Normalize(job["input"]["mean"], job["input"]["std"])]
    train = transforms.Compose([
        transforms.RandomResizedCrop(size, augment["scale"], augment["ratio"], how),
        transforms.RandomHorizontalFlip(augment["hflip"]), *tail])
    evaluate = transforms.Compose([
        transforms.Resize(job["input"]["resize_size"], how), transforms.CenterCrop(size), *tail])
    return {split: torchvision.datasets.ImageFolder(pathlib.Path(photos) / split, train if split == "train" else evaluate,
                                                    loader=load_image)
            for split in ("train", "validation", "test")}


def make_loader(job, data, training, generator=None):
    workers = 2 if job["device"] == "cpu" else min(8, len(os.sched_getaffinity(0)))
    return torch.utils.data.DataLoader(data, job["microbatch"], shuffle=training, num_workers=workers, generator=generator,
                                       persistent_workers=True, prefetch_factor=4)


def make_model(job, classes):
    rates, name = job["network"], job["model"]
    if name.startswith("resnet"):
        model = getattr(torchvision.models, name)(num_classes=classes)
    else:
        import timm

        model = timm.create_model(name, num_classes=classes, drop_rate=max(rates["dropout"], 0),
                                  drop_path_rate=max(rates["drop_path"], 0))
    if job["init"]:
        state = torch.load(job["init"], weights_only=True)
        state = lite_names.to_timm(state, model) if "_conv_stem.weight" in state else state
        own = model.state_dict()
        missing = model.load_state_dict({k: v for k, v in state.items() if v.shape == own[k].shape}, strict=False)
        assert not missing.unexpected_keys and len(missing.missing_keys) <= 2, missing
    return model.to(job["device"], memory_format=torch.channels_last)


def make_optimizer(job, model):
    config = job["optimizer"]
    plain = [p for p in model.parameters() if p.ndim == 1 and not config["decay_norm_and_bias"]]
    others = [p for p in model.parameters() if p.ndim > 1 or config["decay_norm_and_bias"]]
    groups = [{"params": others, "weight_decay": config["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.SGD([g for g in groups if g["params"]], config["lr"], config["momentum"], nesterov=config["nesterov"])


def make_schedule(job, optimizer, per_epoch):
    config = job["schedule"]
    warmup, total = int(config["warmup_epochs"] * per_epoch + 0.5), job["epochs"] * per_epoch
    if config["kind"] == "cosine":
        main = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(total - warmup, 1), config["eta_min"])
    elif config["kind"] == "step":
        main = torch.optim.lr_scheduler.StepLR(optimizer, max(int(config["step_epochs"] * per_epoch + 0.5), 1), config["gamma"])
    else:
        main = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    if warmup == 0:
        return main
    first = torch.optim.lr_scheduler.LinearLR(optimizer, config["warmup_factor"], total_iters=warmup)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [first, main], [warmup])


def train_epoch(job, model, loader, samples, optimizer, schedule):
    model.train()
    leaves, done, total = job["batch"] // job["microbatch"], 0, 0.0
    for i, (images, labels) in enumerate(loader):
        window = min(job["batch"], samples - i // leaves * job["batch"])
        labels = labels.to(job["device"])
        logits = model(images.to(job["device"], memory_format=torch.channels_last))
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=job["loss"]["smoothing"]) / window
        loss.backward()
        done += len(labels)
        total += loss.item() * window
        if (i + 1) % leaves == 0 or done == samples:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
    return total / samples


@torch.no_grad()
def predict(job, model, loader):
    model.eval()
    labels, predictions = [], []
    for images, wanted in loader:
        predictions += model(images.to(job["device"], memory_format=torch.channels_last)).argmax(1).tolist()
        labels += wanted.tolist()
    return labels, predictions


def macro_f1(labels, predictions):
    return float(f1_score(labels, predictions, average="macro", zero_division=0))


def save(path, **state):
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def main(job, photos, out):
    torch.set_num_threads(2)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(job["seed"])
    random.seed(job["seed"])
    out.mkdir(parents=True, exist_ok=True)
    data = make_data(job, photos)
    generator = torch.Generator().manual_seed(job["seed"])
    train = make_loader(job, data["train"], True, generator)
    validation, test = make_loader(job, data["validation"], False), make_loader(job, data["test"], False)
    samples = len(data["train"])
    model = make_model(job, len(data["train"].classes))
    optimizer = make_optimizer(job, model)
    schedule = make_schedule(job, optimizer, math.ceil(samples / job["batch"]))
    epochs, best = [], None
    if (out / "state.pt").exists():
        state = torch.load(out / "state.pt", weights_only=False, map_location=job["device"])
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        epochs, best = state["epochs"], state["best"]
        torch.set_rng_state(state["random"].cpu())
        generator.set_state(state["order"].cpu())
    for epoch in range(len(epochs), job["epochs"]):
        loss = train_epoch(job, model, train, samples, optimizer, schedule)
        f1 = macro_f1(*predict(job, model, validation))
        epochs.append({"train_loss": loss, "validation_f1": f1})
        if best is None or f1 > best["f1"]:
            best = {"f1": f1, "epoch": epoch, "model": {k: v.clone() for k, v in model.state_dict().items()}}
        save(out / "state.pt", model=model.state_dict(), optimizer=optimizer.state_dict(), schedule=schedule.state_dict(),
             epochs=epochs, best=best, random=torch.get_rng_state(), order=generator.get_state())
        print(f"epoch {epoch + 1}/{job['epochs']}  train loss {loss:.4f}  val macro-F1 {f1:.4f}", flush=True)
    model.load_state_dict(best["model"])
    labels, predictions = predict(job, model, test)
    (out / "result.json").write_text(json.dumps({
        "epochs": epochs, "test_f1": macro_f1(labels, predictions), "labels": labels, "predictions": predictions,
        "program": f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}"}))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(recipe.read(sys.argv[1], sys.argv[4:]), sys.argv[2], pathlib.Path(sys.argv[3]))
