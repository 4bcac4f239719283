"""A job on pictures of noise in ten classes: what a benchmark of whole updates trains on."""
import subprocess

import numpy as np
from PIL import Image

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
checkpoint: {{golden: 1}}
sampler: {{repeats: {repeats}}}
"""


def make_job(build, folder, model, batch, microbatch, size, updates, raw=False):
    """Packs enough pictures for that many updates and writes the job; its path. Raw ones need no decoding, and each comes 16 times."""
    repeats = 16 if raw else 1
    random = np.random.default_rng(0)
    for split, count in (("train", batch * updates // repeats // 10 + 1), ("validation", 1)):
        for label in range(10):
            target = folder / "images" / split / f"class{label}"
            target.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(random.integers(0, 255, (size, size, 3), dtype=np.uint8)).save(target / f"{i}.jpg")
    stored = ["--short-side", str(size), "--raw"] if raw else []
    subprocess.run([build / "bin/lockstep", "pack", folder / "images", folder / "data.h5", *stored], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    path = folder / "job.yaml"
    path.write_text(JOB.format(data=folder / "data.h5", model=model, batch=batch, microbatch=microbatch, size=size, updates=updates,
                               repeats=repeats))
    return path
