"""What people watch: the progress line on a terminal (here a pseudo-terminal), in a pipe, and TensorBoard's scalars and pictures."""
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import termios

import h5py
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from conftest import command, environment, run


def on_terminal(words, columns, **extra):
    """The standard error of a command whose terminal has so many columns (0: it does not say)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {**environment(), "TERM": "xterm", **extra}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs, env=env)
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        text += part
    os.close(ours)
    assert process.wait(timeout=60) == 0, text
    return text.decode()


def frames(text):
    """The texts that were drawn over each other."""
    return [frame for frame in re.findall(r"\r([^\r\n\x1b]+)\x1b\[K", text)]


def train(job, folder):
    return command("train", job, "epochs=3", "--run", folder)


def test_line_of_a_training(small_job, tmp_path):
    text = on_terminal(train(small_job, tmp_path / "run"), 120, NO_COLOR="1")
    shown = frames(text)
    assert not re.search(r"\x1b\[[\d;]*m", text)
    assert shown
    for frame in shown:
        assert re.fullmatch(r"train (\[[#.]+\] +)?\d+% \d+/8 [\d.]+ updates/s \d+:\d\d left data wait [\d.]+% \d+ MiB", frame.strip()), frame
    share = [float(re.search(r"wait ([\d.]+)%", frame).group(1)) for frame in shown]
    memory = [int(re.search(r"(\d+) MiB", frame).group(1)) for frame in shown]
    assert all(0 <= value <= 100 for value in share) and all(10 < value < 10000 for value in memory)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert max(memory) <= max(line["peak_memory_mib"] for line in lines if line["type"] == "epoch") + 1


@pytest.mark.parametrize("columns, extra, width", [(60, {}, 60), (12, {}, 12), (0, {"COLUMNS": "36"}, 36)])
def test_narrow_terminals(small_job, tmp_path, columns, extra, width):
    text = on_terminal(train(small_job, tmp_path / "run"), columns, **extra)
    shown = frames(text)
    # The last column stays free, so that no line wraps; what is left out goes as a whole.
    assert shown and all(len(frame) < width for frame in shown), shown
    assert all(re.search(r"\d+/8", frame) for frame in shown)
    assert any("left" in frame for frame in shown) == (width >= 60) and not any("data wait" in frame for frame in shown)


def test_a_dumb_terminal_and_a_pipe_get_plain_lines(small_job, tmp_path):
    text = on_terminal(train(small_job, tmp_path / "dumb"), 100, TERM="dumb")
    assert "\x1b" not in text and not frames(text)
    done = run("train", small_job, "--run", tmp_path / "pipe")
    assert "\x1b" not in done.stderr + done.stdout and "\r" not in done.stderr + done.stdout


def events_of(folder):
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto import event_pb2

    [path] = folder.glob("events.out.tfevents.*")
    for raw in RawEventFileLoader(str(path)).Load():
        event = event_pb2.Event.FromString(raw)
        for value in event.summary.value:
            yield value.tag, event.step, value


def test_tensorboard_shows_rates_and_confusions(small_job, tmp_path):
    """The learning rate of every update; the confusion of each best epoch and of the end, as a picture whose colours are the shares of the
    rows: those of predictions.h5."""
    run("train", small_job, "--run", tmp_path / "run")
    events = list(events_of(tmp_path / "run"))
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    rates = [(step, value.simple_value) for tag, step, value in events if tag == "train/lr"]
    assert rates == [(line["update"], np.float32(line["lr"])) for line in lines if line["type"] == "update"] and len(rates) == 16
    pictures = {(tag, step): value.image for tag, step, value in events if value.HasField("image")}
    bests = set()
    for line in lines:
        if line["type"] == "epoch" and line["epoch"] in (line["best"]["loss_epoch"], line["best"]["f1_epoch"]):
            bests.add(("validation/confusion", line["update"]))
    assert {key for key in pictures if key[0] == "validation/confusion"} == bests
    with h5py.File(tmp_path / "run/predictions.h5") as file:
        for group in ("best_f1/validation", "best_f1/test", "best_loss/validation", "best_loss/test"):
            matrix = confusion_matrix(file[group]["label"], file[group]["logits"][()].argmax(1), labels=range(10))
            picture = pictures[f"{group}/confusion", 16]
            image = Image.open(io.BytesIO(picture.encoded_image_string))
            assert image.mode == "RGB" and image.size == (picture.width, picture.height) and picture.colorspace == 3
            assert_drawn(np.asarray(image), matrix)


def assert_drawn(pixels, matrix):
    """The colour at the upper left of each cell, where no letter is."""
    cell = 64
    origin = pixels.shape[0] - cell * len(matrix)
    corners = pixels[origin + 1 :: cell, origin + 1 :: cell][: len(matrix), : len(matrix)].astype(float)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    expected = 255 + (np.array([0, 114, 178]) - 255) * share[..., None]
    assert corners.shape == expected.shape and np.abs(corners - expected).max() <= 1
