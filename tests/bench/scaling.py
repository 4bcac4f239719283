"""Two ranks of one core against one rank of two cores, the same job, interleaved: python tests/bench/scaling.py BUILD [MODEL [BATCH [ROUNDS]]]
Prints images per second of whole updates (best, median; the first update of each launch is not counted) and the ratio of the throughputs.
Both must give the same weights."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

build = pathlib.Path(sys.argv[1])
model = (sys.argv[2:] or ["resnet18"])[0]
batch, rounds = [*map(int, sys.argv[3:]), *(64, 5)[len(sys.argv[3:]):]]
size, updates = 224, 3
JOB = """
data: {data}
model: {model}
epochs: 1
batch: {batch}
microbatch: {microbatch}
max_updates: {updates}
input: {{size: {size}, resize_size: {size}}}
augment: {{crop: center, hflip: 0}}
optimizer: {{lr: 0.05, momentum: 0.9, weight_decay: 0.0005}}
evaluate: {{batch: {microbatch}}}
checkpoint: {{golden: 1}}
"""
LAUNCHES = {"one rank of two cores": [],
            "two ranks of one core": ["mpirun", "-n", "2", "--map-by", "core", "--bind-to", "core"]}
environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def make_data(folder):
    random = np.random.default_rng(0)
    for split, count in (("train", batch * updates // 10 + 1), ("validation", 1)):
        for label in range(10):
            target = folder / "images" / split / f"class{label}"
            target.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(random.integers(0, 255, (size, size, 3), dtype=np.uint8)).save(target / f"{i}.jpg")
    subprocess.run([build / "bin/lockstep", "pack", folder / "images", folder / "data.h5"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    (folder / "job.yaml").write_text(JOB.format(data=folder / "data.h5", model=model, batch=batch, microbatch=batch // 4, size=size,
                                                updates=updates))


def train(folder, launch):
    """Seconds of each update but the first, and the hash of the weights."""
    done = subprocess.run([*launch, build / "bin/lockstep", "train", folder / "job.yaml", "--run", folder / "run", "--overwrite"],
                          check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = map(json.loads, (folder / "run/metrics.jsonl").read_text().splitlines())
    return [line["seconds"] for line in lines if line["type"] == "update"][1:], done.stdout.split("weights ")[1].split()[0]


seconds, hashes, ratios = {name: [] for name in LAUNCHES}, set(), []
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    make_data(folder)
    for turn in range(rounds):
        # Every second round starts with the other: what heats or disturbs the machine meets both alike.
        for launch in (list(LAUNCHES) if turn % 2 == 0 else list(LAUNCHES)[::-1]):
            taken, weights = train(folder, LAUNCHES[launch])
            seconds[launch] += taken
            hashes.add(weights)
        first, second = (statistics.median(seconds[name][-len(taken):]) for name in LAUNCHES)
        ratios.append(first / second)
assert len(hashes) == 1, hashes
print(f"{model}, batch {batch} = 4 x {batch // 4}, {size} px, {rounds} rounds of {updates - 1} updates each, interleaved")
for name, values in seconds.items():
    print(f"  {name}: best {min(values):.3f} s  median {statistics.median(values):.3f} s  {batch / statistics.median(values):.2f} img/s")
one, two = seconds.values()
print(f"  throughput of two ranks / one rank: best {min(one) / min(two):.3f}  median {statistics.median(one) / statistics.median(two):.3f}"
      f"  median of the rounds' ratios {statistics.median(ratios):.3f}; the same weights")
