"""lockstep train on the CUDA device over the stand-ins: the program around the device, not only its ops."""

import json
import os
import re
import struct
import subprocess

import h5py
import numpy as np
import pytest

JOB = """
data: {data}
model: cifar_resnet8
epochs: 1
batch: 32
microbatch: 8
seed: 3
input: {{size: 16, color: grey, resize: none, mean: [0.5], std: [0.3]}}
augment: {{crop: pad_random, pad: 2, hflip: 0.5}}
optimizer: {{lr: 0.05, momentum: 0.9, weight_decay: 0.0005}}
evaluate: {{batch: 20}}
"""


def run(build, *arguments, ranks=1, status=0, seconds=200, **variables):
    settings = {"LOCKSTEP_MODULES": build / "tests/gpu/lib/lockstep", **variables}
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment |= {name: str(value) for name, value in settings.items()}
    launch = [] if ranks == 1 else ["mpirun", "--oversubscribe", "-n", str(ranks)]
    command = [*launch, build / "bin/lockstep", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def job(build, tmp_path_factory):
    """Four classes of a bright square in one of the corners, under noise."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(1)
    for name, count in (("train", 150), ("t10k", 20)):
        labels = np.arange(count, dtype=np.uint8) % 4
        images = random.integers(0, 120, (count, 16, 16), dtype=np.uint8)
        for image, label in zip(images, labels):
            image[label // 2 * 8 :, label % 2 * 8 :][:8, :8] += 120
        head = struct.pack(">IIII", 2051, count, 16, 16)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    run(build, "pack", folder, folder / "small.h5", "--val", "40")
    (folder / "job.yaml").write_text(JOB.format(data=folder / "small.h5"))
    return folder / "job.yaml"


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder):
    return [line["loss"] for line in lines_of(folder) if line["type"] == "update"]


def tensors(folder):
    found = {}
    with h5py.File(folder / "checkpoints/last.h5") as file:
        file["model"].visititems(lambda name, item: found.__setitem__(name, item[()]) if hasattr(item, "dtype") else None)
    return found


def train(build, job, folder, *overrides, **options):
    return run(build, "train", job, *overrides, "--run", folder, "--overwrite", **options)


@pytest.mark.parametrize("overrides", [[], ["optimizer.kind=rmsprop", "optimizer.lr=0.001", "optimizer.clip_norm=0.5"]])
def test_it_follows_the_cpu_device(build, job, tmp_path, overrides):
    """Float32 on both: updates differ by roundings that the steps before have grown."""
    train(build, job, tmp_path / "cpu", "device=cpu", *overrides)
    train(build, job, tmp_path / "cuda", "device=cuda", *overrides)
    cpu, cuda = losses(tmp_path / "cpu"), losses(tmp_path / "cuda")
    assert len(cpu) == len(cuda) == 4
    assert np.allclose(cpu, cuda, rtol=2e-4, atol=0)
    one, two = tensors(tmp_path / "cpu"), tensors(tmp_path / "cuda")
    assert one.keys() == two.keys() and len(one) > 30
    for name in one:
        assert np.allclose(one[name], two[name], rtol=1e-2, atol=1e-3 * np.abs(one[name]).max()), name


@pytest.mark.parametrize("compute", ["float32", "bfloat16", "float16"])
def test_the_same_bits_in_any_legal_order(build, job, tmp_path, compute):
    """The stand-in draws the order of streams, blocks and threads from its seed (P5)."""
    for seed in (1, 2):
        train(build, job, tmp_path / str(seed), "device=cuda", f"compute={compute}", LK_SIM_SEED=seed)
    one, two = tensors(tmp_path / "1"), tensors(tmp_path / "2")
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
    assert losses(tmp_path / "1") == losses(tmp_path / "2")


def test_tf32_is_float32_but_for_what_it_multiplies(build, job, tmp_path):
    """The engines that float32 refuses are taken, the losses stay near, and start line and checkpoint say so."""
    done = {compute: train(build, job, tmp_path / compute, "device=cuda", f"compute={compute}", "max_updates=2") for compute in ("float32", "tf32")}
    assert " parameters, tf32 on " in done["tf32"].stdout and "tf32" not in done["float32"].stdout
    one, two = losses(tmp_path / "float32"), losses(tmp_path / "tf32")
    assert one != two and np.allclose(one, two, rtol=1e-2, atol=0)
    with h5py.File(tmp_path / "tf32/checkpoints/last.h5") as file:
        assert b'compute: "tf32"' in file["text/job"][()]
        assert file["model/fc.weight"].dtype == np.float32


def test_float16_follows_float32(build, job, tmp_path):
    """Gradients below float16's range would vanish without the scale: bytes of small ones differ, the losses do not."""
    for compute in ("float32", "float16"):
        train(build, job, tmp_path / compute, "device=cuda", f"compute={compute}", LK_SIM_CAPABILITY=75)
    one, two = losses(tmp_path / "float32"), losses(tmp_path / "float16")
    assert one != two and len(two) == 4 and np.allclose(one, two, rtol=2e-2, atol=0)
    updates = [line for line in lines_of(tmp_path / "float16") if line["type"] == "update"]
    norms = [line["gradient_norm"] for line in lines_of(tmp_path / "float32") if line["type"] == "update"]
    assert {line["loss_scale"] for line in updates} == {65536}
    assert np.allclose([line["gradient_norm"] for line in updates], norms, rtol=5e-2, atol=0)


def test_a_checkpoint_is_evaluated_in_any_arithmetic(build, job, tmp_path):
    """eval and predict on the GPU follow the CPU's float32 as far as the type reaches."""
    train(build, job, tmp_path / "run", "device=cpu", "max_updates=3")
    best, data = tmp_path / "run/checkpoints/last.h5", job.parent / "small.h5"
    loss = json.loads(run(build, "eval", best, data, "--json").stdout)["loss"]
    seen = set()
    for compute, tolerance in (("float32", 1e-5), ("tf32", 5e-3), ("bfloat16", 2e-2), ("float16", 5e-3)):
        how = ["--device", "cuda", "--compute", compute]
        found = json.loads(run(build, "eval", best, data, *how, "--json").stdout)["loss"]
        assert found == pytest.approx(loss, rel=tolerance), compute
        seen.add(found)
        assert run(build, "predict", best, data, *how).stdout.count("\n") == 1 + 150 + 20
    assert len(seen) == 4


def test_what_is_computed_again_is_the_same(build, job, tmp_path):
    """recompute changes memory, not a bit (P5)."""
    for level in ("none", "all"):
        train(build, job, tmp_path / level, "device=cuda", "compute=bfloat16", f"recompute={level}", "max_updates=2")
    one, two = tensors(tmp_path / "none"), tensors(tmp_path / "all")
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)


def test_auto_takes_the_gpu_that_answers(build, job, tmp_path):
    train(build, job, tmp_path / "gpu", "device=auto", "max_updates=1")
    train(build, job, tmp_path / "none", "device=auto", "max_updates=1", LK_SIM_GPUS=0)
    assert "stand-in GPU" in (tmp_path / "gpu/metrics.jsonl").read_text()
    assert "oneDNN" in (tmp_path / "none/metrics.jsonl").read_text()


def test_a_gpu_that_is_too_small_is_told_what_fits(build, job, tmp_path):
    """Before the first step; the microbatch that the sentence names trains."""
    def attempt(memory, *overrides, status=1):
        how = ["device=cuda", "max_updates=1", *overrides]
        return train(build, job, tmp_path / "run", *how, status=status, LK_SIM_MEMORY=int(memory)).stderr

    few = 4 << 20
    said = attempt(few, "microbatch=32", "evaluate.batch=0")
    free, needed = (float(re.search(rf"{words} ([0-9.]+) MB", said)[1]) * 1e6 for words in ("GPU has", "32 needs"))
    assert "no smaller microbatch that divides the batch fits" in said
    enough = few - free + 0.75 * needed  # half of the microbatch needs more than half of that: the gradients remain
    assert "the largest microbatch that fits is 16" in attempt(enough, "microbatch=32", "evaluate.batch=0")
    attempt(enough, "microbatch=16", "evaluate.batch=0", status=0)
    assert "this one fits with recompute: " in attempt(few - free + 0.97 * needed, "microbatch=32", "evaluate.batch=0")


def counts_of_an_update(build, job, folder, *overrides):
    """By name, what two updates ask of the GPU more than one does."""
    seen = []
    for updates in (2, 3):
        path = folder / f"counts{updates}"
        train(build, job, folder / "run", "device=cuda", f"max_updates={updates}", *overrides, LK_SIM_COUNTS=path)
        seen.append({name: int(count) for name, count in (line.split("\t") for line in path.read_text().splitlines())})
    return {name: seen[1][name] - seen[0].get(name, 0) for name in seen[1] if seen[1][name] != seen[0].get(name, 0)}


@pytest.mark.parametrize("leaves", [1, 4])
def test_what_surrounds_the_passes_does_not_grow_with_the_network(build, job, tmp_path, leaves):
    """One launch of a kind for all parameters or layers, and two waits an update beside one for each microbatch."""
    around = ["run_task", "run_tasks", "slab_squares", "a copy", "a wait of the host"]
    overrides = [f"microbatch={32 // leaves}", "compute=bfloat16", "ema.decay=0.9", "optimizer.kind=adamw", "optimizer.lr=0.001"]
    small, large = (
        counts_of_an_update(build, job, tmp_path, f"model={model}", *overrides) for model in ("cifar_resnet8", "cifar_resnet20")
    )
    print(small, large, sep="\n")
    assert large["a convolution"] > 2 * small["a convolution"]  # the passes themselves do grow
    assert [small.get(name, 0) for name in around] == [large.get(name, 0) for name in around]
    assert large["a wait of the host"] <= leaves + 1
    assert large.get("run_task", 0) == 0
    assert large["run_tasks"] == 3 + leaves  # the step, the averages, the copies in bfloat16; statistics of each microbatch
    assert large["slab_squares"] == 1


@pytest.mark.parametrize(
    "overrides, options, sentence",
    [
        (["device=cuda"], {"LK_SIM_GPUS": 0}, "device cuda finds no GPU"),
        (["device=cuda"], {"LK_SIM_MEMORY": 1 << 18}, "the GPU has no room for"),
        (["device=cuda"], {"LK_SIM_CUDNN": 90500}, "needs cuDNN 9.8 or later and finds 9.5"),
        (["device=cuda"], {"LOCKSTEP_MODULES": "/nowhere"}, "there is no /nowhere/lockstep_cuda.so"),
        (["device=cuda", "compute=bfloat16"], {"LK_SIM_CAPABILITY": 75}, "this one has 7.5; use float16 or float32"),
        (["device=cuda", "compute=tf32"], {"LK_SIM_CAPABILITY": 75}, "tf32 needs a GPU of compute capability 8.0"),
        (["device=cpu", "compute=float16"], {}, "computes in float32 or bfloat16, not in float16"),
        (["device=cpu", "compute=tf32"], {}, "the cpu device computes in float32 or bfloat16, not in tf32"),
        (["device=reference", "compute=tf32"], {}, "computes in float64, not in tf32"),
        (["device=cuda", "sync_batchnorm=2"], {}, "cannot normalise over a group"),
    ],
)
def test_what_is_missing_is_a_sentence(build, job, tmp_path, overrides, options, sentence):
    done = train(build, job, tmp_path / "run", *overrides, status=1, **options)
    assert sentence in done.stderr
