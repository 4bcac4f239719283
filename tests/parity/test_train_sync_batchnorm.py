"""`sync_batchnorm: G` against PyTorch with microbatches G times larger, which is what torch.nn.SyncBatchNorm over G ranks
computes: normalisation, its gradient, and running statistics that move once a group (P23). The last window, 13 = 8 + 5, ends
before a group of 4 is full."""

import pytest
import torch
from model_oracle import assert_close, relative
from test_train_losses import run_torch, soft_f1_loss, start
from test_train_torch import TOLERANCE, packed, train
from torch.nn import functional as F

__all__ = ["packed", "start"]  # fixtures


def cross_entropy(logits, labels, _):
    return F.cross_entropy(logits, labels, label_smoothing=0.1)


def compare(build, packed, start, folder, group, overrides=(), loss=cross_entropy, ranks=1, torch_group=None):
    model, losses, validation = run_torch(start, packed, loss, microbatch=8 * (torch_group or group))
    tensors, _, lines = train(build, packed, folder, "epochs=1", f"sync_batchnorm={group}", *overrides, ranks=ranks)
    seen = [line["loss"] for line in lines if line["type"] == "update"]
    assert relative(seen, losses) <= TOLERANCE, f"losses {seen}, PyTorch's {losses}"
    expected = {k: v.double().numpy() for k, v in model.state_dict().items() if "num_batches" not in k}
    assert_close(tensors, expected, TOLERANCE, "parameters and running statistics")
    epoch = next(line for line in lines if line["type"] == "epoch")
    assert relative(epoch["validation"]["loss"], validation) <= TOLERANCE


@pytest.mark.parametrize("group,ranks", [(2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (2, 4)])
def test_a_group_is_one_larger_microbatch(build, packed, start, tmp_path, group, ranks):
    compare(build, packed, start, tmp_path, group, ranks=ranks)


@pytest.mark.parametrize("ranks", [1, 2])
def test_with_f1_over_the_window(build, packed, start, tmp_path, ranks):
    """Both passes meet."""
    compare(build, packed, start, tmp_path, 2, ["loss.f1=0.5"], ranks=ranks,
            loss=lambda z, y, n: cross_entropy(z, y, n) + 0.5 * soft_f1_loss(z, y))


def test_groups_of_one_are_no_groups(build, packed, start, tmp_path):
    compare(build, packed, start, tmp_path, 1)


def test_another_group_differs(build, packed, start, tmp_path):
    """The comparison can fail."""
    with pytest.raises(AssertionError):
        compare(build, packed, start, tmp_path, 2, torch_group=1)

