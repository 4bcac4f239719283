"""Bad input: one sentence that says what, where and what to do, the right exit status, and earlier files as they were."""
import os
import pathlib
import resource
import shutil
import subprocess

import h5py
import numpy as np
import pytest

from conftest import LOCKSTEP, SMALL_JOB, command, environment, run, write_idx


def refused(*arguments, status=1, says=(), ranks=1):
    result = run(*arguments, ranks=ranks, check=False, timeout=60)
    assert result.returncode == status, (result.returncode, result.stdout, result.stderr)
    lines = [line for line in result.stderr.splitlines() if line.startswith("lockstep: ")]
    assert len(lines) >= 1 and (ranks > 1 or len(lines) == 1), result.stderr
    for text in says:
        assert text in result.stderr, (text, result.stderr)
    return result.stderr


def with_line(job, tmp_path, old, new):
    path = tmp_path / "changed.yaml"
    text = job.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize("ranks", [1, 2])
def test_missing_files(small_job, tmp_path, ranks):
    refused("train", tmp_path / "none.yaml", says=["none.yaml", "No such file"], ranks=ranks)
    refused("train", small_job, "data=/nowhere/x.h5", "--run", tmp_path / "r", says=["/nowhere/x.h5"], ranks=ranks)
    assert not (tmp_path / "r").exists()


def test_unknown_key_names_line_and_neighbour(small_job, tmp_path):
    path = with_line(small_job, tmp_path, "epochs: 2", "epochz: 2")
    refused("train", path, says=["line 4", "epochz", "did you mean 'epochs'"])
    refused("train", small_job, "optimizer.momentun=0.5", says=["optimizer.momentun", "optimizer.momentum"])


def test_wrong_values(small_job, tmp_path):
    refused("train", small_job, "batch=65", says=["batch 65 is not a multiple of microbatch 16"])
    refused("train", small_job, "optimizer.momentum=2", says=["optimizer.momentum"])
    refused("train", small_job, "model=resnet19", "--run", tmp_path / "r", says=["resnet19", "did you mean"])
    refused("train", small_job, "device=tpu", says=["tpu"])
    refused("train", small_job, "optimizer.nesterov=true", "optimizer.momentum=0", says=["nesterov"])
    refused("train", small_job, "version=2", says=["version 2", "newer"])
    refused("train", small_job, "network.dropout=1", says=["network.dropout"])
    refused("train", small_job, "network.drop_path=-0.5", says=["network.drop_path is -0.5", "[0, 1)"])
    refused("train", small_job, "network.bn_momentum=2", says=["network.bn_momentum"])
    refused("train", small_job, "what", status=2, says=["KEY=VALUE"])
    refused("train", status=2, says=["job file"])
    refused("train", small_job, "--resume", "--overwrite", status=2, says=["exclude"])


def test_wrong_augmentation(small_job, photo_data, tmp_path):
    for override, *says in (
        ("augment.policy=rand_augment", "augment.policy", "did you mean 'randaugment'"),
        ("augment.policy=TrivialAugmentWide", "one of none, randaugment, trivialaugment"),
        ("augment.policy_magnitude=31", "policy_magnitude is 31", "ends at 30"),
        ("augment.hue=0.6", "augment.hue"),
        ("augment.brightness=-0.1", "augment.brightness"),
        ("augment.erase_scale=0.5, 0.1", "augment.erase_scale takes two numbers, the smaller first"),
        ("augment.fill=1, 2", "augment.fill has 2 values"),
        ("mix.mixup=-0.2", "mix.mixup"),
        ("mix.cutmix=-1", "mix.cutmix"),
        ("mix.prob=1.5", "mix.prob"),
    ):
        refused("train", small_job, override, says=says)
    refused("train", small_job, "augment.blur=0.5", "augment.blur_kernel=4", says=["blur_kernel is 4", "odd"])
    refused("train", small_job, "augment.blur=0.5", "augment.blur_kernel=57", says=["below 56"])


def test_wrong_samplers_and_folds(small_job, tmp_path):
    for overrides, *says in (
        (["sampler.kind=balanced"], "one of shuffled, class_balanced, weighted"),
        (["sampler.kind=weighted", "sampler.weights=1,2", "--run", tmp_path / "r"], "sampler.weights has 2 values", "10 classes"),
        (["sampler.kind=weighted", "sampler.weights=" + ",".join("0" * 10), "--run", tmp_path / "r"], "leave no sample to draw"),
        (["sampler.weights=-1"], "sampler.weights"),
        (["folds=1", "fold=1"], "folds must be at least 2"),
        (["folds=3"], "fold is 0: with folds 3 give 1 to 3"),
        (["folds=3", "fold=4"], "fold is 4"),
        (["fold=2"], "folds is 0"),
        (["folds=300", "fold=1", "--run", tmp_path / "r"], "300 folds need 300 samples of every class", "use at most"),
    ):
        refused("train", small_job, *overrides, says=says)
    assert not (tmp_path / "r").exists()


def test_an_image_smaller_than_its_crop(small_job, small_data, tmp_path):
    refused("train", small_job, "input.size=36", "augment.crop=pad_random", "augment.pad=3", "input.resize=none", "--run",
            tmp_path / "r", says=["is 28 x 28 pixels", "36 x 36"])
    refused("train", small_job, "input.size=36", "input.resize=short_side", "input.resize_size=32", "--run", tmp_path / "r",
            says=["input.resize_size 32 is smaller than the crop, input.size 36", "stretch"])
    refused("train", small_job, "input.size=40", "input.resize=short_side", "augment.crop=pad_random", "augment.pad=1",
            "input.resize_size=36", says=["smaller than the crop"])


def test_bfloat16_is_refused_where_the_processor_lacks_it(small_job, tmp_path):
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    if "avx512_bf16" in flags or "amx_bf16" in flags:
        run("train", small_job, "compute=bfloat16", "max_updates=2", "--run", tmp_path / "r")
    else:
        refused("train", small_job, "compute=bfloat16", "--run", tmp_path / "r", says=["bfloat16", "AVX-512"])


def test_a_run_is_never_overwritten_unless_asked(small_job, tmp_path):
    run("train", small_job, "max_updates=2", "--run", tmp_path / "r")
    before = (tmp_path / "r/checkpoints/last.h5").read_bytes()
    refused("train", small_job, "--run", tmp_path / "r", says=["--resume", "--overwrite"])
    assert (tmp_path / "r/checkpoints/last.h5").read_bytes() == before


def test_resuming_another_job_is_refused(small_job, tmp_path):
    run("train", small_job, "max_updates=2", "--run", tmp_path / "r")
    refused("train", small_job, "optimizer.lr=0.3", "--run", tmp_path / "r", "--resume",
            says=["cannot resume", "optimizer.lr"])
    refused("train", small_job, "model=cifar_resnet14", "--run", tmp_path / "r", "--resume", says=["model"])


def test_resuming_with_other_data_is_refused(small_job, tmp_path):
    run("train", small_job, "max_updates=2", "--run", tmp_path / "r")
    run("pack", write_idx(tmp_path / "idx", 500, 50), tmp_path / "other.h5", "--val", "100")
    refused("train", small_job, f"data={tmp_path / 'other.h5'}", "--run", tmp_path / "r", "--resume",
            says=["not the data set"])


def test_damaged_checkpoint_is_named(small_job, tmp_path):
    run("train", small_job, "max_updates=2", "--run", tmp_path / "r")
    path = tmp_path / "r/checkpoints/last.h5"
    whole = path.read_bytes()
    for damaged in (whole[:1000], whole[:-1], whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], b""):
        path.write_bytes(damaged)
        refused("train", small_job, "--run", tmp_path / "r", "--resume", says=["last.h5"])
        assert path.read_bytes() == damaged


def test_truncated_data_set(small_job, small_data, tmp_path):
    bytes_ = small_data.read_bytes()
    for size in (0, 100, len(bytes_) // 2, len(bytes_) - 1):
        (tmp_path / "cut.h5").write_bytes(bytes_[:size])
        refused("train", small_job, f"data={tmp_path / 'cut.h5'}", "--run", tmp_path / "r", says=["cut.h5"])


def test_flipped_bit_in_a_sample_names_it(small_job, small_data, tmp_path):
    """P14: no sample is silently replaced; in evaluation none is skipped."""
    path = tmp_path / "flipped.h5"
    shutil.copy(small_data, path)
    with h5py.File(path) as file:
        offset = file["data/00000"].id.get_offset() + int(file["index/offset"][7])
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x80]))
    for ranks in (1, 2):
        refused("train", small_job, f"data={path}", "--run", tmp_path / f"r{ranks}", ranks=ranks, says=["hash"])


@pytest.mark.parametrize("ranks", [1, 2])
def test_unwritable_folder(small_job, tmp_path, ranks):
    (tmp_path / "file").write_text("")
    refused("train", small_job, "--run", tmp_path / "file/run", ranks=ranks, says=["file"])


def test_too_few_values_for_batchnorm(small_data, tmp_path):
    """470 samples in batches of 67: the last microbatch has one, and ResNet-18 ends in 1 x 1 pixels at 28."""
    job = tmp_path / "tail.yaml"
    job.write_text(SMALL_JOB.format(data=small_data).replace("cifar_resnet8", "resnet18").replace("batch: 64", "batch: 67")
                   .replace("microbatch: 16", "microbatch: 67"))
    refused("train", job, "--run", tmp_path / "r", says=["drop_last"])
    run("train", job, "drop_last=true", "max_updates=1", "--run", tmp_path / "fine")


def test_json_stands_beside_every_checkpoint(small_job, tmp_path):
    """P24; what keep_best removes takes its JSON along."""
    run("train", small_job, "epochs=4", "--run", tmp_path / "r")
    folder = tmp_path / "r/checkpoints"
    files = {path.name for path in folder.iterdir() if not path.is_symlink()}
    checkpoints = {name for name in files if name.endswith(".h5")}
    assert "last.h5" in checkpoints and len(checkpoints) == 3
    assert files == checkpoints | {f"{name}.json" for name in checkpoints}
    with h5py.File(folder / "last.h5") as file:
        assert file["text/meta"][()].decode() == (folder / "last.h5.json").read_text()


def test_nan_stops_before_the_update(small_job, tmp_path):
    """P13: the run stops before the update and names the update and the first bad layer; no checkpoint holds NaN."""
    message = refused("train", small_job, "optimizer.lr=1000000", "optimizer.weight_decay=1000", "checkpoint.every=1", "--run",
                      tmp_path / "r", says=["was not applied", "not finite"])
    assert "update" in message and "epoch" in message
    with h5py.File(tmp_path / "r/checkpoints/last.h5") as file:
        assert np.isfinite(file["model/fc.weight"][()]).all()


def test_full_disk_keeps_the_run_going(small_job, tmp_path):
    """P12: the old files survive, the run goes on and says so loudly."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    result = subprocess.run(command("train", small_job, "epochs=1", "--run", tmp_path / "r"), capture_output=True,
                            text=True, env=environment(), preexec_fn=limit, timeout=120)
    assert "CHECKPOINT NOT WRITTEN" in result.stderr, result.stderr
    assert "epoch  1/1" in result.stdout
    assert not list((tmp_path / "r/checkpoints").glob("*"))


def test_no_memory_is_a_sentence(small_job, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))
    result = subprocess.run(command("train", small_job, "batch=65536", "microbatch=65536", "--run", tmp_path / "r"),
                            capture_output=True, text=True, env=environment(), preexec_fn=limit, timeout=60)
    assert result.returncode == 1
    assert "memory" in result.stderr or "allocate" in result.stderr, result.stderr


def test_launcher_mismatch(small_job, tmp_path):
    """P20: N processes that MPI sees as N worlds of one are refused with the command that works."""
    if shutil.which("mpiexec.mpich") is None:
        pytest.skip("no MPICH launcher")
    result = subprocess.run(["mpiexec.mpich", "-n", "2", LOCKSTEP, "train", str(small_job), "--run", str(tmp_path / "r")],
                            capture_output=True, text=True, env=environment(), timeout=60)
    assert result.returncode != 0
    assert "mpirun" in result.stderr, result.stderr
    assert not (tmp_path / "r").exists()
