"""lockstep plan: the compiled plan of a job, against torchvision's and the job's own figures."""

import csv
import json
import os
import subprocess

import pytest
import torch
from model_oracle import make_model

JOB = """
data: absent.h5
model: {model}
epochs: 1
batch: 12
microbatch: 3
input: {{size: {size}, resize: none}}
"""


@pytest.fixture
def plan(build, tmp_path):
    def run(model, size, *arguments, status=0, **variables):
        job = tmp_path / "job.yaml"
        job.write_text(JOB.format(model=model, size=size))
        done = subprocess.run(
            [build / "bin" / "lockstep", "plan", job, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **variables},
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    return run


def convolution_macs(name, size, classes):
    """Multiply-adds of one image's convolutions and classifier, counted by hooks on PyTorch's layers."""
    total = 0

    def count(module, inputs, output):
        nonlocal total
        per_output = module.weight[0].numel()
        total += output.numel() * per_output

    model = make_model(name, classes).eval()
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 3, size, size, dtype=torch.float64))
    return total, sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name, size", [("resnet18", 224), ("resnet50", 224), ("cifar_resnet20", 32)])
def test_json_counts_what_pytorch_counts(plan, name, size):
    found = json.loads(plan(name, size, "--classes", "7", "--json", "--cores", "2"))
    macs, params = convolution_macs(name, size, 7)
    calls = found["plan"]["calls"]
    forward = [c for c in calls if c["pass"] == "fwd" and c["op"] in ("conv2d", "linear")]
    # Two flops a multiply-add; windows over padding count fewer, a bias adds one.
    assert sum(c["flops"] for c in forward) == pytest.approx(3 * 2 * macs, rel=0.07)
    assert found["plan"]["parameters"] == params
    assert [r["ranks"] for r in found["ranks"]] == [1, 2, 4]
    assert [r["accumulated"] for r in found["ranks"]] == [4, 2, 1]
    assert [r["lanes"] for r in found["ranks"]] == [2, 2, 1]
    # Values of one shape follow from the layers: none is missing, in either pass.
    layers = {c["layer"] for c in calls if c["pass"] == "fwd"}
    assert {c["layer"] for c in calls if c["pass"] == "bwd"} == layers - {"input"}
    assert found["plan"]["arena_bytes"] <= 1.02 * found["plan"]["arena_lower_bound"]


def test_text_says_how_the_batch_is_cut(plan):
    text = plan("cifar_resnet8", 32, "--classes", "5", "--cores", "1", "--launches")
    assert "batch 12 = 4 x 3" in text
    assert "layer3.0.downsample.0" in text and "fwd" in text and "bwd" in text and "nChw" in text
    assert "evaluation plan" in plan("cifar_resnet8", 32, "--classes", "5", "--evaluate")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--classes", "5", "model=cifar_resnet9"], "cifar_resnet"),
        (["--classes", "5", "batch=1", "microbatch=1", "model=resnet18"], "drop_last"),
        (["--classes", "5", "device=gpu"], "gpu"),
        (["--classes", "5", "--device", "h200"], "h100, a100, this"),
        ([], "absent.h5"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(plan, arguments, words):
    text = plan("cifar_resnet8", 32, *arguments, status=1)
    assert words in text and text.count("\n") == 1


GPU = ["--classes", "1000", "--device", "h100", "compute=bfloat16", "batch=256", "microbatch=64"]
WITHOUT_CUDNN = {"LOCKSTEP_MODULES": "/nonexistent"}


def rows(text):
    return list(csv.DictReader(text.splitlines()))


def test_times_follow_the_model_that_is_stated(plan):
    """A launch 2.5 us, then the longer of bytes at 85% of 3.35 TB/s and operations at 60% of 989.4 TFLOP/s."""
    found = rows(plan("resnet50", 224, *GPU, "--csv", **WITHOUT_CUDNN))
    assert {row["stage"] for row in found} >= {"forward", "backward", "gradient sum", "optimizer", "refresh"}
    total = 0
    for row in found:
        work = max(float(row["bytes"]) / (0.85 * 3.35e12), float(row["flops"]) / (0.6 * 989.4e12))
        seconds = int(row["times"]) * (int(row["launches"]) * 2.5e-6 + work)
        assert float(row["predicted_us_of_all_times"]) == pytest.approx(seconds * 1e6, rel=1e-6, abs=1e-3)
        total += seconds
    passes = [row for row in found if row["stage"] in ("forward", "backward")]
    assert {int(row["times"]) for row in passes} == {4}
    assert {int(row["launches"]) for row in passes} == {1}  # a row each
    one = [row for row in passes if row["layer"] == "layer1.0.conv2"]
    assert [row["launch"] for row in one] == ["convolution", "weight gradient", "data gradient"]
    assert [float(row["operand_bytes"]) > 0 for row in one] == [True, True, False]  # of a call, on its first row
    said = json.loads(plan("resnet50", 224, *GPU, "--json", **WITHOUT_CUDNN))
    assert said["predicted"]["update_seconds"] == pytest.approx(total, rel=1e-6)
    assert said["ranks"][0]["predicted_images_per_second"] == pytest.approx(256 / total, rel=1e-6)
    # Four GPUs: a quarter of the microbatches and no sums, but an exchange.
    assert 2.5 < said["ranks"][2]["predicted_images_per_second"] * total / 256 < 4


def test_whatever_is_predicted_is_called_so(plan):
    found = json.loads(plan("resnet18", 224, *GPU, "--json", **WITHOUT_CUDNN))
    found.pop("predicted")

    def names(item):
        if isinstance(item, dict):
            return {*item, *(n for value in item.values() for n in names(value))}
        return {n for value in item for n in names(value)} if isinstance(item, list) else set()

    assert all(n.startswith("predicted") for n in names(found) if "second" in n)
    text = plan("resnet18", 224, *GPU, **WITHOUT_CUDNN)
    assert "predicted, not measured, for NVIDIA H100" in text and "predicted images/s" in text
    header = plan("resnet18", 224, *GPU, "--csv", **WITHOUT_CUDNN).splitlines()[0]
    assert [n for n in header.split(",") if "us" in n.split("_")] == ["predicted_us_of_all_times"]
    assert "predicted" not in plan("resnet18", 224, "--classes", "9", "--device", "cpu")


def test_cudnn_changes_engines_not_work(plan, build):
    """With the CUDA module cuDNN names engines and workspaces; calls, launches, bytes and flops stay."""
    if not (build / "lib/lockstep/lockstep_cuda.so").exists():
        pytest.skip("this build has no CUDA module")
    asked, alone = (rows(plan("resnet18", 224, *GPU, "--csv", **v)) for v in ({}, WITHOUT_CUDNN))
    keys = ["stage", "layer", "kind", "times", "launches", "bytes", "flops"]
    assert [[row[k] for k in keys] for row in asked] == [[row[k] for k in keys] for row in alone]
    assert any("cudnn:engine" in row["implementation"] for row in asked)


def test_the_largest_microbatch_fits_and_the_next_does_not(plan):
    for microbatch in (1 << 15, 64):  # one that does not fit and one that does
        sizes = [f"batch={microbatch}", f"microbatch={microbatch}", "evaluate.batch=64"]
        found = json.loads(plan("resnet50", 224, *GPU, *sizes, "--json", **WITHOUT_CUDNN))["predicted"]
        largest = found["largest_microbatch"]
        assert 1024 < largest < 1 << 15 and largest == found["microbatches"][-1]["microbatch"]
        assert found["microbatches"][-1]["bytes"] <= 85017493504 - 1e9
    sizes = [f"batch={largest + 8}", f"microbatch={largest + 8}", "evaluate.batch=64"]
    assert "does not fit" in plan("resnet50", 224, *GPU, *sizes, **WITHOUT_CUDNN)


def test_the_bound_is_the_least(plan):
    def predicted(*arguments):
        return json.loads(plan("resnet18", 224, *GPU, "--json", *arguments, **WITHOUT_CUDNN))["predicted"]

    few, many = predicted("--cores", "2", "--loader-rate", "300"), predicted("--cores", "512", "--loader-rate", "300")
    assert (few["bound"], few["images_per_second"]) == ("loader", 600)
    assert many["bound"] == "GPU" and many["images_per_second"] == many["gpu_images_per_second"]
    assert many["cores_needed"] == pytest.approx(many["gpu_images_per_second"] / 300)
