"""From the start of the process to the start of the first forward pass: python tests/bench/startup.py BUILD PHOTOS [ROUNDS]
ResNet-18, 224 px, microbatches of 16 photographs; MPI start and first decoded batch included; by a clock outside the programs.
PyTorch imports torch and torchvision, builds its model and decodes 16 photographs, the faster of 0 and 2 workers."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

build, photos = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
rounds = int((sys.argv[3:] or ["5"])[0])
here = pathlib.Path(__file__).parent
JOB = """
data: {data}
model: resnet18
epochs: 1
batch: 32
microbatch: 16
max_updates: 1
augment: {{crop: random_resized, hflip: 0.5}}
optimizer: {{lr: 0.05, momentum: 0.9}}
evaluate: {{batch: 16}}
checkpoint: {{golden: 1}}
"""
environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
LAUNCHES = {"lockstep, 1 rank": [], "lockstep, mpirun -n 1": ["mpirun", "--bind-to", "none", "-n", "1"],
            "lockstep, mpirun -n 2": ["mpirun", "--oversubscribe", "-n", "2"]}


def lockstep(folder, launch):
    """Seconds by the outside clock, and by the program's own count from the start of its process."""
    started = time.time()
    subprocess.run([*launch, build / "bin/lockstep", "train", folder / "job.yaml", "--run", folder / "run", "--overwrite"], check=True,
                   env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = map(json.loads, (folder / "run/metrics.jsonl").read_text().splitlines())
    startup = next(line for line in lines if line["type"] == "startup")
    return startup["unix"] - started, startup["seconds"]


def pytorch(workers):
    started = time.time()
    done = subprocess.run([sys.executable, here / "torch_startup.py", photos / "train", "16", str(workers)], check=True, env=environment,
                          stdout=subprocess.PIPE, text=True)
    return float(done.stdout) - started


times = {name: [] for name in (*LAUNCHES, "PyTorch, 0 workers", "PyTorch, 2 workers")}
own = []
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    subprocess.run([build / "bin/lockstep", "pack", photos, folder / "data.h5", "--no-verify"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    (folder / "job.yaml").write_text(JOB.format(data=folder / "data.h5"))
    for turn in range(rounds + 1):
        measured = []
        for launch in LAUNCHES.values():
            outside, inside = lockstep(folder, launch)
            measured.append(outside)
            own += [inside] if not launch and turn > 0 else []
        measured += [pytorch(0), pytorch(2)]
        if turn > 0:  # the first brings the files into memory
            for values, seconds in zip(times.values(), measured):
                values.append(seconds)
print(f"process start to first forward, ResNet-18, 224 px, {rounds} rounds, interleaved, {len(os.sched_getaffinity(0))} cores")
for name, values in times.items():
    print(f"  {name:22} best {min(values):6.3f} s  median {statistics.median(values):6.3f} s")
print(f"  1 rank by its own count: best {min(own):.3f} s  median {statistics.median(own):.3f} s")
rival = [times["PyTorch, 0 workers"], times["PyTorch, 2 workers"]]
for name in LAUNCHES:
    print(f"  PyTorch / {name}: best {min(map(min, rival)) / min(times[name]):.1f}"
          f"  median {min(map(statistics.median, rival)) / statistics.median(times[name]):.1f}")
