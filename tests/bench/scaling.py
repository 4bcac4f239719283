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

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from random_job import make_job

build = pathlib.Path(sys.argv[1])
model = (sys.argv[2:] or ["resnet18"])[0]
batch, rounds = [*map(int, sys.argv[3:]), *(64, 5)[len(sys.argv[3:]):]]
size, updates = 224, 3
LAUNCHES = {"one rank of two cores": [],
            "two ranks of one core": ["mpirun", "-n", "2", "--map-by", "core", "--bind-to", "core"]}
environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def train(folder, launch):
    """Seconds of each update but the first, and the hash of the weights."""
    done = subprocess.run([*launch, build / "bin/lockstep", "train", folder / "job.yaml", "--run", folder / "run", "--overwrite"],
                          check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = map(json.loads, (folder / "run/metrics.jsonl").read_text().splitlines())
    return [line["seconds"] for line in lines if line["type"] == "update"][1:], done.stdout.split("weights ")[1].split()[0]


seconds, hashes, ratios = {name: [] for name in LAUNCHES}, set(), []
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    make_job(build, folder, model, batch, batch // 4, size, updates)
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
