"""lockstep compare on runs made up here: figures equal scikit-learn's and metrics.jsonl's; the page holds no script of a
class's name, opens without an error in Chromium and passes axe's rules."""

import csv
import importlib.resources
import io
import json
import re
import shutil
import subprocess
import time

import h5py
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

CLASSES = ["<script>alert(1)</script>", "b & \"c\"", "d", "été"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


def write_final(lines, group, labels, logits, names):
    predicted = logits.argmax(1)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=range(len(names)), zero_division=0)
    classes = [dict(name=n, support=int(s), precision=p, recall=r, f1=f)
               for n, s, p, r, f in zip(names, support, precision, recall, f1)]
    checkpoint, split = group.split("/")
    metrics = dict(loss=0.5, accuracy=float((predicted == labels).mean()), samples=len(labels), classes=classes,
                   macro_f1=f1_score(labels, predicted, average="macro", zero_division=0),
                   macro_f1_all_classes=float(f1.mean()), balanced_accuracy=float(recall.mean()))
    lines.append(dict(type="final", checkpoint=checkpoint, split=split, metrics=metrics))


def make_run(folder, seed=1, skill=0.7, keys="", names=CLASSES, samples=200, finished=True, predictions=True, data_seed=0):
    """A run's folder as lockstep train leaves it."""
    folder.mkdir(parents=True)
    folder.joinpath("job.yaml").write_text(f"data: nowhere.h5\nmodel: cifar_resnet8\nseed: {seed}\n{keys}")
    rng = np.random.default_rng((seed, int(1000 * skill)))
    labels = np.random.default_rng(data_seed).choice(len(names), samples, p=[0.5, 0.3, 0.15, 0.05][: len(names)]).astype(np.int32)
    lines = [dict(type="run", ranks=2, arithmetic="oneDNN", update=0)]
    for epoch in range(1, 4):
        for update in range(10 * epoch - 9, 10 * epoch + 1):
            lines.append(dict(type="update", epoch=epoch, update=update, lr=0.1 / epoch, loss=2.0 / update))
        validation = dict(loss=None if epoch == 1 else 1 / epoch, accuracy=0.5, macro_f1=0.2 * epoch)
        lines.append(dict(type="epoch", epoch=epoch, update=10 * epoch, lr=0.1 / epoch, seconds=2.5,
                          images_per_second=100.0 * epoch, data_wait=0.0, peak_memory_mib=50.0, weights="ab",
                          train=dict(loss=1.5 / epoch, accuracy=0.4), validation=validation,
                          best=dict(loss=1 / epoch, loss_epoch=epoch, f1=0.2 * epoch, f1_epoch=epoch)))
    if finished:
        groups = {}
        for group in ("best_f1/validation", "best_f1/test", "best_loss/validation", "best_loss/test"):
            logits = rng.normal(0, 1, (samples, len(names))).astype(np.float32)
            logits[np.arange(samples), labels] += np.where(rng.random(samples) < skill, 3, 0)
            groups[group] = logits
            write_final(lines, group, labels, logits, names)
        if predictions:
            with h5py.File(folder / "predictions.h5", "w") as file:
                for group, logits in groups.items():
                    file[f"{group}/sample"] = np.arange(samples, dtype=np.int64)
                    file[f"{group}/label"] = labels
                    file[f"{group}/logits"] = logits
    folder.joinpath("metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def compare(build, *words, code=0):
    done = subprocess.run([build / "bin" / "lockstep", "compare", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [make_run(folder / "good-1", 1, 0.9, "optimizer: {lr: 0.2}\n"), make_run(folder / "good-2", 2, 0.9, "optimizer: {lr: 0.2}\n"),
            make_run(folder / "bad", 1, 0.3), make_run(folder / "<b>tag", 1, 0.88, "loss: {smoothing: 0.1}\n")]


def test_seeds_are_grouped_and_figures_are_scikit_learns(build, runs):
    result = json.loads(compare(build, *runs, "--format", "json", "--resamples", 500).stdout)
    assert [r["name"] for r in result["recipes"]][-1] == "bad"
    good = next(r for r in result["recipes"] if r["name"] == "good-1")
    assert len(good["runs"]) == 2 and result["same_data"] and result["split"] == "test"
    scores = []
    for run in runs[:2]:
        with h5py.File(run / "predictions.h5") as file:
            group = file["best_f1/test"]
            scores.append(f1_score(group["label"][:], group["logits"][:].argmax(1), average="macro", zero_division=0))
    assert good["macro_f1"] == pytest.approx(np.mean(scores), abs=1e-12)
    assert good["low"] < good["macro_f1"] < good["high"] and good["seconds"] == pytest.approx(7.5)
    assert good["images_per_second"] == 200 and good["peak_memory_mib"] == 50
    pairs = {(p["better"], p["worse"]): p for p in result["pairs"]}
    assert len(pairs) == 3 and pairs["good-1", "bad"]["shown"] is True
    close = next(p for k, p in pairs.items() if set(k) == {"good-1", "<b>tag"})
    assert close["shown"] is False and close["simultaneous_low"] <= close["low"] <= close["difference"] <= close["high"]


def test_text_says_what_is_not_shown(build, runs):
    text = compare(build, *runs, "--resamples", 100).stdout
    assert "no difference can be shown: 3 pairs need at least 120 resamples" in text and "better" not in text
    text = compare(build, *runs, "--resamples", 500).stdout
    assert "can be shown" not in text
    assert "no difference shown between" in text and re.search(r"better than bad by \d+\.\d points", text)


def test_csv_equals_metrics(build, runs):
    rows = list(csv.DictReader(io.StringIO(compare(build, *runs, "--format", "csv", "--resamples", 100).stdout)))
    assert len(rows) == 16
    for run in runs:
        finals = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if '"final"' in line]
        for final in finals:
            row = next(r for r in rows if (r["run"], r["checkpoint"], r["split"]) == (run.name, final["checkpoint"], final["split"]))
            assert float(row["macro_f1"]) == final["metrics"]["macro_f1"]


def test_markdown_escapes(build, runs):
    text = compare(build, *runs, "--format", "markdown", "--resamples", 100).stdout
    assert r"\<b\>tag" in text and "<b>" not in text
    assert "| `optimizer.lr` |" in text and "| `loss.smoothing` |" in text and "`seed`" not in text


def test_runs_of_other_data_are_refused_unless_asked(build, runs, tmp_path):
    other = make_run(tmp_path / "other", data_seed=5)
    done = compare(build, runs[0], other, code=1)
    assert "other labels" in done.stderr and "--allow-different-data" in done.stderr
    page = tmp_path / "page.html"
    text = compare(build, runs[0], other, "--allow-different-data", "-o", page).stdout
    assert "different data" in text and "different data" in page.read_text()


def test_a_run_still_going_is_shown_as_such(build, runs, tmp_path):
    going = make_run(tmp_path / "going", seed=4, keys="batch: 64\n", finished=False)
    with open(going / "metrics.jsonl", "a") as file:
        file.write('{"type":"upda')
    page = tmp_path / "page.html"
    text = compare(build, runs[0], going, "-o", page).stdout
    assert "not finished" in text and "stopped or still going" in page.read_text()
    lone = compare(build, going, code=1)
    assert "none of the runs has predictions" in lone.stderr


def test_a_run_without_predictions_is_not_judged(build, runs, tmp_path):
    bare = make_run(tmp_path / "bare", keys="batch: 64\n", predictions=False)
    result = json.loads(compare(build, runs[0], bare, "--format", "json").stdout)
    assert next(r for r in result["recipes"] if r["name"] == "bare")["macro_f1"] is None and result["pairs"] == []


@pytest.mark.parametrize("damage", ["truncate", "labels", "soft link", "line", "shape"])
def test_damaged_runs_get_a_sentence(build, tmp_path, damage):
    run = make_run(tmp_path / "run")
    path = run / "predictions.h5"
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-2000])
    elif damage == "line":
        path = run / "metrics.jsonl"
        path.write_text("not json\n" + path.read_text())
    else:
        with h5py.File(path, "a") as file:
            if damage == "labels":
                file["best_f1/test/label"][3] = 99
            elif damage == "shape":
                del file["best_f1/test/logits"]
                file["best_f1/test/logits"] = np.zeros((3, 4), np.float32)
            else:
                del file["best_f1/test/label"]
                file["best_f1/test/label"] = h5py.ExternalLink("/etc/passwd", "x")
    done = compare(build, run, code=1)
    assert done.stderr.count("\n") == 1 and str(path) in done.stderr


def test_a_folder_that_is_no_run(build, tmp_path):
    assert "is not a run" in compare(build, tmp_path, code=1).stderr
    compare(build, code=2)


@pytest.fixture(scope="module")
def page(build, runs, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    compare(build, *runs, "-o", path, "--resamples", 500)
    return path


def test_page_is_self_contained_and_escaped(page):
    text = page.read_text()
    assert len(text) < 2e6 and not re.search(r'(?:src|href)="(?!data:)', text)
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "<b>tag" not in text
    assert text.count("<svg viewBox") >= 3 + 1 + 3 and text.count("<script>") == 1


def test_confusion_calibration_and_classes_equal_the_predictions(page, runs):
    """Of the recipe `bad`, one run: its matrix, its expected calibration error (15 bins) and F1 of each class."""
    text = page.read_text()
    with h5py.File(runs[2] / "predictions.h5") as file:
        labels, logits = file["best_f1/test/label"][:], file["best_f1/test/logits"][:].astype(np.float64)
    predicted = logits.argmax(1)
    section = text[text.index("<h2>Confusion") : text.index("<h2>Calibration")].split("<h3>bad</h3>")[1].split("<h3>")[0]
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", section, re.S)
    found = [[int(cell or 0) for cell in re.findall(r'<td class="cell"[^>]*>(\d*)', row)] for row in rows]
    assert found == confusion_matrix(labels, predicted).tolist()
    probability = np.exp(logits - logits.max(1, keepdims=True))
    confidence = (probability / probability.sum(1, keepdims=True)).max(1)
    bins = np.ceil(confidence * 15).astype(int) - 1
    error = sum(abs((predicted == labels)[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in set(bins))
    assert float(re.search(r">bad: expected calibration error ([\d.]+)<", text).group(1)) == pytest.approx(error, abs=5.1e-5)
    section = text[text.index("<h2>F1 of each class") : text.index("<h2>Confusion")]
    column = re.findall(r'<button type="button">(.*?)</button>', section).index("bad")
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", section, re.S)
    found = [float(re.findall(r"<td>(.*?)</td>", row)[column - 1]) for row in rows]
    assert found == pytest.approx(f1_score(labels, predicted, average=None), abs=5.1e-5)


def open_page(page, tmp_path, script, width=1000):
    """What `script` leaves in document.title once the page is open, and how long that took."""
    copy = tmp_path / "copy.html"
    copy.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    started = time.monotonic()
    done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},2000",
                           "--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom", f"file://{copy}"],
                          capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S).group(1)
    return json.loads(title.replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")), time.monotonic() - started


@needs_chromium
def test_page_in_chromium(build, page, runs, tmp_path):
    script = """
        var table=document.querySelector('table'),button=table.querySelectorAll('th button')[2],column=function(){
          return Array.from(table.tBodies[0].rows).map(function(row){return parseFloat(row.cells[2].textContent)})};
        button.click();var down=column();button.click();var up=column();
        document.title=JSON.stringify({down:down,up:up,wide:document.documentElement.scrollWidth,
          charts:document.querySelectorAll('figure svg').length,
          paths:Array.from(document.querySelectorAll('figure svg path')).filter(function(p){return p.getTotalLength()>0}).length})"""
    found, _ = open_page(page, tmp_path, script, width=500)
    assert found["down"] == sorted(found["down"], reverse=True) and found["up"] == found["down"][::-1]
    assert found["charts"] == 7 and found["paths"] == 4 * 4 and found["wide"] <= 500, found
    recipes = json.loads(compare(build, *runs, "--format", "json", "--resamples", 100).stdout)["recipes"]
    assert found["down"] == [float(f"{recipe['macro_f1']:.4f}") for recipe in recipes]


@needs_chromium
def test_page_passes_axe(build, runs, tmp_path):
    """With every kind of row there is: recipes with a decision layer, a run that is still going."""
    page = tmp_path / "page.html"
    going = make_run(tmp_path / "going", seed=4, keys="batch: 64\n", finished=False)
    compare(build, *runs, going, "--decision", "-o", page, "--resamples", 500)
    text = page.read_text()
    assert "good-1 + decision" in text and "&lt;b&gt;tag + decision" in text and "pairs without the best" in text
    axe = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text()
    script = axe + """
        ;document.title='{}';axe.run().then(function(r){document.title=JSON.stringify(
          {passed:r.passes.length,broken:r.violations.map(function(v){return v.id+': '+v.nodes[0].html})})})"""
    found, _ = open_page(page, tmp_path, script)
    assert found["passed"] > 10 and found["broken"] == []
