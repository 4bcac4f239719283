"""The decision layer: temperature and class offsets between logits and prediction. scipy and numpy fit the same problems by brute force;
a simulated problem with a known optimum says what fitting on validation data is worth on fresh data."""

import csv
import io
import json

import h5py
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import f1_score
from test_compare import compare, make_run
from test_folds import lockstep, make_data

CLASSES = ["a", "b", "c", "d"]
PRIORS = np.array([0.70, 0.20, 0.07, 0.03])
MEANS = np.array([[0, 0], [1.6, 0], [0, 1.6], [1.4, 1.4]])


def macro_f1(labels, logits):
    return f1_score(labels, logits.argmax(1), average="macro", zero_division=0)


def gaussians(samples, seed, sharpness=2.5):
    """Four overlapping classes of unequal frequency; logits are the log posterior of a model that is too sure of itself."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, samples, p=PRIORS).astype(np.int32)
    x = MEANS[labels] + rng.normal(size=(samples, 2))
    logits = np.log(PRIORS) - 0.5 * ((x[:, None] - MEANS) ** 2).sum(2)
    return (sharpness * logits).astype(np.float32), labels


def grid_optimum():
    """The offsets of the largest macro-F1 on a large sample: a grid that is refined three times."""
    logits, labels = gaussians(20_000, 1)
    centre, width = np.zeros(3), 8.0
    for _ in range(4):
        steps = np.linspace(-width, width, 7)
        grid = np.stack(np.meshgrid(*[centre[k] + steps for k in range(3)], indexing="ij"), -1).reshape(-1, 3)
        scores = []
        for offsets in grid:
            predicted = (logits + np.append(0, offsets).astype(np.float32)).argmax(1)
            table = np.bincount(labels * 4 + predicted, minlength=16).reshape(4, 4)
            scores.append((2 * table.diagonal() / (table.sum(0) + table.sum(1))).mean())
        centre, width = grid[int(np.argmax(scores))], width / 3
    return np.append(0, centre)


def write_predictions(run, splits):
    """Replaces a made-up run's predictions by these, and its figures by scikit-learn's."""
    from test_compare import write_final
    lines = [line for line in run.joinpath("metrics.jsonl").read_text().splitlines() if '"final"' not in line]
    finals = []
    with h5py.File(run / "predictions.h5", "w") as file:
        for best in ("best_f1", "best_loss"):
            for split, (logits, labels) in splits.items():
                file[f"{best}/{split}/sample"] = np.arange(len(labels), dtype=np.int64)
                file[f"{best}/{split}/label"] = labels
                file[f"{best}/{split}/logits"] = logits
                write_final(finals, f"{best}/{split}", labels, logits, CLASSES)
    run.joinpath("metrics.jsonl").write_text("".join(line + "\n" for line in lines + [json.dumps(final) for final in finals]))


def decided_figures(build, folder, draws, fresh):
    """For runs with these validation predictions: macro-F1 on fresh data before and after, and cross-fitted on validation."""
    runs = []
    for i, validation in enumerate(draws):
        runs.append(make_run(folder / f"run-{i}", names=CLASSES))
        write_predictions(runs[-1], {"validation": validation, "test": fresh})
    words = [*runs, "--decision", "--format", "csv", "--resamples", 100]
    rows = csv.DictReader(io.StringIO(compare(build, *words).stdout))
    found = {(row["run"], row["split"]): float(row["macro_f1"]) for row in rows if row["checkpoint"] == "best_f1"}
    names = [run.name for run in runs]
    return ([found[name, "test"] for name in names], [found[name + " + decision", "test"] for name in names],
            [found[name + " + decision", "validation"] for name in names])


def test_reaches_the_optimum_and_its_figure_is_honest(build, tmp_path):
    """Within 0.5 points of the best offsets on fresh data; the cross-fitted figure within 1 point of it."""
    optimum = grid_optimum()
    fresh = gaussians(30_000, 3)
    best = macro_f1(fresh[1], fresh[0] + optimum)
    before, after, cross = decided_figures(build, tmp_path, [gaussians(6_000, seed) for seed in range(10, 14)], fresh)
    assert np.allclose(before, macro_f1(fresh[1], fresh[0]))
    assert best - np.mean(before) > 0.03, "the problem is one where offsets matter"
    assert best - np.mean(after) <= 0.005, (best, after)
    assert abs(np.mean(cross) - np.mean(after)) <= 0.01, (cross, after)


def test_the_figure_is_honest_where_there_is_nothing_to_learn(build, tmp_path):
    """Offsets fitted to noise do well on it (0.38 here), and the cross-fitted figure does not believe them."""
    def noise(samples, seed):
        rng = np.random.default_rng(seed)
        return rng.normal(size=(samples, 4)).astype(np.float32), rng.choice(4, samples).astype(np.int32)

    _, after, cross = decided_figures(build, tmp_path, [noise(100, seed) for seed in range(20)], noise(5_000, 99))
    assert abs(np.mean(cross) - np.mean(after)) < 0.03, (np.mean(cross), np.mean(after))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network on unequal classes, and the calibrated checkpoint with what calibrate said."""
    folder = tmp_path_factory.mktemp("decision")
    rng = np.random.default_rng(4)
    shades = rng.choice(3, 420, p=[0.6, 0.3, 0.1])
    job = make_data(folder, shades, test=60)
    rows = list(csv.reader(open(folder / "table.csv")))
    for i in rng.choice(420, 130, replace=False):  # the shade says less than everything
        rows[1 + i][1] = f"class{rng.integers(3)}"
    with open(folder / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder / "data.h5").unlink()
    lockstep("pack", folder / "table.csv", folder / "data.h5", "--split-col", "split")
    lockstep("train", job, "epochs=2", "--run", folder / "run")
    model = folder / "run/checkpoints/last.h5"
    before = model.read_bytes()
    said = json.loads(lockstep("calibrate", model, folder / "data.h5", "-o", folder / "decided.h5", "--json").stdout)
    assert model.read_bytes() == before
    return folder, said


def evaluate(folder, model, *words, split="validation"):
    """Logits, labels, and eval's JSON."""
    out = folder / "logits.h5"
    done = lockstep("eval", model, folder / "data.h5", "--split", split, "--json", "--predictions", out, *words)
    with h5py.File(out) as file:
        return file[f"eval/{split}/logits"][:], file[f"eval/{split}/label"][:], json.loads(done.stdout), done.stderr


def test_temperature_is_scipys_and_no_single_offset_does_better(trained):
    folder, said = trained
    logits, labels, _, _ = evaluate(folder, folder / "run/checkpoints/last.h5")
    z = logits.astype(np.float64)
    rows = np.arange(len(labels))
    wanted = minimize_scalar(lambda b: -log_softmax(b * z, axis=1)[rows, labels].mean(), bounds=(0.01, 100), method="bounded",
                             options={"xatol": 1e-10})
    assert said["temperature"] == pytest.approx(1 / wanted.x, rel=1e-5)
    offsets = np.array(said["offsets"])
    assert abs(offsets.mean()) < 1e-9 and len(offsets) == 3 and abs(offsets).max() > 0.01 and said["temperature"] != 1
    scaled = z / said["temperature"]
    reached = macro_f1(labels, scaled + offsets)
    assert reached >= macro_f1(labels, z)
    for k in range(3):  # every interval between break points, tried one by one
        others = np.delete(scaled + offsets, k, axis=1).max(1)
        points = np.sort(others - scaled[:, k])
        for at in np.concatenate([[points[0] - 1], (points[1:] + points[:-1]) / 2, [points[-1] + 1]]):
            moved = offsets.copy()
            moved[k] = at
            assert macro_f1(labels, scaled + moved) <= reached + 1e-12
    figures = said["figures"]
    assert figures["macro_f1"] == pytest.approx(macro_f1(labels, logits), abs=1e-9) and figures["macro_f1_cross_fitted"] <= reached + 1e-12
    assert figures["loss"] == pytest.approx(-log_softmax(z, axis=1)[rows, labels].mean(), abs=1e-6)
    assert figures["loss_cross_fitted"] >= wanted.fun - 1e-12


def test_eval_and_predict_apply_it_only_when_asked(trained):
    folder, said = trained
    logits, labels, plain, _ = evaluate(folder, folder / "run/checkpoints/last.h5", split="test")
    same, _, unasked, quiet = evaluate(folder, folder / "decided.h5", split="test")
    assert same.tobytes() == logits.tobytes() and unasked == plain and "decision" not in unasked and "warning" not in quiet
    decided, _, asked, warned = evaluate(folder, folder / "decided.h5", "--decision", split="test")
    assert np.allclose(decided, logits / said["temperature"] + said["offsets"], atol=1e-5) and "warning" not in warned
    assert asked["macro_f1"] == pytest.approx(macro_f1(labels, decided), abs=1e-12)
    assert asked["decision"]["temperature"] == pytest.approx(said["temperature"], rel=1e-8)
    assert "decision layer: temperature" in lockstep("eval", folder / "decided.h5", folder / "data.h5", "--decision").stdout
    _, _, _, warned = evaluate(folder, folder / "decided.h5", "--decision")
    assert "fitted on this split" in warned
    words = [folder / "data.h5", "--split", "test", "--columns", "probabilities"]
    done = lockstep("predict", folder / "decided.h5", *words, "--decision")
    found = np.array([[float(x) for x in row] for row in list(csv.reader(io.StringIO(done.stdout)))[1:]])
    assert np.allclose(found, softmax(decided.astype(np.float64), axis=1), atol=1e-5) and "decision layer" in done.stderr
    assert lockstep("predict", folder / "decided.h5", *words).stdout == lockstep("predict", folder / "run/checkpoints/last.h5", *words).stdout


def test_another_data_set_is_warned_of(trained, tmp_path):
    folder, _ = trained
    make_data(tmp_path, [i % 3 for i in range(60)], test=20)
    done = lockstep("eval", folder / "decided.h5", tmp_path / "data.h5", "--decision")
    assert "fitted on another data set" in done.stderr
    assert "another data set" not in lockstep("eval", folder / "decided.h5", tmp_path / "data.h5").stderr


def test_folded_into_an_export(trained, tmp_path):
    """onnxruntime gives the decided logits, verify passes, and a second layer on top is refused."""
    import onnxruntime
    folder, said = trained
    model, data = folder / "decided.h5", folder / "data.h5"
    lockstep("convert", model, tmp_path / "folded.onnx", "--decision", "--uint8")
    assert "PASS" in lockstep("verify", tmp_path / "folded.onnx").stdout
    with h5py.File(model) as file:
        pixels, golden = file["golden/images"][:], file["golden/logits"][:]
    session = onnxruntime.InferenceSession(str(tmp_path / "folded.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {"pixels": pixels})[0]
    assert np.allclose(found, golden / said["temperature"] + said["offsets"], atol=1e-4)
    lockstep("convert", model, tmp_path / "folded.h5", "--decision")
    lockstep("convert", model, tmp_path / "plain.safetensors")
    assert "PASS" in lockstep("verify", tmp_path / "folded.h5").stdout
    decided = json.loads(lockstep("eval", model, data, "--decision", "--json").stdout)
    for words in ([tmp_path / "folded.h5"], [tmp_path / "plain.safetensors", "--decision"]):
        result = json.loads(lockstep("eval", words[0], data, *words[1:], "--json").stdout)
        assert result["confusion"] == decided["confusion"]
    for words in (["eval", tmp_path / "folded.h5", data, "--decision"], ["convert", tmp_path / "folded.h5", tmp_path / "x.h5", "--decision"],
                  ["calibrate", tmp_path / "folded.h5", data, "-o", tmp_path / "x.h5"]):
        done = lockstep(*words, check=False)
        assert done.returncode == 1 and "already" in done.stderr
    assert "folded into the last layer" in lockstep("inspect", tmp_path / "folded.h5").stdout
    text = lockstep("inspect", model).stdout
    assert "decision     temperature" in text and "folded" not in text
    assert json.loads((tmp_path / "folded.onnx.json").read_text())["decision"]["folded"] is True


def test_bad_input(trained, tmp_path):
    folder, _ = trained
    model, data = folder / "run/checkpoints/last.h5", folder / "data.h5"

    def refused(*words, code=1):
        done = lockstep("calibrate", *words, check=False)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("validation: ")]
        assert done.returncode == code and len(lines) == 1, done.stderr
        return lines[0]

    assert "-o OUT.h5" in refused(model, data, code=2)
    assert "nothing to fit" in refused(model, data, "-o", tmp_path / "x.h5", "--no-offsets", "--no-temperature", code=2)
    assert "exists" in refused(model, data, "-o", folder / "decided.h5")
    before = model.read_bytes()
    assert "never changes" in refused(model, data, "-o", model, "--force") and model.read_bytes() == before
    assert "no decision layer" in lockstep("eval", model, data, "--decision", check=False).stderr
    assert "no decision layer" in lockstep("convert", model, tmp_path / "x.onnx", "--decision", check=False).stderr
    for name, labels, sentence in (("absent", [i % 2 for i in range(40)], None),
                                   ("other", [i // 2 % 4 for i in range(40)], "does not know: 'class3'")):
        place = tmp_path / name
        place.mkdir()
        make_data(place, labels)
        error = refused(model, place / "data.h5", "-o", tmp_path / "x.h5")
        assert (sentence or "has 0 samples here") in error
    # Where every label has the largest logit, no temperature is best.
    place = tmp_path / "easy"
    place.mkdir()
    lockstep("train", make_data(place, [i % 3 for i in range(240)]), "epochs=4", "--run", place / "run")
    done = json.loads(lockstep("calibrate", place / "run/checkpoints/last.h5", place / "data.h5", "-o", place / "x.h5", "--json").stdout)
    assert done["figures"]["macro_f1"] == 1 and done["temperature"] == 1 and done["figures"]["macro_f1_cross_fitted"] == 1
    # Without offsets no class is needed.
    lockstep("calibrate", model, tmp_path / "absent/data.h5", "-o", tmp_path / "x.h5", "--no-offsets")
    assert not any(json.loads((tmp_path / "x.h5.json").read_text())["decision"]["offsets"])


def test_runs_that_cannot_be_fitted(build, tmp_path):
    run = make_run(tmp_path / "run", names=CLASSES)
    logits, labels = gaussians(200, 1)
    write_predictions(run, {"validation": (logits, np.minimum(labels, 2)), "test": gaussians(50, 2)})
    error = compare(build, run, "--decision", code=1).stderr
    assert str(run) in error and "class '3' has 0 samples" in error
    logits[7, 2] = np.nan
    write_predictions(run, {"validation": (logits, labels), "test": gaussians(50, 2)})
    assert "sample 8 of 200 are not numbers" in compare(build, run, "--decision", code=1).stderr
