"""Engines and algorithms are recorded, compared between ranks, and taken again when a run goes on (docs/formats.md)."""

import ctypes
import ctypes.util
import json
import re

import h5py
import pytest
from test_several_gpus import launch
from test_train_standin import job, losses, run, tensors, train  # noqa: F401 (job is a fixture)

ALGORITHM = r"cublaslt algorithm 7 words( [0-9a-f]{16}){8}"


def weights(folder):
    return {name: value.tobytes() for name, value in tensors(folder).items()}


def choices(folder):
    with h5py.File(folder / "checkpoints/last.h5") as file:
        return file["text/choices"][()].decode().splitlines()


def go_on(build, job, folder, *overrides, **options):
    return run(build, "train", job, *overrides, "--run", folder, "--resume", "device=cuda", **options)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_a_run_goes_on_with_the_engines_that_it_had(build, job, tmp_path, compute):
    """Though the library would now rank others first, which give other bits."""
    whole, other, half = (tmp_path / name for name in ("whole", "other", "half"))
    train(build, job, whole, "device=cuda", f"compute={compute}")
    train(build, job, other, "device=cuda", f"compute={compute}", LK_SIM_ENGINES_BACK=1)
    train(build, job, half, "device=cuda", f"compute={compute}", "max_updates=2")
    done = go_on(build, job, half, f"compute={compute}", LK_SIM_ENGINES_BACK=1)
    assert "other engines" not in done.stdout + done.stderr
    assert weights(whole) != weights(other) and choices(whole) != choices(other)
    assert weights(half) == weights(whole) and losses(half) == losses(whole)
    assert choices(half) == choices(whole)


def test_what_a_list_holds(build, job, tmp_path):
    train(build, job, tmp_path, "device=cuda", "compute=bfloat16", "max_updates=1")
    head, *lines = choices(tmp_path)
    assert head == "lockstep-choices 1"
    found = dict(line.split(" = ", 1) for line in lines)
    assert len(found) == len(lines)
    assert found["conv1 forward bfloat16 8x1x16x16"] == "cudnn engine 4 knobs %s=0" % knob(lines)
    assert found["conv1 weight bfloat16 8x1x16x16"] == "cudnn engine 4 in 16 bits knobs %s=0" % knob(lines)
    assert "conv1 data bfloat16 8x1x16x16" not in found  # nobody asks for the gradient of the pixels
    assert "conv1 forward bfloat16 20x1x16x16" in found  # of evaluation
    for name in ("forward", "data", "weight"):
        assert re.fullmatch(ALGORITHM, found[f"fc {name} bfloat16 8x64x1x1"])
    shown = run(build, "inspect", tmp_path / "checkpoints/last.h5").stdout
    assert f"engines      of {len(lines)} passes" in shown
    listed = json.loads(run(build, "inspect", tmp_path / "checkpoints/last.h5", "--json").stdout)["choices"]
    assert listed.splitlines() == [head, *lines]
    plan = json.loads(run(build, "plan", job, "device=cuda", "compute=bfloat16", "--json").stdout)["plan"]
    planned = {f"{call['layer']} {name}": text for call in plan["calls"] for name, text in call.get("choices", {}).items()}
    assert planned and all(found[next(key for key in found if key.startswith(name + " "))] == text for name, text in planned.items())


def knob(lines):
    return re.search(r"knobs (\d+)=", lines[0])[1]


def test_an_engine_that_is_gone_is_said(build, job, tmp_path):
    """The run goes on, as it does with other arithmetic."""
    train(build, job, tmp_path, "device=cuda", "max_updates=1")
    done = go_on(build, job, tmp_path, "max_updates=2", LK_SIM_KNOBS=0)
    assert re.search(r"goes on with other engines, so its bits .*: layer conv1: .*'cudnn engine 4 knobs \d+=0'", done.stdout + done.stderr)
    assert len(losses(tmp_path)) == 2


def test_other_arithmetic_chooses_for_itself(build, job, tmp_path):
    train(build, job, tmp_path, "device=cuda", "max_updates=1")
    before = choices(tmp_path)
    done = go_on(build, job, tmp_path, "max_updates=2", LK_SIM_CUDNN=92500, LK_SIM_ENGINES_BACK=1)
    assert "other arithmetic" in done.stdout + done.stderr
    assert choices(tmp_path) != before


def test_ranks_with_other_engines_are_refused(build, job, tmp_path):
    """P21: the first layer that differs is named."""
    if not (build / "tests/gpu/lib/lockstep/lockstep_nccl.so").exists():
        pytest.skip("this build has no NCCL module")
    done = launch(build, job, tmp_path / "run", [["A=1"], ["LK_SIM_ENGINES_BACK=1"]], status=1, LK_SIM_GPUS=2)
    said = done.stdout + done.stderr
    assert re.search(r"rank 1: other engines were chosen here than on rank 0", said), said
    assert re.search(r"'conv1 forward float32 8x1x16x16 = cudnn engine 4 knobs \d+=1' here, '[^']*=0' on rank 0", said), said


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def seal(path, data):
    """Writes a checkpoint with the hashes of its bytes (docs/formats.md)."""
    library = ctypes.CDLL(ctypes.util.find_library("xxhash"))
    for name, result in (("XXH3_128bits", Hash128), ("XXH3_64bits", ctypes.c_uint64)):
        getattr(library, name).restype = result
        getattr(library, name).argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    body = bytes(data[512:])
    whole = library.XXH3_128bits(body, len(body))
    data[24:40] = whole.high.to_bytes(8, "big") + whole.low.to_bytes(8, "big")
    data[56:64] = library.XXH3_64bits(bytes(data[:56]), 56).to_bytes(8, "big")
    path.write_bytes(data)


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        (b" = cudnn", b" : cudnn", "line 2 of its list of engines is not a layer's pass = its choice"),
        (b"lockstep-choices 1", b"lockstep-choices 9", "its list of engines is not one that this program"),
        (b"= cudnn engine", b"= cudnn en\x01ine", "line 2 of its list of engines holds bytes that are no text"),
    ],
)
def test_a_mangled_list_is_refused(build, job, tmp_path, old, new, sentence):
    train(build, job, tmp_path, "device=cuda", "max_updates=1")
    path = tmp_path / "checkpoints/last.h5"
    data = bytearray(path.read_bytes())
    start = data.index(b"lockstep-choices 1\n")
    at = data.index(old, start)
    data[at : at + len(old)] = new
    seal(path, data)
    done = go_on(build, job, tmp_path, "max_updates=2", status=1)
    assert sentence in done.stderr and "last.h5" in done.stderr
