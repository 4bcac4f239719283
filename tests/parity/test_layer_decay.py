"""optimizer.layer_decay against timm's param_groups_layer_decay: the factor of every parameter's learning rate, seen in the first
update of Adam, which moves whatever has a gradient, however small, by its learning rate."""

import numpy as np
import pytest
import timm
from test_train_torch import CLASSES, packed, train
from timm.optim import param_groups_layer_decay

__all__ = ["packed"]  # the fixture
DECAY = 0.5
SETTINGS = ["max_updates=1", "optimizer.kind=adam", "optimizer.epsilon=1e-30", "optimizer.lr=0.01", "optimizer.weight_decay=0",
            "schedule.kind=constant", "schedule.warmup_epochs=0", "batch=16", "microbatch=16", "input.size=32", "input.resize=stretch"]
MODELS = ["resnet18", "efficientnet_b0", "mobilenetv3_large_100"]


def timms_factors(name):
    model = timm.create_model(name, num_classes=CLASSES, in_chans=1)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    groups = param_groups_layer_decay(model, weight_decay=0, layer_decay=DECAY)
    return {names[id(parameter)]: group["lr_scale"] for group in groups for parameter in group["params"]}


@pytest.mark.parametrize("model", MODELS)
def test_factors_are_timms(model, build, packed, tmp_path):
    def weights(name, *overrides):
        (tmp_path / name).mkdir()
        tensors, _, _ = train(build, packed, tmp_path / name, f"model={model}", *SETTINGS, *overrides)
        return {key: value for key, value in tensors.items() if "running" not in key}

    start = weights("start", "optimizer.lr=0")
    full = weights("full")
    decayed = weights("decayed", f"optimizer.layer_decay={DECAY}")
    expected = timms_factors(model)
    assert start.keys() == expected.keys()
    for name, factor in expected.items():
        step = full[name] - start[name]
        assert np.abs(step).max() > 0.009, f"{name} moves"
        seen = np.sum((decayed[name] - start[name]) * step) / np.sum(step * step)
        assert abs(seen / factor - 1) <= 1e-4, f"{name}: {seen} where timm has {factor}"
