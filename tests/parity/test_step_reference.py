"""The reference device follows PyTorch float64 (P5: k microbatches give the update of accumulation)."""

import numpy as np
import pytest
from model_oracle import Job, Oracle, assert_close, get_state, make_images, make_model, read_group, relative

TOLERANCE = 1e-9


def compare(tool, job, check_every=1):
    state = get_state(make_model(job.model, job.classes))
    images, labels = make_images(job.samples, job.height, job.classes)
    oracle = Oracle(job, state)
    window = job.microbatches * job.batch
    worst = 0.0
    with tool.run(job, state, images, labels) as out:
        for step in range(job.steps):
            part = slice(step * window, (step + 1) * window)
            losses, logits = oracle.gradients(images[part], labels[part])
            leaves = range(step * job.microbatches, (step + 1) * job.microbatches)
            ours = np.concatenate([out[f"losses/{leaf}"][...] for leaf in leaves])
            error = relative(ours, losses)
            assert error <= TOLERANCE, f"step {step}: losses differ by {error:.2e}"
            ours = np.concatenate([out[f"logits/{leaf}"][...] for leaf in leaves])
            error = relative(ours, logits)
            assert error <= TOLERANCE, f"step {step}: logits differ by {error:.2e}"
            if job.write_grads:
                assert_close(read_group(out[f"grads/{step}"]), oracle.grads(), TOLERANCE, f"step {step}, gradients")
            oracle.step()
            theirs = get_state(oracle.model)
            stats = {k: v for k, v in theirs.items() if "running" in k}
            params = {k: v for k, v in theirs.items() if "running" not in k}
            assert_close(read_group(out[f"stats/{step}"]), stats, TOLERANCE, f"step {step}, running statistics")
            if job.write_params and (step + 1) % job.write_params == 0:
                error = assert_close(read_group(out[f"params/{step}"]), params, TOLERANCE, f"step {step}, parameters")
                worst = max(worst, error)
    print(f"{job.model}: worst relative error of a parameter {worst:.2e}")


def test_cifar_resnet8_every_gradient(tool):
    compare(tool, Job("cifar_resnet8", height=32, width=32, steps=3))


@pytest.mark.parametrize("nesterov", [0, 1])
def test_accumulated_microbatches(tool, nesterov):
    compare(tool, Job("cifar_resnet8", height=24, width=24, batch=4, microbatches=4, steps=3, nesterov=nesterov))


def test_three_leaves_make_a_lopsided_tree(tool):
    compare(tool, Job("cifar_resnet8", height=16, width=16, batch=4, microbatches=3, steps=2, smoothing=0.0))


def test_bottleneck(tool):
    compare(tool, Job("resnet50", height=32, width=32, batch=4, steps=1, write_params=1))


def test_resnet18_ten_free_running_steps(tool):
    compare(tool, Job("resnet18", steps=10, write_grads=0, write_params=5))


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_lite0", "mobilenetv3_large_100"])
def test_mobile_families(tool, name):
    compare(tool, Job(name, height=48, width=48, batch=4, steps=1))


def test_momentum_of_batchnorm(tool):
    compare(tool, Job("cifar_resnet8", height=16, width=16, batch=4, steps=2, bn_momentum=0.01, write_params=0))
