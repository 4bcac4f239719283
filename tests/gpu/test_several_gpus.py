"""Several ranks on stand-in GPUs over the stand-in NCCL: the same bits, which rank gets which GPU, and what goes wrong."""

import os
import re
import shutil
import subprocess

import pytest
from test_train_standin import job, losses, tensors, train  # noqa: F401 (job is a fixture)


@pytest.fixture(autouse=True)
def needs_nccl(build):
    if not (build / "tests/gpu/lib/lockstep/lockstep_nccl.so").exists():
        pytest.skip("this build has no NCCL module")


def weights(folder):
    return {name: value.tobytes() for name, value in tensors(folder).items()}


@pytest.mark.parametrize("compute", ["float32", "bfloat16", "float16"])
def test_the_same_bits_on_1_2_and_4_gpus(build, job, tmp_path, compute):
    """P5; in float16 the first window's gradients overflow and are skipped (P13). The last window has two of its
    four leaves, so that ranks without a share take part too."""
    for ranks in (1, 2, 4):
        folder = tmp_path / str(ranks)
        train(build, job, folder, "device=cuda", f"compute={compute}", f"loss_scale.initial={2**21}", ranks=ranks, LK_SIM_GPUS=4, LK_SIM_SEED=ranks)
        assert losses(folder) == losses(tmp_path / "1")
        assert weights(folder) == weights(tmp_path / "1")
        assert 0 < len(losses(folder)) < 4 if compute == "float16" else len(losses(folder)) == 4


def test_a_ring_says_what_it_gives_up(build, job, tmp_path):
    one = train(build, job, tmp_path / "tree", "device=cuda", ranks=4, LK_SIM_GPUS=4)
    other = train(build, job, tmp_path / "ring", "device=cuda", "reduce=ring", ranks=4, LK_SIM_GPUS=4)
    assert "summed in the tree's order" in one.stdout
    assert "another number of ranks gives other bits" in other.stdout
    tree, ring = tensors(tmp_path / "tree"), tensors(tmp_path / "ring")
    assert any(tree[name].tobytes() != ring[name].tobytes() for name in tree)
    assert all(abs(tree[name] - ring[name]).max() < 1e-3 for name in tree)


@pytest.mark.parametrize("setting, says", [(None, True), (-1, False), (1, False)])
def test_memory_of_messages_is_registered_on_all_ranks_or_none(build, job, tmp_path, setting, says):
    """NCCL that takes it, that is told not to (NCCL_LOCAL_REGISTER=0), and that fails on one rank. The stand-in ends a run
    that mixes both kinds, and one that gives memory back too late."""
    settings = {} if setting is None else {"LK_SIM_NCCL_REGISTER": setting}
    done = train(build, job, tmp_path / "run", "device=cuda", "max_updates=1", ranks=2, LK_SIM_GPUS=2, **settings)
    assert (", which knows their memory," in done.stdout) == says


def launch(build, job, folder, settings, *overrides, status=0, **variables):
    """One rank for each of the settings, which are environment variables of that rank alone."""
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment["LOCKSTEP_MODULES"] = str(build / "tests/gpu/lib/lockstep")
    environment |= {name: str(value) for name, value in variables.items()}
    command = ["mpirun", "--oversubscribe"]
    for index, setting in enumerate(settings):
        command += [":"] * (index > 0) + ["-n", "1", "env", *setting, build / "bin/lockstep", "train", job, "--run"]
        command += [folder, "--overwrite", "--timeout", "5", "device=cuda", "max_updates=1", *overrides]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def chosen(done):
    """Number among the visible GPUs, and number in the machine, of each rank."""
    found = re.findall(r"^rank \d: \S+, GPU (\d) of \d, .*, GPU-7374616e-642d-696e-203(\d)-", done.stdout, re.M)
    return [(int(seen), int(real)) for seen, real in found]


@pytest.mark.parametrize(
    "settings, gpus, expected",
    [
        ([["A=1"], ["A=1"]], 3, [(0, 0), (1, 1)]),  # mpirun, srun --gpu-bind=none
        ([["CUDA_VISIBLE_DEVICES=2"], ["CUDA_VISIBLE_DEVICES=1"]], 3, [(0, 2), (0, 1)]),  # srun --gpus-per-task=1
        ([["CUDA_VISIBLE_DEVICES=2,0"], ["CUDA_VISIBLE_DEVICES=2,0"]], 3, [(0, 2), (1, 0)]),
        ([["CUDA_VISIBLE_DEVICES=0,1"], ["CUDA_VISIBLE_DEVICES=0"]], 2, [(1, 1), (0, 0)]),
    ],
)
def test_which_rank_gets_which_gpu(build, job, tmp_path, settings, gpus, expected):
    """P21. What a rank is shown is honoured, and GPUs are told apart by what they are, not by their numbers."""
    assert chosen(launch(build, job, tmp_path / "run", settings, LK_SIM_GPUS=gpus)) == expected


@pytest.mark.parametrize(
    "settings, variables, sentence",
    [
        ([["A=1"], ["A=1"]], {"LK_SIM_GPUS": 1}, "ranks 0 and 1 .* see one and the same GPU"),
        ([["CUDA_VISIBLE_DEVICES=1"], ["CUDA_VISIBLE_DEVICES=1"]], {"LK_SIM_GPUS": 2}, "see one and the same GPU"),
        ([["A=1"], ["CUDA_VISIBLE_DEVICES="]], {"LK_SIM_GPUS": 2}, "device cuda finds no GPU for rank 1"),
        ([["A=1"]] * 4, {"LK_SIM_GPUS": 3}, "rank 3 .* has no GPU of its own: 4 ranks of the node share the 3"),
        ([["A=1"], ["A=1"]], {"LK_SIM_GPUS": 2, "LK_SIM_OTHER": 1}, "rank 1 .* another kind than rank 0"),
        ([["A=1"], ["A=1"]], {"LK_SIM_GPUS": 2, "LK_SIM_NCCL": 21703}, "need NCCL 2.18 or later, and 2.17 is installed"),
        ([["A=1"], ["LK_SIM_NCCL=22000"]], {"LK_SIM_GPUS": 2}, "NCCL of rank 1 .* differs from that of rank 0"),
    ],
)
def test_what_cannot_be_is_a_sentence(build, job, tmp_path, settings, variables, sentence):
    done = launch(build, job, tmp_path / "run", settings, status=1, **variables)
    said = {line for line in done.stderr.splitlines() if line.startswith("lockstep: ")}
    assert len(said) == 1 and re.search(sentence, said.pop())


def test_ranks_share_a_gpu_where_asked(build, job, tmp_path):
    """P21. Over an NCCL that can, the same bits; an older one is named."""
    train(build, job, tmp_path / "one", "device=cuda", "max_updates=2")
    settings = {"ranks": 4, "LK_SIM_GPUS": 2, "LK_SIM_NCCL": 23000}
    done = train(build, job, tmp_path / "shared", "device=cuda", "max_updates=2", "--share-gpus", **settings)
    assert [real for _, real in chosen(done)] == [0, 1, 0, 1] and "ranks share GPUs (--share-gpus)" in done.stdout
    assert weights(tmp_path / "shared") == weights(tmp_path / "one")
    done = train(build, job, tmp_path / "old", "device=cuda", "--share-gpus", status=1, **{**settings, "LK_SIM_NCCL": 22800})
    assert "ranks that share a GPU need NCCL 2.30 or later, and 2.28 is installed" in done.stderr
    done = train(build, job, tmp_path / "apart", "device=cuda", "max_updates=1", "--share-gpus", ranks=2, LK_SIM_GPUS=2)
    assert "ranks share GPUs" not in done.stdout


def test_a_build_without_nccl_says_so(build, job, tmp_path):
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "lockstep_cuda.so").symlink_to(build / "tests/gpu/lib/lockstep/lockstep_cuda.so")
    done = launch(build, job, tmp_path / "run", [[f"LOCKSTEP_MODULES={modules}"]] * 2, status=1, LK_SIM_GPUS=2)
    assert "NCCL, which several ranks on GPUs need, is not in this build: there is no " in done.stderr


def test_a_ring_needs_gpus(build, job, tmp_path):
    done = train(build, job, tmp_path / "run", "device=cpu", "reduce=ring", status=1)
    assert "reduce: ring is for GPUs, and this run is on device cpu" in done.stderr


@pytest.mark.parametrize(
    "fault, status, sentence",
    [
        ("die:1:3", 137, "a process ended while others waited in .*: rank 1 "),
        ("error:1:3", 1, "NCCL 2.28.9 failed: unhandled system error .*: a cable was pulled"),
        ("stall:1:3", 1, "no progress for 3 s in gradient sum .* the messages between them don't arrive"),
        ("stop:1:3", 1, "no answer for 3 s in gradient sum .* from rank 1 .*: stopped, dead or too slow"),
        ("die:1:0", 137, "a process ended while others waited in join of GPUs .*: rank 1 "),
        ("stall:0:0", 1, "no progress for 3 s in join of GPUs"),
    ],
)
def test_what_goes_wrong_ends_the_run(build, job, begun, tmp_path, fault, status, sentence):
    """P19. The third update's sum fails (its second group; the first tries the links): a sentence in bounded time, and the
    checkpoint stays whole."""
    folder = tmp_path / "run"
    shutil.copytree(begun, folder, symlinks=True)
    before = (folder / "checkpoints/last.h5").read_bytes()
    done = resume(build, job, folder, fault, status)
    assert re.search(sentence, done.stderr), done.stderr
    assert (folder / "checkpoints/last.h5").read_bytes() == before
    if fault == "error:1:3":
        resume(build, job, folder, "", 0)
        train(build, job, tmp_path / "whole", "device=cuda")
        assert weights(folder) == weights(tmp_path / "whole")


@pytest.fixture(scope="module")
def begun(build, job, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("begun") / "run"
    train(build, job, folder, "device=cuda", "max_updates=2", ranks=2, LK_SIM_GPUS=2)
    return folder


def resume(build, job, folder, fault, status):  # noqa: F811
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "LK_SIM_GPUS": "2"}
    environment |= {"LOCKSTEP_MODULES": str(build / "tests/gpu/lib/lockstep"), "LK_SIM_NCCL_FAULT": fault}
    command = ["mpirun", "--oversubscribe", "-n", "2", build / "bin/lockstep", "train", job, "--resume", "--timeout", "3"]
    command += ["--run", folder, "device=cuda"]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    return done
