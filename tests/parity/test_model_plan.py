"""lockstep plan: the compiled plan of a job, against torchvision's and the job's own figures."""

import json
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
    def run(model, size, *arguments, status=0):
        job = tmp_path / "job.yaml"
        job.write_text(JOB.format(model=model, size=size))
        done = subprocess.run(
            [build / "bin" / "lockstep", "plan", job, *arguments], capture_output=True, text=True, timeout=60
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
    text = plan("cifar_resnet8", 32, "--classes", "5", "--cores", "1")
    assert "batch 12 = 4 x 3" in text
    assert "layer3.0.downsample.0" in text and "fwd" in text and "bwd" in text and "nChw" in text
    assert "evaluation plan" in plan("cifar_resnet8", 32, "--classes", "5", "--evaluate")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--classes", "5", "model=cifar_resnet9"], "cifar_resnet"),
        (["--classes", "5", "batch=1", "microbatch=1", "model=resnet18"], "drop_last"),
        (["--classes", "5", "device=gpu"], "gpu"),
        ([], "absent.h5"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(plan, arguments, words):
    text = plan("cifar_resnet8", 32, *arguments, status=1)
    assert words in text and text.count("\n") == 1
