"""Whole runs here and in PyTorch: the same recipe, several seeds, on the same photographs and cores.

    python run.py run BUILD PHOTOS OUT [--recipes NAME ...] [--seeds N ...] [--sides lockstep torch] [--init FILE.pth]
                  [--set KEY=VALUE ...] [--seconds LIMIT]
    python run.py report OUT [--json]

PHOTOS: train/, validation/ and test/ with one folder a class. `run` does what OUT/results.jsonl does not have yet, one run after the
other, the two sides of a seed next to each other; with --seconds it stops at the next end of an epoch after that time, and another
call goes on there. `report` prints a table: macro-F1 on the test split of the epoch with the best validation macro-F1, the difference
with its interval, and the wall time (evaluation and checkpoints included) until both sides have reached the same validation macro-F1.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np

HERE = pathlib.Path(__file__).parent
RECIPES = ["resnet18_scratch", "lite0_finetune", "lite0_scratch"]


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_line(path, record):
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def needs_init(recipe):
    return "finetune" in recipe


def commands(arguments, data, recipe, side, seed, folder):
    words = [f"seed={seed}", *arguments.set]
    if needs_init(recipe):
        words.append(f"init={arguments.init}")
    if side == "torch":
        return [sys.executable, HERE / "torch_recipe.py", HERE / f"{recipe}.yaml", arguments.photos, folder, *words]
    program = pathlib.Path(arguments.build) / "bin" / "lockstep"
    return [program, "train", HERE / f"{recipe}.yaml", f"data={data}", *words, "--run", folder, "--resume"]


def follow(words, wall, stop_at):
    """Runs a command and stamps its epochs into `wall`; False where it was stopped at stop_at."""
    last, stopped = time.monotonic(), False
    child = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True, bufsize=1)
    for line in child.stdout:
        if line.startswith("epoch "):
            now, epoch = time.monotonic(), int(line.split()[1].split("/")[0])
            append_line(wall, {"epoch": epoch, "seconds": now - last})
            last = now
            print(f"    {line.rstrip()[:110]}", flush=True)
            if stop_at is not None and now > stop_at and not stopped:
                child.send_signal(signal.SIGTERM)
                stopped = True
    status = child.wait()
    if stopped and status != 0:
        return False
    if status != 0:
        raise SystemExit(f"{words[0]} ended with status {status}")
    return True


def lockstep_result(folder, data):
    import h5py

    with h5py.File(data) as file:
        source = file["index/source"][:]
    with h5py.File(folder / "predictions.h5") as file:
        group = file["best_f1/test"]
        sample, label, logits = group["sample"][:], group["label"][:], group["logits"][:]
    order = np.argsort(source[sample])  # as torchvision's ImageFolder
    lines = read_lines(folder / "metrics.jsonl")
    epochs = [line for line in lines if line["type"] == "epoch"]
    program = next(line for line in lines if line["type"] in ("run", "resume"))
    final = next(line for line in lines if (line["type"], line.get("checkpoint"), line.get("split")) == ("final", "best_f1", "test"))
    return {"epochs": [{"train_loss": e["train"]["loss"], "validation_f1": e["validation"]["macro_f1"]} for e in epochs],
            "test_f1": final["metrics"]["macro_f1"], "labels": label[order].tolist(),
            "predictions": logits.argmax(1)[order].tolist(), "program": f"{program['program']}, {program['arithmetic']}"}


def last_stamps(wall, epochs):
    """Seconds of each epoch; an epoch that was run twice, because a run was stopped in it, counts as the last time."""
    stamps = {line["epoch"]: line["seconds"] for line in read_lines(wall)}
    return [stamps[epoch + 1] for epoch in range(epochs)]


def pack(arguments, out):
    data = out / "data.h5"
    if not data.exists():
        subprocess.run([pathlib.Path(arguments.build) / "bin" / "lockstep", "pack", arguments.photos, data], check=True)
    return data


def do_runs(arguments):
    out = pathlib.Path(arguments.out)
    (out / "runs").mkdir(parents=True, exist_ok=True)
    data, results = pack(arguments, out), out / "results.jsonl"
    stop_at = None if arguments.seconds is None else time.monotonic() + arguments.seconds
    for recipe in arguments.recipes:
        if needs_init(recipe) and arguments.init is None:
            raise SystemExit(f"{recipe} needs --init FILE.pth (docs/weights.md says where)")
        for seed in arguments.seeds:
            for side in arguments.sides:
                if any((r["recipe"], r["side"], r["seed"]) == (recipe, side, seed) for r in read_lines(results)):
                    continue
                if stop_at is not None and time.monotonic() > stop_at:
                    return
                folder = out / "runs" / f"{recipe}-{side}-{seed}"
                wall = out / "runs" / f"{recipe}-{side}-{seed}.jsonl"
                print(f"{recipe}, {side}, seed {seed}", flush=True)
                if not follow(commands(arguments, data, recipe, side, seed, folder), wall, stop_at):
                    return
                found = lockstep_result(folder, data) if side == "lockstep" else json.loads((folder / "result.json").read_text())
                found["seconds"] = last_stamps(wall, len(found["epochs"]))
                append_line(results, {"recipe": recipe, "side": side, "seed": seed, "set": arguments.set, **found})


def macro_f1(labels, predictions, classes):
    """As scikit-learn's f1_score(average="macro") over the classes that occur."""
    confusion = np.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)
    true, given, wanted = confusion.diagonal(), confusion.sum(0), confusion.sum(1)
    present = given + wanted > 0
    return float((2 * true[present] / (given + wanted)[present]).mean())


def interval(ours, theirs, resamples=4000):
    """95% interval of the difference of mean macro-F1, test samples (the same on both sides) and seeds drawn anew."""
    rng = np.random.default_rng(0)
    labels = np.array(ours[0]["labels"])
    sides = [np.array([run["predictions"] for run in runs]) for runs in (ours, theirs)]
    classes = int(max(labels.max(), *(side.max() for side in sides))) + 1
    drawn = []
    for _ in range(resamples):
        pick = rng.integers(len(labels), size=len(labels))
        means = [np.mean([macro_f1(labels[pick], side[s][pick], classes) for s in rng.integers(len(side), size=len(side))])
                 for side in sides]
        drawn.append(means[0] - means[1])
    return [float(v) for v in np.quantile(drawn, [0.025, 0.975])]


def time_to(runs, level):
    """Mean seconds until a run's validation macro-F1 is at least `level`; None where a run never is."""
    seconds = []
    for run in runs:
        reached = [i for i, epoch in enumerate(run["epochs"]) if epoch["validation_f1"] >= level]
        if not reached:
            return None
        seconds.append(sum(run["seconds"][: reached[0] + 1]))
    return float(np.mean(seconds))


def summarise(results):
    rows = []
    for recipe in dict.fromkeys(r["recipe"] for r in results):
        sides = {side: [r for r in results if (r["recipe"], r["side"]) == (recipe, side)] for side in ("lockstep", "torch")}
        row = {"recipe": recipe}
        for side, runs in sides.items():
            if runs:
                row[side] = {"seeds": [r["seed"] for r in runs], "test_f1": [r["test_f1"] for r in runs],
                             "mean": float(np.mean([r["test_f1"] for r in runs])),
                             "seconds": float(np.mean([sum(r["seconds"]) for r in runs])), "program": runs[0]["program"]}
        if all(sides.values()):
            row["difference"] = row["lockstep"]["mean"] - row["torch"]["mean"]
            row["interval"] = interval(sides["lockstep"], sides["torch"])
            # The level that every run reaches.
            row["level"] = min(max(e["validation_f1"] for e in r["epochs"]) for runs in sides.values() for r in runs)
            row["time_to_level"] = {side: time_to(runs, row["level"]) for side, runs in sides.items()}
        rows.append(row)
    return rows


def print_table(rows):
    print("| recipe | side | seeds | test macro-F1, mean (each) | difference [95%] | s to validation macro-F1 | s in all |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        for side in ("lockstep", "torch"):
            if side not in row:
                continue
            found = row[side]
            each = ", ".join(f"{f1:.4f}" for f1 in found["test_f1"])
            difference = level = ""
            if "difference" in row:
                level = f"{row['time_to_level'][side]:.0f} (to {row['level']:.4f})"
                if side == "lockstep":
                    difference = f"{row['difference']:+.4f} [{row['interval'][0]:+.4f}, {row['interval'][1]:+.4f}]"
            print(f"| {row['recipe']} | {side} | {len(found['seeds'])} | {found['mean']:.4f} ({each}) | {difference} | {level} |"
                  f" {found['seconds']:.0f} |")
    for row in rows:
        for side in ("lockstep", "torch"):
            if side in row:
                print(f"\n{row['recipe']}, {side}: {row[side]['program']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands_ = parser.add_subparsers(dest="command", required=True)
    runs = commands_.add_parser("run")
    for name in ("build", "photos", "out"):
        runs.add_argument(name)
    runs.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    runs.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    runs.add_argument("--sides", nargs="+", choices=["lockstep", "torch"], default=["lockstep", "torch"])
    runs.add_argument("--init")
    runs.add_argument("--set", nargs="+", default=[])
    runs.add_argument("--seconds", type=float)
    report = commands_.add_parser("report")
    report.add_argument("out")
    report.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.command == "run":
        do_runs(arguments)
        return
    rows = summarise(read_lines(pathlib.Path(arguments.out) / "results.jsonl"))
    print(json.dumps(rows, indent=1)) if arguments.json else print_table(rows)


if __name__ == "__main__":
    main()
