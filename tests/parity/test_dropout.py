"""Dropout of a whole model has the rate that was asked for: the logits' spread is what that rate predicts."""

import numpy as np
import pytest
import torch
from model_oracle import Job, get_state, make_images, make_model, normalise, rounded, set_state

NAME, ROWS = "mobilenetv3_large_100", 96


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_spread_of_logits(tool, device, rate):
    """z = logits with dropout - logits without, over the standard deviation sqrt(rate / (1 - rate) sum (w x)^2): its mean
    is 0 and its square's mean 1. Over 96 rows of 10 classes, correlated within a row, the latter is known to about 0.1;
    the nearest other rate tested would be off by a factor of 4."""
    job = Job(NAME, device=device, height=32, width=32, batch=ROWS, write_grads=0, write_params=0, seed=5)
    model = make_model(NAME, job.classes)
    state = rounded(get_state(model))
    state["classifier.weight"] *= 20  # nearer to what training makes of them
    set_state(model, state)
    images, labels = make_images(ROWS, 32, job.classes)
    with torch.no_grad():
        features = model.train().forward_head(model.forward_features(normalise(images, torch.float64)), pre_logits=True)
    weight = state["classifier.weight"]
    spread = np.sqrt(rate / (1 - rate) * (features.numpy() ** 2) @ (weight.T**2))
    logits = []
    for job.dropout in (0.0, rate, rate):
        with tool.run(job, state, images, labels) as out:
            logits.append(out["logits/0"][...])
    assert np.array_equal(logits[1], logits[2])  # the same draws again
    z = (logits[1] - logits[0]) / spread
    assert abs(z.mean()) <= 0.2
    assert 0.6 <= (z**2).mean() <= 1.5
