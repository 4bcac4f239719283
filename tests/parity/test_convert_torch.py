"""Exports against the programs that read them: safetensors, torchvision, ONNX, onnxruntime (P24, P25)."""
import base64
import json
import os
import pathlib
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors
import safetensors.torch
import torch
from model_oracle import make_model

BUILD = pathlib.Path(os.environ["LOCKSTEP_BUILD"])
LOCKSTEP = str(BUILD / "bin" / "lockstep")
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
TOLERANCE = 1e-4  # of the largest logit, as `lockstep verify` allows


def run(*words, status=0):
    result = subprocess.run([LOCKSTEP, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert result.returncode == status, f"{words}: {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


def make(folder, model):
    path = folder / "model.h5"
    subprocess.run([BUILD / "bin" / "make_checkpoint", path, "--model", model, "--classes", "7", "--size", "64"],
                   check=True, timeout=300)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make(tmp_path_factory.mktemp("one"), "resnet18")


@pytest.fixture(scope="module", params=["resnet18", "resnet50", "efficientnet_b0", "tf_efficientnet_lite0",
                                         "mobilenetv3_large_100"])
def each_checkpoint(request, tmp_path_factory):
    """Every kind of layer there is; the test is given the model's name too."""
    return make(tmp_path_factory.mktemp(request.param), request.param), request.param


def read_golden(text):
    golden = json.loads(text)
    n = golden["count"]
    images = np.frombuffer(base64.b64decode(golden["images"]), np.uint8).reshape(n, 64, 64, 3)
    return images, np.frombuffer(base64.b64decode(golden["logits"]), np.float32).reshape(n, 7)


def normalise(images):
    return np.ascontiguousarray(((images / np.float32(255) - MEAN) / STD).transpose(0, 3, 1, 2), np.float32)


def assert_close(found, expected):
    scale = np.abs(expected).max()
    assert scale > 0.1 and len(np.unique(np.round(expected, 3))) > expected.shape[0]  # logits that say something
    assert np.abs(found - expected).max() <= TOLERANCE * scale


def test_safetensors_loads_strictly_into_torchvision_and_timm(each_checkpoint, tmp_path):
    checkpoint, architecture = each_checkpoint
    path = tmp_path / "model.safetensors"
    run("convert", checkpoint, path)
    state = safetensors.torch.load_file(path)
    model = make_model(architecture, 7).float()
    assert set(state) == set(model.state_dict())
    model.load_state_dict(state, strict=True)
    assert state["bn1.num_batches_tracked"].dtype == torch.int64 and int(state["bn1.num_batches_tracked"]) == 17
    with safetensors.safe_open(path, "np") as file:
        images, logits = read_golden(file.metadata()["golden"])
    with torch.no_grad():
        assert_close(model.eval()(torch.from_numpy(normalise(images))).numpy(), logits)


@pytest.mark.parametrize("pixels", [False, True])
def test_onnx_runs_elsewhere(each_checkpoint, tmp_path, pixels):
    checkpoint, _ = each_checkpoint
    path = tmp_path / "model.onnx"
    run("convert", checkpoint, path, *(["--uint8"] if pixels else []))
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    texts = {entry.key: entry.value for entry in model.metadata_props}
    images, logits = read_golden(texts["golden"])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = "pixels" if pixels else "input"
    assert [i.name for i in session.get_inputs()] == [name] and session.get_outputs()[0].name == "logits"
    feed = images if pixels else normalise(images)
    assert_close(session.run(["logits"], {name: feed})[0], logits)
    one = session.run(["logits"], {name: feed[:1]})[0]  # the batch is dynamic
    assert_close(np.repeat(one, 2, 0), np.repeat(logits[:1], 2, 0))


def test_exports_of_every_kind_of_layer_verify(each_checkpoint, tmp_path):
    """Reading back: the graph of an ONNX file is compared node by node, and the logits are the golden ones (P25)."""
    checkpoint, architecture = each_checkpoint
    for name, flags in (("a.safetensors", []), ("a.onnx", []), ("b.onnx", ["--uint8"])):
        run("convert", checkpoint, tmp_path / name, *flags)
        assert json.loads(run("verify", tmp_path / name, "--json").stdout)["passed"] is True
    run("convert", tmp_path / "a.safetensors", tmp_path / "back.h5")
    assert (tmp_path / "back.h5").read_bytes() == checkpoint.read_bytes()
    assert f"model        {architecture}: 7 classes" in run("inspect", checkpoint).stdout


def test_another_activation_or_gate_is_found(tmp_path):
    """An edited ONNX file of the newer layers is refused as one of the older ones is."""
    def change_slope(graph):
        next(n for n in graph.node if n.op_type == "HardSigmoid").attribute[0].f = 0.2

    def drop_gate(graph):
        scale = next(n for n in graph.node if n.op_type == "Mul" and n.output[0].endswith(".se"))
        next(n for n in graph.node if scale.output[0] in n.input).input[0] = scale.input[0]

    def raise_bound(graph):
        next(t for t in graph.initializer if t.name == "relu6.most").raw_data = np.float32([7]).tobytes()

    def shift_padding(graph):
        conv = next(n for n in graph.node if n.op_type == "Conv")
        pads = next(a for a in conv.attribute if a.name == "pads")
        assert list(pads.ints) == [0, 0, 1, 1]
        pads.ints[:] = [1, 1, 0, 0]

    for architecture, changes in (("mobilenetv3_large_100", [change_slope, drop_gate]),
                                  ("tf_efficientnet_lite0", [raise_bound, shift_padding])):
        checkpoint = make(tmp_path, architecture)
        for number, change in enumerate(changes):
            path = tmp_path / f"{architecture}-{number}.onnx"
            run("convert", checkpoint, path)
            change_onnx(path, change)
            assert "does not hold the graph" in run("verify", path, status=1).stderr


def test_everything_travels(checkpoint, tmp_path):
    """P24: what a user of the model needs is inside each file and beside it, equal everywhere."""
    for name in ["a.safetensors", "a.onnx"]:
        run("convert", checkpoint, tmp_path / name)
    beside = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ["a.safetensors", "a.onnx"]]
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        inside = json.loads(file.metadata()["meta"])
    props = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert beside[0] == beside[1] == inside == json.loads(props["meta"])
    assert inside["class_names"] == [f"class {i}" for i in range(7)]
    assert inside["preprocess"]["mean"] == pytest.approx(MEAN) and inside["preprocess"]["std"] == pytest.approx(STD)
    assert {"colour", "height", "width", "decode", "resize", "interpolation", "crop"} <= set(inside["preprocess"])


def test_back_to_the_same_checkpoint(checkpoint, tmp_path):
    run("convert", checkpoint, tmp_path / "a.safetensors")
    run("convert", tmp_path / "a.safetensors", tmp_path / "back.h5")
    assert (tmp_path / "back.h5").read_bytes() == checkpoint.read_bytes()


def test_verify_passes_all_formats_and_finds_one_changed_weight(checkpoint, tmp_path):
    for name in ["a.safetensors", "a.onnx", "b.onnx"]:
        run("convert", checkpoint, tmp_path / name, *(["--uint8"] if name[0] == "b" else []))
        assert "PASS" in run("verify", tmp_path / name).stdout
    assert "PASS" in run("verify", checkpoint).stdout
    assert json.loads(run("verify", checkpoint, "--json").stdout)["passed"] is True

    state = safetensors.torch.load_file(tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        metadata = file.metadata()
    state["fc.weight"][3, 5] += 0.5
    safetensors.torch.save_file(state, tmp_path / "changed.safetensors", metadata)
    result = run("verify", tmp_path / "changed.safetensors", status=1)
    assert "FAIL" in result.stdout and "does not give the logits" in result.stderr

    state["fc.weight"][3, 5] = float("nan")
    safetensors.torch.save_file(state, tmp_path / "nan.safetensors", metadata)
    assert "FAIL" in run("verify", tmp_path / "nan.safetensors", status=1).stdout


def change_onnx(path, change):
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)


def test_verify_refuses_another_graph(checkpoint, tmp_path):
    """An ONNX file whose graph was edited would run otherwise than what is verified."""
    def edit_attribute(graph):
        next(n for n in graph.node if n.op_type == "Conv").attribute[4].ints[0] = 1

    def drop_relu(graph):
        relu = next(n for n in graph.node if n.op_type == "Relu")
        user = next(n for n in graph.node if relu.output[0] in n.input)
        user.input[0] = relu.input[0]

    def add_initializer(graph):
        graph.initializer.append(onnx.helper.make_tensor("extra", 1, [1], np.float32([1]).tobytes(), raw=True))

    def shift_mean(graph):
        mean = next(t for t in graph.initializer if t.name == "normalise.mean")
        mean.raw_data = np.float32([0, 0, 0]).tobytes()

    for number, change in enumerate([edit_attribute, drop_relu, add_initializer, shift_mean]):
        path = tmp_path / f"{number}.onnx"
        run("convert", checkpoint, path, "--uint8")
        change_onnx(path, change)
        assert "does not hold the graph" in run("verify", path, status=1).stderr


def test_missing_extra_and_misshapen_tensors_are_named(checkpoint, tmp_path):
    run("convert", checkpoint, tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        metadata = file.metadata()
    state = safetensors.torch.load_file(tmp_path / "a.safetensors")

    def refused(tensors, words):
        safetensors.torch.save_file(tensors, tmp_path / "bad.safetensors", metadata)
        assert words in run("verify", tmp_path / "bad.safetensors", status=1).stderr
        assert words in run("convert", tmp_path / "bad.safetensors", tmp_path / "bad.h5", status=1).stderr
        assert not (tmp_path / "bad.h5").exists()

    refused({k: v for k, v in state.items() if k != "fc.bias"}, "has no tensor 'fc.bias'")
    refused({**state, "fc2.bias": torch.zeros(3)}, "has a tensor 'fc2.bias'")
    refused({**state, "fc.bias": torch.zeros(8)}, "'fc.bias' is float32 8, its architecture needs float32 7")
    refused({**state, "fc.bias": torch.zeros(7, dtype=torch.int64)}, "'fc.bias' is int64 7")
    metadata = {"format": "pt"}
    refused(state, "does not say which model it holds")


def test_nothing_is_overwritten_without_force(checkpoint, tmp_path):
    for existing in ["a.onnx", "a.onnx.json"]:
        (tmp_path / existing).write_text("mine")
        result = run("convert", checkpoint, tmp_path / "a.onnx", status=1)
        assert "exists" in result.stderr and "--force" in result.stderr
        assert (tmp_path / existing).read_text() == "mine"
        run("convert", checkpoint, tmp_path / "a.onnx", "--force")
        onnx.load(tmp_path / "a.onnx")
        for name in ["a.onnx", "a.onnx.json"]:
            (tmp_path / name).unlink()


@pytest.mark.parametrize("words, status, part", [
    (["convert"], 2, "takes IN and OUT"),
    (["convert", "{c}", "x.txt"], 2, "format of x.txt"),
    (["convert", "{c}", "{d}/x.h5"], 2, "already"),
    (["convert", "{c}", "{d}/x.safetensors", "--uint8"], 2, "--uint8 is for ONNX"),
    (["convert", "{d}/none.h5", "{d}/x.onnx"], 1, "No such file"),
    (["convert", "{c}", "{d}/none/x.onnx"], 1, "No such file"),
    (["verify", "{d}"], 1, "Is a directory"),
    (["verify", __file__], 1, "not a trained model"),
    (["verify", "{c}", "--device", "abacus"], 1, "abacus"),
    (["inspect", "{d}/none.h5"], 1, "No such file"),
    (["inspect"], 2, "one FILE"),
])
def test_wrong_use_gets_a_sentence(checkpoint, tmp_path, words, status, part):
    words = [word.format(c=checkpoint, d=tmp_path) for word in words]
    result = run(*words, status=status)
    assert part in result.stderr and result.stderr.count("\n") == 1
