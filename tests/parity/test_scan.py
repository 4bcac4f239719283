"""lockstep scan on photographs with planted faults, and its label errors against cleanlab (P18)."""

import csv
import importlib.resources
import json
import os
import pathlib
import random
import re
import subprocess

import h5py
import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from threadpoolctl import threadpool_limits
from test_compare import needs_chromium, open_page

COPIES = 40  # of each kind


def scan(build, *words, code=0):
    done = subprocess.run([build / "bin" / "lockstep", "scan", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def scan_json(build, *words, code=0):
    return json.loads(scan(build, *words, "--json", code=code).stdout)


def groups_of(result):
    """{source: (number of its group, match)}"""
    return {image["source"]: (number, image["match"]) for number, group in enumerate(result["duplicates"]) for image in group["images"]}


def sources(images):
    return sorted(image["source"] for image in images)


class Planted:
    """400 photographs, and what was done to some of them. truth[kind]: {copy: original}."""

    def __init__(self, photos, folder):
        self.folder, self.rng, self.truth = folder, random.Random(7), {}
        originals = sorted(photos.glob("*/*/*.jpg"))
        pair = ["train/shorts/6075b4a5-5b1a-4ce0-aea0-9dbfbca7c35c.jpg", "train/skirt/637a56e4-7fa6-4f75-8859-0f8902461554.jpg"]
        self.originals = sorted(path for path in self.rng.sample(originals, 400) if str(path.relative_to(photos)) not in pair)
        for path in self.originals:
            link = folder / path.relative_to(photos)
            link.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(path, link)
        self.names = [str(path.relative_to(photos)) for path in self.originals]
        train = [name for name in self.names if name.startswith("train/")]
        chosen = iter(self.rng.sample(train, 3 * COPIES + 12))
        for i in range(COPIES):
            self.plant("encoded", next(chosen), f"q{i}.jpg", lambda image, path: image.save(path, quality=self.rng.randint(40, 90)))
            self.plant("resized", next(chosen), f"r{i}.jpg", self.save_resized)
        for i in range(COPIES // 4):
            self.plant("pixels", next(chosen), f"p{i}.png", lambda image, path: image.save(path))
        for i in range(COPIES // 4):
            self.plant("bytes", next(chosen), f"b{i}.jpg", None)
        self.plant("leak", next(chosen), "leak.jpg", None, folder="validation")
        self.plant("labels", next(chosen), "other.jpg", None, folder="train", other_class=True)
        self.plant_oddities()

    def plant(self, kind, name, suffix, save, folder=None, other_class=False):
        split, label, _ = name.split("/")
        label = ("hat" if label != "hat" else "dress") if other_class else label
        copy = f"{folder or split}/{label}/zz-{suffix}"
        path = self.folder / copy
        path.parent.mkdir(parents=True, exist_ok=True)
        if save is None:
            path.write_bytes((self.folder / name).read_bytes())
        else:
            save(Image.open(self.folder / name).convert("RGB"), path)
        self.truth.setdefault(kind, {})[copy] = name

    def save_resized(self, image, path):
        factor = self.rng.uniform(0.5, 1)
        filters = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]
        image.resize((round(image.width * factor), round(image.height * factor)), self.rng.choice(filters)).save(path, quality=90)

    def plant_oddities(self):
        folder = self.folder / "train" / "hat"
        photo = Image.open(self.originals[0]).convert("RGB")
        bytes_ = self.originals[1].read_bytes()
        folder.joinpath("zz-cut.jpg").write_bytes(bytes_[: len(bytes_) // 2])
        folder.joinpath("zz-text.jpg").write_text("no image")
        Image.new("RGB", (300, 400), (255, 255, 255)).save(folder / "zz-white.png")
        Image.new("RGB", (300, 400), (3, 3, 4)).save(folder / "zz-black.jpg")
        grey = Image.open(self.originals[2]).convert("L")
        grey.crop((0, 0, grey.width, grey.height // 2)).save(folder / "zz-grey.jpg")
        photo.crop((40, 40, 90, 100)).save(folder / "zz-small.png")
        photo.crop((0, 150, 400, 200)).resize((1600, 200)).save(folder / "zz-wide.jpg")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return Planted(pathlib.Path(os.environ["LOCKSTEP_PHOTOS"]), tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def result(build, planted):
    return scan_json(build, planted.folder, code=1)


def test_exact_copies_are_all_found(planted, result):
    groups = groups_of(result)
    for kind, match in [("bytes", "same bytes"), ("leak", "same bytes"), ("labels", "same bytes"), ("pixels", "same pixels")]:
        for copy, original in planted.truth[kind].items():
            assert groups[copy][0] == groups[original][0], copy
            # Which of the two comes first depends on their names.
            assert {groups[copy][1], groups[original][1]} == {"first", match}, copy


def test_encoded_and_resized_copies_are_found_without_false_alarms(planted, result):
    groups = groups_of(result)
    found = {}
    for kind in ("encoded", "resized"):
        copies = planted.truth[kind]
        found[kind] = sum(copy in groups and original in groups and groups[copy][0] == groups[original][0] for copy, original in copies.items())
        assert found[kind] >= 0.95 * len(copies), found
    copies = {copy: original for kind in planted.truth.values() for copy, original in kind.items()}
    pairs = {frozenset(pair) for pair in copies.items()}
    false = [group for group in result["duplicates"] if frozenset(sources(group["images"])) not in pairs]
    assert len(false) < 0.01 * len(planted.names), false
    images = result["images"]
    assert result["pairs_correlated"] < 0.05 * images * images / 2


def test_groups_say_what_they_spoil(planted, result):
    leaks = [group for group in result["duplicates"] if group["across_splits"]]
    labels = [group for group in result["duplicates"] if group["labels_differ"]]
    [(leak, origin)], [(other, first)] = planted.truth["leak"].items(), planted.truth["labels"].items()
    assert [sources(group["images"]) for group in leaks] == [sorted([leak, origin])]
    assert sorted([other, first]) in [sources(group["images"]) for group in labels]


def test_oddities(planted, result):
    assert sources(result["unreadable"]) == ["train/hat/zz-cut.jpg", "train/hat/zz-text.jpg"]
    assert all(image["reason"] for image in result["unreadable"])
    assert sources(result["blank"]) == ["train/hat/zz-black.jpg", "train/hat/zz-white.png"]
    grey = sources(result["grey"])
    assert "train/hat/zz-grey.jpg" in grey
    assert all(np.ptp(np.asarray(Image.open(planted.folder / name).convert("RGB")), axis=2).mean() < 3 for name in grey)
    assert sources(result["size"]) == ["train/hat/zz-small.png"] and result["size"][0]["deviations"] < -3.5
    assert "train/hat/zz-wide.jpg" in sources(result["aspect"])
    for image in result["aspect"]:
        shape = Image.open(planted.folder / image["source"]).size
        assert (image["width"], image["height"]) == shape and image["value"] == pytest.approx(max(shape) / min(shape))


def test_classes_are_counted(planted, result):
    counts, files = {}, [path.relative_to(planted.folder).parts for path in planted.folder.glob("*/*/*")]
    for split, label, _ in files:
        counts[label, split] = counts.get((label, split), 0) + 1
    for item in result["classes"]:
        assert [item[split] for split in ("train", "validation", "test")] == [counts.get((item["name"], s), 0) for s in ("train", "validation", "test")]
        assert item["absent_in"] == [s for s in ("train", "validation", "test") if not counts.get((item["name"], s))]
    train = np.array([item["train"] for item in result["classes"]])
    share = train / train.sum()
    assert result["imbalance"] == pytest.approx(train.max() / train.min())
    assert result["effective_classes"] == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_threads_and_forms_of_the_data_do_not_matter(build, planted, result, tmp_path):
    one = scan_json(build, planted.folder, "--workers", 1, code=1)
    three = scan_json(build, planted.folder, "--workers", 3, code=1)
    for other in (one, three):
        # Pairs whose sets are joined already are not compared again: how many those are depends on the order.
        assert {**other, "seconds": 0, "pairs_correlated": 0} == {**result, "seconds": 0, "pairs_correlated": 0}
    subprocess.run([build / "bin" / "lockstep", "pack", planted.folder, tmp_path / "packed.h5", "--on-bad", "skip"], check=True, capture_output=True)
    packed = scan_json(build, tmp_path / "packed.h5")
    assert packed["unreadable"] == [] and packed["images"] == result["images"] - 2
    with open(tmp_path / "list.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "kind", "part"])
        for path in sorted(planted.folder.glob("*/*/*")):
            split, label, name = path.relative_to(planted.folder).parts
            rows.writerow([f"{split}/{label}/{name}", label, split])
    words = ["--path-col", "image", "--label-col", "kind", "--split-col", "part", "--images", planted.folder]
    listed = scan_json(build, tmp_path / "list.csv", *words, code=1)
    for other in (packed, listed):
        found = {tuple(sources(group["images"])): (group["match"], group["across_splits"], group["labels_differ"]) for group in other["duplicates"]}
        assert found == {tuple(sources(g["images"])): (g["match"], g["across_splits"], g["labels_differ"]) for g in result["duplicates"]}


def test_csv_and_page_hold_the_findings(build, planted, result, tmp_path):
    page, table = tmp_path / "report.html", tmp_path / "findings.csv"
    text = scan(build, planted.folder, "-o", page, "--csv", table, code=1).stdout
    assert f"{result['findings']} findings" in text
    rows = list(csv.DictReader(table.open()))
    by_kind = {kind: sorted(row["source"] for row in rows if row["finding"] == kind) for kind in {row["finding"] for row in rows}}
    assert by_kind["duplicate"] == sorted(image["source"] for group in result["duplicates"] for image in group["images"])
    for kind in ("unreadable", "blank", "grey", "size", "aspect"):
        assert by_kind[kind] == sources(result[kind])
    leak = [row for row in rows if "across splits" in row["detail"]]
    assert sorted(row["source"] for row in leak) == sorted([*planted.truth["leak"], *planted.truth["leak"].values()])
    html = page.read_text()
    assert len(html) < 2e6 and not re.search(r'(?:src|href)="(?!data:)', html)
    assert html.count("<img ") > 100 and "zz-cut.jpg" in html


def test_exit_status(build, planted, tmp_path):
    [(copy, original)] = list(planted.truth["encoded"].items())[:1]
    folder = tmp_path / "set" / "train"
    for number, name in enumerate(planted.names[:2]):
        (folder / "ab"[number]).mkdir(parents=True)
        os.symlink(planted.folder / name, folder / "ab"[number] / "x.jpg")
    assert "0 findings" in scan(build, folder.parent, "--strict").stdout
    for name in (copy, original):
        os.symlink(planted.folder / name, folder / "a" / name.split("/")[-1])
    scan(build, folder.parent)
    assert "--strict allows none" in scan(build, folder.parent, "--strict", code=1).stderr
    (folder / "a" / "bad.jpg").write_bytes(b"")
    (folder / "a" / "bad.jpg").rename(folder / "a" / "\x1b[2Jbad.jpg")
    done = scan(build, folder.parent, code=1)
    assert "1 unreadable image" in done.stderr and "a/?[2Jbad.jpg: is empty" in done.stdout and "\x1b" not in done.stdout
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (tmp_path / "idx" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "idx" / name).touch()
    assert "pack them" in scan(build, tmp_path / "idx", code=1).stderr
    assert "lockstep scan DATA" in scan(build, code=2).stderr
    assert "--run" in scan(build, folder.parent, "run", code=2).stderr
    assert "packed data set" in scan(build, folder.parent, "--run", tmp_path, code=1).stderr
    scan(build, tmp_path / "nowhere", code=1)


def test_a_damaged_data_set_names_the_sample(build, planted, tmp_path):
    data = tmp_path / "set.h5"
    for number, name in enumerate(planted.names[:4]):
        folder = tmp_path / "set" / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        os.symlink(planted.folder / name, folder / f"{number}.jpg")
    subprocess.run([build / "bin" / "lockstep", "pack", tmp_path / "set", data], check=True, capture_output=True)
    content = (planted.folder / planted.names[2]).read_bytes()
    raw = bytearray(data.read_bytes())
    raw[raw.index(content) + len(content) // 2] ^= 1
    data.write_bytes(raw)
    [image] = scan_json(build, data, code=1)["unreadable"]
    assert image["source"] == "train/a/2.jpg" and "stored hash" in image["reason"]
    data.write_bytes(raw[: len(raw) // 2])
    assert scan(build, data, code=1).stderr.count("\n") == 1


NAMES = ["<script>alert(1)</script>", *"123456789"]


class Mislabelled:
    """scikit-learn's digits with 5% of the labels changed, and out-of-fold predictions of a logistic regression as the runs of
    five folds leave them."""

    def __init__(self, build, folder):
        digits = load_digits()
        self.true = digits.target
        rng = np.random.default_rng(3)
        self.given = self.true.copy()
        self.planted = rng.choice(len(self.true), len(self.true) // 20, replace=False)
        self.given[self.planted] = (self.true[self.planted] + rng.integers(1, 10, len(self.planted))) % 10
        with threadpool_limits(1):
            model = LogisticRegression(max_iter=200)
            self.probability = cross_val_predict(model, digits.data / 16, self.given, cv=5, method="predict_proba")
        with open(folder / "list.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "label", "split"])
            for i, (pixels, label) in enumerate(zip(digits.images, self.given)):
                Image.fromarray((pixels * 15.9).astype(np.uint8)).save(folder / f"{i}.png")
                rows.writerow([f"{i}.png", NAMES[label], "train" if i % 5 else "validation"])
        self.data, self.runs = folder / "digits.h5", folder / "folds"
        order = folder / "classes.txt"
        order.write_text("\n".join(NAMES) + "\n")
        subprocess.run([build / "bin" / "lockstep", "pack", folder / "list.csv", self.data, "--split-col", "split", "--classes", order],
                       check=True, capture_output=True)
        for fold in range(5):
            self.write_run(self.runs / f"fold-{fold + 1}", np.arange(fold, len(self.true), 5), self.given)

    def write_run(self, run, samples, labels):
        run.mkdir(parents=True)
        run.joinpath("job.yaml").write_text("data: digits.h5\nmodel: cifar_resnet8\n")
        with h5py.File(run / "predictions.h5", "w") as file:
            group = file.create_group("best_f1/validation")
            group["sample"], group["label"] = samples.astype(np.int64), labels[samples].astype(np.int32)
            group["logits"] = np.log(self.probability[samples] + 1e-12).astype(np.float32)


@pytest.fixture(scope="module")
def mislabelled(build, tmp_path_factory):
    return Mislabelled(build, tmp_path_factory.mktemp("digits"))


def test_label_errors_are_cleanlabs_and_most_planted_ones(build, mislabelled):
    labels = scan_json(build, mislabelled.data, "--run", mislabelled.runs)["labels"]
    assert labels["judged"] == len(mislabelled.true)
    found = [image["sample"] for image in labels["images"]]
    expected = find_label_issues(mislabelled.given, mislabelled.probability, filter_by="confident_learning",
                                 return_indices_ranked_by="normalized_margin", n_jobs=1)
    assert found == expected.tolist()
    right = np.intersect1d(found, mislabelled.planted)
    precision, recall = len(right) / len(found), len(right) / len(mislabelled.planted)
    print(f"label errors: precision {precision:.3f}, recall {recall:.3f} of {len(mislabelled.planted)}")
    assert precision > 0.7 and recall > 0.7
    best = found[: len(mislabelled.planted) // 2]
    assert len(np.intersect1d(best, mislabelled.planted)) >= 0.9 * len(best)
    suggested = {image["sample"]: NAMES.index(image["suggested"]) for image in labels["images"]}
    assert np.mean([suggested[i] == mislabelled.true[i] for i in right]) > 0.95
    # The same runs one by one.
    again = scan_json(build, mislabelled.data, "--run", *sorted(mislabelled.runs.iterdir()))
    assert again["labels"] == labels


def test_runs_that_do_not_fit_are_refused(build, mislabelled, tmp_path):
    other = tmp_path / "other"
    mislabelled.write_run(other, np.arange(20), mislabelled.true[::-1])
    assert "trained on" in scan(build, mislabelled.data, "--run", other, code=1).stderr
    far = tmp_path / "far"
    mislabelled.write_run(far, np.arange(20), mislabelled.given)
    with h5py.File(far / "predictions.h5", "a") as file:
        file["best_f1/validation/sample"][3] = 10**12
    assert "predicts sample 1000000000000" in scan(build, mislabelled.data, "--run", far, code=1).stderr
    going = tmp_path / "going"
    going.mkdir()
    going.joinpath("job.yaml").write_text("data: digits.h5\n")
    assert "predictions.h5" in scan(build, mislabelled.data, "--run", going, code=1).stderr
    assert "is no run" in scan(build, mislabelled.data, "--run", tmp_path, code=1).stderr


@needs_chromium
def test_page_is_escaped_and_passes_axe(build, mislabelled, tmp_path):
    page = tmp_path / "report.html"
    scan(build, mislabelled.data, "--run", mislabelled.runs, "-o", page)
    text = page.read_text()
    assert len(text) < 2e6 and "<script>alert" not in text and "Likely label errors" in text
    axe = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text()
    script = axe + """
        ;document.title='{}';axe.run().then(function(r){document.title=JSON.stringify(
          {passed:r.passes.length,wide:document.documentElement.scrollWidth,
           broken:r.violations.map(function(v){return v.id+': '+v.nodes[0].html})})})"""
    found, _ = open_page(page, tmp_path, script, width=500)
    assert found["passed"] > 10 and found["broken"] == [] and found["wide"] <= 500
