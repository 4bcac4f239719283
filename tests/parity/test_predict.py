"""predict and eval from end to end: order, quoting, columns, bad images, classes by name, metrics by scikit-learn."""

import csv
import json
import os
import pathlib
import subprocess

import h5py
import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

BUILD = pathlib.Path(os.environ["LOCKSTEP_BUILD"])
LOCKSTEP = BUILD / "bin" / "lockstep"
CLASSES = ["class 0", "class 1", "class 2", "class 3"]


def run(*words, code=0):
    done = subprocess.run([LOCKSTEP, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    if code != 0:
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("lockstep: ") and len(done.stderr.strip().splitlines()) <= 3, done.stderr
    return done


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def save_image(path, seed):
    rng = np.random.default_rng(seed)
    size = rng.integers(40, 90, size=2)
    pixels = rng.integers(0, 255, size=(3, 3, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(tuple(int(v) for v in size)).save(path, quality=95)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("predict")
    model = root / "model.h5"
    subprocess.run(
        [BUILD / "bin" / "make_checkpoint", model, "--model", "cifar_resnet8", "--size", "32", "--classes", "4"], check=True
    )
    images = root / "images"
    names = ["b.jpg", "a/2.png", "a/10.webp", 'a/with, "quotes".jpg', "B.JPG", ".hidden.jpg", ".dir/x.jpg"]
    for seed, name in enumerate(names):
        save_image(images / name, seed)
    (images / "notes.txt").write_text("not an image")
    return root, model, images


@pytest.fixture(scope="module")
def dataset(world):
    """Test split with classes of different support; "class 3" has none."""
    root, _, _ = world
    source = root / "photos"
    seed = 100
    for split, counts in {"train": [2, 2, 2, 2], "test": [20, 5, 11, 0]}.items():
        for name, count in zip(CLASSES, counts):
            (source / split / name).mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                seed += 1
                save_image(source / split / name / f"{seed}.jpg", seed)
    packed = root / "photos.h5"
    listing = root / "photos.csv"
    with open(listing, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["path", "label", "split"])
        for path in sorted(source.glob("*/*/*.jpg")):
            out.writerow([path, path.parent.name, path.parent.parent.name])
    run("pack", listing, packed, "--split-col", "split")
    return packed, listing


def test_folder_order_and_quoting(world):
    root, model, images = world
    out = root / "folder.csv"
    done = run("predict", model, images, "-o", out)
    table = rows(out)
    assert table[0] == ["path", "class", "probability"]
    wanted = ["B.JPG", "a/10.webp", "a/2.png", 'a/with, "quotes".jpg', "b.jpg"]
    assert [row[0] for row in table[1:]] == [f"{images}/{name}" for name in wanted]
    assert all(row[1] in CLASSES and 0.25 <= float(row[2]) <= 1 for row in table[1:])
    assert "ignored 1 file(s)" in done.stderr
    assert b'"' + str(images).encode() + b'/a/with, ""quotes"".jpg"' in out.read_bytes()


def test_input_order_is_kept_and_batches_leave_no_trace(world):
    root, model, images = world
    inputs = [images / "b.jpg", images / "a", images / "b.jpg", images / "B.JPG"]
    outputs = []
    for batch, workers, threads in [(1, 1, 1), (2, 3, 1), (7, 2, 2)]:
        out = root / f"order{batch}.csv"
        run("predict", model, *inputs, "-o", out, "--batch", batch, "--workers", workers, "--threads", threads)
        outputs.append(rows(out))
    names = [row[0].removeprefix(str(images) + "/") for row in outputs[0][1:]]
    assert names == ["b.jpg", "a/10.webp", "a/2.png", 'a/with, "quotes".jpg', "b.jpg", "B.JPG"]
    for other in outputs[1:]:
        assert [row[:2] for row in other] == [row[:2] for row in outputs[0]]
        for ours, theirs in zip(outputs[0][1:], other[1:]):
            assert abs(float(ours[2]) - float(theirs[2])) <= 1e-5


def test_columns(world):
    root, model, images = world
    out = root / "columns.csv"
    spec = "class=prediction,path=file,probability,class_2=second,probability_2,index,index_4,probabilities,label"
    run("predict", model, images / "a", "-o", out, "--columns", spec)
    table = rows(out)
    assert table[0] == ["prediction", "file", "probability", "second", "probability_2", "index", "index_4", *CLASSES, "label"]
    for row in table[1:]:
        probabilities = np.array(row[7:11], dtype=float)
        order = np.argsort(-probabilities, kind="stable")
        assert abs(probabilities.sum() - 1) <= 1e-6
        assert row[0] == CLASSES[order[0]] and row[3] == CLASSES[order[1]]
        assert float(row[2]) == probabilities[order[0]] and float(row[4]) == probabilities[order[1]]
        assert (int(row[5]), int(row[6])) == (order[0], order[3]) and row[11] == ""
    run("predict", model, images / "b.jpg", "-o", out, "--topk", 3)
    assert rows(out)[0] == ["path", "class", "probability", "class_2", "probability_2", "class_3", "probability_3"]


def test_reference_device_agrees(world):
    root, model, images = world
    out = root / "device.csv"
    tables = []
    for device in ["cpu", "reference"]:
        run("predict", model, images, "-o", out, "--columns", "probabilities", "--device", device)
        tables.append(np.array(rows(out)[1:], dtype=float))
    assert np.max(np.abs(tables[0] - tables[1])) <= 1e-5


def test_csv_list_and_data_set_give_the_same(world, dataset):
    root, model, _ = world
    packed, listing = dataset
    a, b = root / "a.csv", root / "b.csv"
    run("predict", model, listing, "-o", a, "--columns", "class,probabilities")
    run("predict", model, packed, "-o", b, "--columns", "class,probabilities")
    assert sorted(rows(a)) == sorted(rows(b))
    run("predict", model, packed, "-o", b, "--split", "test", "--columns", "path,label")
    table = rows(b)[1:]
    assert len(table) == 36 and all(pathlib.Path(path).parent.name == label for path, label in table)


def test_list_paths_start_from_its_folder_or_images(world):
    root, model, images = world
    listing = images / "list.csv"
    listing.write_text("name,path\nx,b.jpg\ny,a/2.png\n")
    assert [r[0] for r in csv.reader(run("predict", model, listing).stdout.splitlines())] == ["path", "b.jpg", "a/2.png"]
    other = root / "list.csv"
    other.write_text("file\nb.jpg\n")
    run("predict", model, other, "--path-col", "file", "--images", images)
    assert 'no column "path": its columns are file' in run("predict", model, other, code=1).stderr
    listing.unlink()


def test_bad_images(world):  # P14
    root, model, images = world
    folder = root / "bad"
    folder.mkdir()
    whole = (images / "b.jpg").read_bytes()
    (folder / "1.jpg").write_bytes(whole)
    (folder / "2.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "3.png").write_bytes(b"")
    (folder / "4.jpg").write_bytes(b"hello")
    (folder / "5.jpg").symlink_to(folder / "nowhere.jpg")
    os.mkfifo(folder / "6.jpg")
    (folder / "7.jpg").write_bytes(whole)
    out = folder / "out.csv"
    out.write_text("before")
    done = run("predict", model, folder, "-o", out, code=1)
    assert f"{folder}/2.jpg: " in done.stderr and "--on-bad=skip" in done.stderr
    assert out.read_text() == "before" and [p.name for p in folder.iterdir() if "tmp" in p.name] == []
    done = run("predict", model, folder, "-o", out, "--on-bad", "skip")
    assert [pathlib.Path(r[0]).name for r in rows(out)[1:]] == ["1.jpg", "7.jpg"]
    for name in ["2.jpg", "3.png", "4.jpg", "5.jpg", "6.jpg"]:
        assert f"skipped {folder}/{name}: " in done.stderr
    assert "5 of 7 images were skipped" in done.stderr
    assert "none of the 1 images" in run("predict", model, folder / "4.jpg", "--on-bad", "skip", code=1).stderr


def test_wrong_usage(world, dataset):
    root, model, images = world
    packed, _ = dataset
    image = images / "b.jpg"
    assert "did you mean 'class'?" in run("predict", model, image, "--columns", "clas", code=2).stderr
    assert "4 classes" in run("predict", model, image, "--columns", "class_5", code=2).stderr
    assert "4 classes" in run("predict", model, image, "--topk", 5, code=2).stderr
    assert "class_2" in run("predict", model, image, "--topk", 2, "--columns", "class", code=2).stderr
    assert "predict CHECKPOINT" in run("predict", model, code=2).stderr
    assert "nothing.jpg: No such file" in run("predict", model, "nothing.jpg", code=1).stderr
    assert "nothing.h5" in run("predict", "nothing.h5", image, code=1).stderr
    assert "is not a checkpoint" in run("predict", packed, image, code=1).stderr
    assert "is not a data set" in run("predict", model, model, code=1).stderr
    assert "holds no samples of that split" in run("predict", model, packed, "--split", "validation", code=1).stderr
    empty = root / "empty"
    empty.mkdir()
    assert "holds no images" in run("predict", model, empty, code=1).stderr
    assert "cannot create" in run("predict", model, image, "-o", "/nowhere/out.csv", code=1).stderr
    assert "'cuda9'" in run("predict", model, image, "--device", "cuda9", code=1).stderr
    assert "eval CHECKPOINT DATA" in run("eval", model, code=2).stderr
    assert 'unknown split "testing2"' in run("eval", model, packed, "--split", "testing2", code=1).stderr
    assert "no samples of the split 'validation'" in run("eval", model, packed, "--split", "validation", code=1).stderr


def read_predictions(path):
    with h5py.File(path) as file:
        group = file["eval/test"]
        return group["label"][:], group["logits"][:].astype(float)


@pytest.mark.parametrize("batch", [1, 5, 32, 36, 64])
def test_eval_equals_scikit_learn(world, dataset, batch):  # P1, P2, P3
    root, model, _ = world
    packed, _ = dataset
    stored = root / "predictions.h5"
    words = ["eval", model, packed, "--batch", batch, "--predictions", stored]
    result = json.loads(run(*words, "--json").stdout)
    text = run(*words).stdout
    labels, logits = read_predictions(stored)
    predicted = logits.argmax(1)
    assert result["samples"] == 36 and result["split"] == "test"
    matrix = metrics.confusion_matrix(labels, predicted, labels=range(4))
    assert np.array_equal(result["confusion"], matrix)
    macro = metrics.f1_score(labels, predicted, average="macro", zero_division=0)
    assert abs(result["macro_f1"] - macro) <= 1e-12 and f"macro F1 {macro:.4f}" in text
    everything = metrics.f1_score(labels, predicted, average="macro", zero_division=0, labels=range(4))
    assert abs(result["macro_f1_all"] - everything) <= 1e-12
    assert abs(result["accuracy"] - metrics.accuracy_score(labels, predicted)) <= 1e-12
    shifted = logits - logits.max(1, keepdims=True)
    loss = np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(36), labels])
    assert abs(result["loss"] - loss) <= 1e-12
    assert [c["support"] for c in result["classes"]] == [20, 5, 11, 0]
    assert [c["name"] for c in result["classes"]] == CLASSES


def repack(root, listing, order, name):
    packed = root / name
    run("pack", listing, packed, "--split-col", "split", "--classes", ",".join(order), "--force")
    return packed


def test_classes_are_matched_by_name(world, dataset):  # P4
    root, model, _ = world
    packed, listing = dataset
    reordered = repack(root, listing, CLASSES[::-1], "reordered.h5")
    ours = json.loads(run("eval", model, packed, "--json").stdout)
    theirs = json.loads(run("eval", model, reordered, "--json").stdout)
    assert theirs["confusion"] == ours["confusion"] and theirs["macro_f1"] == ours["macro_f1"]
    text = listing.read_text().replace(",class 2,", ",trousers,")
    renamed = root / "renamed.csv"
    renamed.write_text(text)
    run("pack", renamed, root / "renamed.h5", "--split-col", "split")
    done = run("eval", model, root / "renamed.h5", code=1)
    assert "1 class(es) that the model does not know: 'trousers'" in done.stderr


def test_samples_without_labels_are_not_evaluated(world, dataset):
    root, model, images = world
    packed = root / "unlabelled.h5"
    folder = root / "plain"
    for seed in range(3):
        save_image(folder / f"{seed}.jpg", seed)
    run("pack", folder, packed)
    done = run("eval", model, packed, "--split", "predict", code=1)
    assert "has no label" in done.stderr and "predict" in done.stderr
    assert len(rows_of(run("predict", model, packed).stdout)) == 4


def rows_of(text):
    return list(csv.reader(text.splitlines()))
