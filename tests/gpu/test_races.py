"""Training on the watched stand-in (tests/gpu/sim/watch.h): every access of kernels, libraries, copies and messages to device
memory is ordered behind those that it conflicts with, lies in an allocation, and reads what somebody has written; and the
host leaves pinned memory alone until it has waited for the copies of it. A run in which one is not ends with a sentence;
test_planted.py and gpu_watch show that it does."""

import pytest
from test_train_standin import job, losses, tensors, train  # noqa: F401 (job is a fixture)


@pytest.fixture(scope="module")
def watched(build):
    modules = build / "tests/gpu/lib/watched"
    if not (modules / "lockstep_cuda.so").exists():
        pytest.skip("this build has no watched stand-in")
    return modules


AROUND = ["optimizer.kind=adamw", "optimizer.lr=0.001", "optimizer.clip_norm=0.5", "ema.decay=0.9", "schedule.kind=one_cycle"]
EFFICIENTNET = ["model=efficientnet_b0", "compute=bfloat16", "microbatch=16", "mix.mixup=0.4", "recompute=all", *AROUND]


@pytest.mark.parametrize(
    "overrides, options",
    [
        # Microbatches travel ahead on a stream of their own, from one update to the next and over the tail too.
        (["epochs=2", "schedule.kind=cosine"], {}),
        (["epochs=2", "cuda_graphs=off"], {"LK_SIM_SEED": 2}),
        ([*EFFICIENTNET, "max_updates=2"], {}),
        (["compute=float16", "loss_scale.initial=1048576", "max_updates=3"], {}),
        (["loss.f1=0.5", "max_ranks=1", "optimizer.kind=rmsprop_tf", "optimizer.lr=0.001", "max_updates=2"], {}),
        (["freeze.names=conv1,bn1", "freeze.batchnorm=true", "max_updates=2"], {}),
    ],
    ids=["graphs", "eager", "efficientnet", "scaled", "f1", "frozen"],
)
def test_no_race_on_one_gpu(build, job, watched, tmp_path, overrides, options):  # noqa: F811
    train(build, job, tmp_path / "run", "device=cuda", *overrides, LOCKSTEP_MODULES=watched, **options)


@pytest.mark.parametrize("overrides", [["compute=bfloat16"], ["reduce=ring", "max_updates=2"]], ids=["tree", "ring"])
def test_no_race_on_two_gpus(build, job, watched, tmp_path, overrides):  # noqa: F811
    if not (watched / "lockstep_nccl.so").exists():
        pytest.skip("this build has no NCCL module")
    train(build, job, tmp_path / "run", "device=cuda", *overrides, ranks=2, LK_SIM_GPUS=2, LOCKSTEP_MODULES=watched)


def test_to_watch_changes_no_bit(build, job, watched, tmp_path):  # noqa: F811
    train(build, job, tmp_path / "seen", "device=cuda", "max_updates=2", LOCKSTEP_MODULES=watched)
    train(build, job, tmp_path / "plain", "device=cuda", "max_updates=2")
    seen, plain = tensors(tmp_path / "seen"), tensors(tmp_path / "plain")
    assert losses(tmp_path / "seen") == losses(tmp_path / "plain")
    assert all(seen[name].tobytes() == plain[name].tobytes() for name in plain)
