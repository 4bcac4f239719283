"""The loader against PyTorch's DataLoader on the same cores, interleaved: python tests/bench/loader.py BUILD PHOTOS [COUNT [ROUNDS [LARGE]]]
PHOTOS holds train/CLASS/*.jpg, as clothing-small does; COUNT samples a turn; LARGE: samples a turn of 12 megapixels, 0: without them.
Prints images per second (best, median) and the ratio to the best of PyTorch's settings."""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from PIL import Image

build, photos = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
count, rounds, large = [*map(int, sys.argv[3:]), *(1024, 5, 48)[len(sys.argv[3:]):]]
here, cores = pathlib.Path(__file__).parent, len(os.sched_getaffinity(0))
SETTINGS = ["0 2 uint8", "1 2 uint8", "2 2 uint8", "2 4 uint8", "2 2 float"]


class Turns:
    """A program that does one measurement for each line it is sent."""

    def __init__(self, *words):
        self.process = subprocess.Popen([*map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(title, folder, data, samples, turns, modes, settings):
    ours = {mode: Turns(build / "bin/loader_bench", data, cores, mode) for mode in modes}
    rival = Turns(sys.executable, here / "torch_loader.py", folder)
    rates = {f"lockstep, decode {mode}": [] for mode in modes} | {f"PyTorch, {s}": [] for s in settings}
    for turn in range(turns + 1):
        measured = [ours[mode].seconds(samples) for mode in modes] + [rival.seconds(f"{s} {samples}") for s in settings]
        if turn > 0:  # the first warms up: workers start, files come into memory
            for name, seconds in zip(rates, measured):
                rates[name].append(samples / seconds)
    for program in (*ours.values(), rival):
        program.close()
    print(f"\n{title}: {samples} images a turn, {turns} turns, interleaved, {cores} cores, RandomResizedCrop 224 + flip")
    print("(PyTorch: workers, prefetch, type of the batch)")
    for name, values in rates.items():
        print(f"  {name:24} best {max(values):8.1f}  median {statistics.median(values):8.1f} img/s")
    same = [values for name, values in rates.items() if name.endswith("uint8")]
    for mode in modes:
        values = rates[f"lockstep, decode {mode}"]
        print(f"  decode {mode} / PyTorch's best setting, uint8: best {max(values) / max(map(max, same)):.2f}"
              f"  median {statistics.median(values) / max(map(statistics.median, same)):.2f}", flush=True)


def pack(folder, data):
    subprocess.run([build / "bin/lockstep", "pack", folder, data, "--no-verify"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def upscale(folder, images):
    """Photographs of 12 megapixels, from smaller ones."""
    classes = sorted(path for path in (photos / "train").iterdir() if path.is_dir())
    for i in range(images):
        target = folder / "train" / classes[i % 4].name
        target.mkdir(parents=True, exist_ok=True)
        with Image.open(sorted(classes[i % 4].iterdir())[i // 4]) as image:
            image.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC).save(target / f"{i}.jpg", quality=90)


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    pack(photos, folder / "photos.h5")
    measure("as they are", photos / "train", folder / "photos.h5", count, rounds, ["exact"], SETTINGS)
    if large > 0:
        upscale(folder / "large", large)
        pack(folder / "large", folder / "large.h5")
        measure("12 megapixels", folder / "large/train", folder / "large.h5", large, max(2, rounds - 2), ["exact", "scaled"], SETTINGS[2:4])
