"""Passes that are captured and replayed against passes that are launched kernel by kernel, on the stand-ins: the same bits (P5)."""


import pytest
from test_train_standin import job, losses, tensors, train  # noqa: F401 (job is a fixture)


def counted(path):
    return {name: int(count) for name, count in (line.split("\t") for line in path.read_text().splitlines())}


def both(build, job, folder, *overrides, **options):
    """Trains twice; returns what the captured run asked of the GPU, and the other."""
    asked = []
    for graphs in ("auto", "off"):
        counts = folder / f"counts-{graphs}"
        train(build, job, folder / graphs, "device=cuda", f"cuda_graphs={graphs}", *overrides, LK_SIM_COUNTS=counts, **options)
        asked.append(counted(counts))
    one, two = tensors(folder / "auto"), tensors(folder / "off")
    assert losses(folder / "auto") == losses(folder / "off")
    assert one.keys() == two.keys() and all(one[name].tobytes() == two[name].tobytes() for name in one)
    return asked


AROUND = ["optimizer.kind=adamw", "optimizer.lr=0.001", "optimizer.clip_norm=0.5", "ema.decay=0.9", "schedule.kind=one_cycle"]


@pytest.mark.parametrize(
    "overrides",
    [
        # Two epochs of five updates, the last of each with a smaller microbatch; the rate falls with every update.
        ["epochs=2", "max_updates=10", "schedule.kind=cosine", "optimizer.nesterov=true"],
        # Depthwise convolution, gates, SiLU, stochastic depth, dropout, microbatches that are mixed and not.
        ["model=efficientnet_b0", "compute=bfloat16", "microbatch=16", "max_updates=2", "mix.mixup=0.4", "mix.prob=0.5", "recompute=all", *AROUND],
        ["freeze.names=conv1,bn1", "freeze.batchnorm=true", "max_updates=3"],
        # Updates that overflow and are skipped: the scale changes under a captured pass.
        ["compute=float16", "loss_scale.initial=1048576", "max_updates=3"],
        ["loss.f1=0.5", "max_ranks=1", "optimizer.kind=rmsprop_tf", "optimizer.lr=0.001", "max_updates=3"],
    ],
    ids=["tails", "efficientnet", "frozen", "scaled", "f1"],
)
def test_replayed_and_launched_give_the_same_bits(build, job, tmp_path, overrides):
    captured, launched = both(build, job, tmp_path, *overrides)
    assert captured["a graph"] >= 4 and "a graph" not in launched
    by_host = "a launch by the host"
    kernels = {name: count for name, count in launched.items() if name not in (by_host, "a wait of the host")}
    assert kernels == {name: captured[name] for name in kernels}  # the same work: a graph's nodes count
    assert captured[by_host] < launched[by_host]


def test_a_replay_is_one_launch(build, job, tmp_path):
    """The third update of a warm run: two graphs for a microbatch, and one for statistics, step and copies."""
    seen = []
    for updates in (2, 3):
        counts = tmp_path / f"counts{updates}"
        train(build, job, tmp_path / "run", "device=cuda", f"max_updates={updates}", LK_SIM_COUNTS=counts)
        seen.append(counted(counts))
    leaves = 4
    assert seen[1]["a graph"] - seen[0]["a graph"] == 2 * leaves + 1
    around = sum(seen[1][name] - seen[0][name] for name in ("slab_add", "slab_squares"))
    assert seen[1]["a launch by the host"] - seen[0]["a launch by the host"] == 2 * leaves + 1 + around


def test_a_run_may_go_on_without(build, job, tmp_path):
    """cuda_graphs is about the launch, not about what is computed."""
    train(build, job, tmp_path / "run", "device=cuda", "max_updates=2")
    train(build, job, tmp_path / "whole", "device=cuda", "max_updates=3")
    run = ["--resume", "device=cuda", "max_updates=3", "cuda_graphs=off"]
    resume(build, job, tmp_path / "run", *run)
    one, two = tensors(tmp_path / "run"), tensors(tmp_path / "whole")
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)


def resume(build, job, folder, *words):
    from test_train_standin import run

    return run(build, "train", job, *words, "--run", folder)


def test_what_cannot_be_a_graph_says_what_helps(build, job, tmp_path):
    """Forward, backward and the update of one microbatch, each in its turn."""
    overrides = ["device=cuda", "batch=8", "microbatch=8", "max_updates=3"]
    for graphs in range(3):
        done = train(build, job, tmp_path / "run", *overrides, status=1, LK_SIM_GRAPHS=graphs)
        assert "cannot be captured as a graph" in done.stderr and "use cuda_graphs: off" in done.stderr, graphs
    train(build, job, tmp_path / "run", *overrides, LK_SIM_GRAPHS=3)
    train(build, job, tmp_path / "run", *overrides, "cuda_graphs=off", LK_SIM_GRAPHS=0)
