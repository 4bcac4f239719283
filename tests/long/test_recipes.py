"""A night's job: the recipes of jobs/recipes/comparison from photographs to the table that compares them, at a reduced size."""
import json
import os
import pathlib
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
LOCKSTEP = str(pathlib.Path(os.environ["LOCKSTEP_BUILD"]) / "bin" / "lockstep")
PHOTOS = pathlib.Path(os.environ.get("LOCKSTEP_PHOTOS", ROOT.parent / "shared/data/clothing-small"))
RECIPES = sorted(p for p in (ROOT / "jobs/recipes/comparison").glob("*.yaml") if p.name not in ("base.yaml", "sweep.yaml", "two-cores.yaml"))
REDUCED = ["epochs=2", "input.size=64", "input.resize_size=73", "schedule.warmup_epochs=0.5", "input.decode=scaled"]


def run(*words):
    done = subprocess.run([LOCKSTEP, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    if not PHOTOS.is_dir():
        pytest.skip(f"no photographs at {PHOTOS}: set LOCKSTEP_PHOTOS")
    path = tmp_path_factory.mktemp("data") / "clothing-small.h5"
    run("pack", PHOTOS, path, "--short-side", "128")
    return path


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for recipe in RECIPES:
        run("train", recipe, f"data={data}", "--run", folder / recipe.stem, *REDUCED)
    return folder


def test_there_are_six():
    assert len(RECIPES) == 6
    variants = yaml.safe_load((ROOT / "jobs/recipes/comparison/sweep.yaml").read_text())["variants"]
    assert sorted(variants) == [recipe.stem for recipe in RECIPES]
    assert all(variants[name] == {"base": f"{name}.yaml"} for name in variants)
    for recipe in RECIPES:
        assert 2 <= len([line for line in recipe.read_text().splitlines() if not line.startswith("#")]) + 1 <= 10


@pytest.mark.parametrize("recipe", [p.stem for p in RECIPES])
def test_each_runs_end_to_end(runs, data, recipe, tmp_path):
    job = yaml.safe_load((runs / recipe / "job.yaml").read_text())
    assert "base" not in job and job["model"] == ("resnet18" if "resnet18" in recipe else "efficientnet_b3")
    lines = [json.loads(line) for line in (runs / recipe / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["type"] == "epoch"]
    assert len(epochs) == 2 and epochs[1]["train"]["loss"] < epochs[0]["train"]["loss"]
    best = "best_loss" if "loss" in recipe else "best_f1"
    final = next(line for line in lines if (line["type"], line.get("checkpoint"), line.get("split")) == ("final", best, "test"))
    assert final["metrics"]["samples"] == 372
    found = json.loads(run("eval", runs / recipe / f"checkpoints/{best}.h5", data, "--json"))
    assert abs(found["macro_f1"] - final["metrics"]["macro_f1"]) < 1e-3
    run("convert", runs / recipe / f"checkpoints/{best}.h5", tmp_path / "model.onnx")
    run("verify", tmp_path / "model.onnx")


def test_the_recipes_differ_as_they_say(runs):
    jobs = {p.stem: yaml.safe_load((runs / p.stem / "job.yaml").read_text()) for p in RECIPES}
    plain, schedule = jobs["efficientnet-b3"], jobs["efficientnet-b3-schedule"]
    accumulation, center = jobs["efficientnet-b3-accumulation"], jobs["efficientnet-b3-center-crop"]
    assert plain["schedule"]["kind"] == "constant" and schedule["schedule"]["kind"] == "cosine"
    assert schedule["batch"] // schedule["microbatch"] == 4 and accumulation["batch"] // accumulation["microbatch"] == 8
    assert accumulation["augment"]["crop"] == "random_resized" and center["augment"]["crop"] == "center"
    assert jobs["resnet18-best-loss"]["early_stop"]["monitor"] == "loss" and jobs["resnet18-best-f1"]["early_stop"]["monitor"] == "f1"


def test_compare_takes_them(runs):
    table = run("compare", *[runs / p.stem for p in RECIPES])
    assert all(p.stem in table for p in RECIPES)
