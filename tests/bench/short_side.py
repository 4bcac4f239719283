"""What storing smaller images (pack --short-side) does to a trained model: python tests/bench/short_side.py BUILD CHECKPOINT PHOTOS
PHOTOS holds test/CLASS/*.jpg beside train and validation, as clothing-small does. The same checkpoint is evaluated on the test
split of each way to pack: root mean square of what the logits differ from those of the untouched bytes, relative to the root
mean square of these; share of equal predictions; macro-F1; size of the whole data set."""
import json
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np

build, checkpoint, photos = map(pathlib.Path, sys.argv[1:4])
meta = json.loads(pathlib.Path(f"{checkpoint.resolve()}.json").read_text())
rule = meta["preprocess"]
own = rule["resize_size"] if rule["resize"] == "short_side" else min(rule["height"], rule["width"])
WAYS = {"untouched": []}
for size in sorted({256, own}, reverse=True):
    for name, keys in (("JPEG 95", ["--quality", "95"]), ("JPEG 90", ["--quality", "90"]), ("raw", ["--raw"])):
        WAYS[f"{size}, {name}"] = ["--short-side", str(size), *keys]


def lockstep(*words):
    return subprocess.run([build / "bin/lockstep", *map(str, words)], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True).stdout


def evaluate(folder, keys):
    """Samples, labels and logits of the test split, its macro-F1, bytes of the data set."""
    data, predictions = folder / "data.h5", folder / "predictions.h5"
    lockstep("pack", photos, data, "--no-verify", "--force", *keys)
    found = json.loads(lockstep("eval", checkpoint, data, "--json", "--predictions", predictions))
    with h5py.File(predictions) as file:
        group = file["eval/test"]
        samples, labels, logits = (group[name][()] for name in ("sample", "label", "logits"))
    return samples, labels, logits.astype(np.float64), found["macro_f1"], data.stat().st_size


def root_mean_square(values):
    return float(np.sqrt(np.mean(np.square(values))))


print(f"{meta['architecture']}, {rule['height']} px, resize {rule['resize']} {own} ({rule['interpolation']}), {checkpoint.name}")
with tempfile.TemporaryDirectory() as name:
    base = None
    for way, keys in WAYS.items():
        samples, labels, logits, macro_f1, size = evaluate(pathlib.Path(name), keys)
        base = base or (samples, labels, logits)
        assert (samples == base[0]).all() and (labels == base[1]).all(), "another order of samples"
        difference = root_mean_square(logits - base[2]) / root_mean_square(base[2])
        equal = np.sum(logits.argmax(1) == base[2].argmax(1))
        if way == "untouched":
            print(f"{len(labels)} test images\n{'stored':>14}  logits' difference  equal predictions  macro-F1       MB")
        print(f"{way:>14}  {difference:18.4f}  {equal / len(labels):17.4f}  {macro_f1:8.4f}  {size / 1e6:7.1f}", flush=True)
