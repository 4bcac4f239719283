"""Whole updates against PyTorch eager, interleaved:
python tests/bench/step.py BUILD [MODEL] [ROUNDS] [BATCH] [MICROBATCH] [PIXELS] [DEVICE] [COMPUTE]
Prints seconds per update (best, median), the ratio to the better of PyTorch's two memory formats, and peak memory. On a GPU PyTorch's
data lie there from the start, and Lockstep's come from a file of pixels."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from random_job import make_job

build, model = pathlib.Path(sys.argv[1]), (sys.argv[2:] or ["resnet18"])[0]
rounds = int((sys.argv[3:] or ["4"])[0])
batch, microbatch, size = (int(number) for number in (sys.argv[4:7] + ["64", "16", "224"][len(sys.argv[4:7]):]))
device, compute = sys.argv[7:] + ["cpu", "float32"][len(sys.argv[7:]):]
on_gpu = device == "cuda"
steps, cores = 20 if on_gpu else 2, os.cpu_count()
dropped = 4 if on_gpu else 1  # the first updates of a launch
here = pathlib.Path(__file__).parent


def lockstep(folder):
    """Seconds of each update but the first ones, and peak resident memory in MiB."""
    command = [build / "bin/lockstep", "train", folder / "job.yaml", f"device={device}", f"compute={compute}", "--run", folder / "run", "--overwrite"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    lines = map(json.loads, (folder / "run/metrics.jsonl").read_text().splitlines())
    return [line["seconds"] for line in lines if line["type"] == "update"][dropped:], usage.ru_maxrss / 1024


environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
rival = subprocess.Popen([sys.executable, here / "torch_step.py", model, str(batch), str(size), str(cores), device, compute], env=environment,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
times, memory = {"lockstep": [], "contiguous": [], "channels_last": []}, {}
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    make_job(build, folder, model, batch, microbatch, size, steps + dropped, raw=on_gpu)
    for _ in range(rounds):
        seconds, memory["lockstep"] = lockstep(folder)
        times["lockstep"] += seconds
        for layout in ("contiguous", "channels_last"):
            rival.stdin.write(f"{layout} {steps}\n")
            rival.stdin.flush()
            *seconds, memory[layout] = map(float, rival.stdout.readline().split())
            times[layout] += seconds
rival.stdin.close()
rival.wait()
print(f"{model}, batch {batch} (Lockstep: {batch // microbatch} x {microbatch}), {size} px, {device}, {compute}, {cores} cores, {rounds} rounds of {steps} updates each, interleaved")
for name, seconds in times.items():
    print(f"{name:14} best {min(seconds):7.3f} s  median {statistics.median(seconds):7.3f} s  {batch / statistics.median(seconds):6.2f} img/s"
          f"  peak memory {memory[name]:6.0f} MiB")
best = min(min(times["contiguous"]), min(times["channels_last"]))
median = min(statistics.median(times["contiguous"]), statistics.median(times["channels_last"]))
print(f"PyTorch / Lockstep: best {best / min(times['lockstep']):.2f}  median {median / statistics.median(times['lockstep']):.2f}")
