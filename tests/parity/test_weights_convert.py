"""Files of torch.save, by `lockstep convert --model` and `inspect`: every tensor as torch.load gives it, no code run."""
import collections
import io
import json
import os
import pathlib
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

import model_oracle

BUILD = pathlib.Path(os.environ["LOCKSTEP_BUILD"])
LOCKSTEP = str(BUILD / "bin" / "lockstep")
NUMBERS = ["--size", "32", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]
CLASSES = 5


def run(*words, status=0):
    result = subprocess.run([LOCKSTEP, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert result.returncode == status, f"{words}: {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


def refused(*words, says):
    message = run(*words, status=1).stderr
    assert message.startswith("lockstep: ") and message.count("\n") == 1, message
    for part in [says] if isinstance(says, str) else says:
        assert part in message, message


def make_state(seed=0):
    model = model_oracle.make_model("cifar_resnet8", CLASSES, seed).float()
    model_oracle.set_state(model, model_oracle.perturb_statistics(model_oracle.get_state(model)))
    return model.state_dict()


def converted(path, tmp_path):
    out = tmp_path / "out.safetensors"
    message = run("convert", path, out, "--model", "cifar_resnet8", "--force", *NUMBERS).stderr
    return safetensors.torch.load_file(out), message


def assert_equal_states(found, expected):
    names = [name for name in expected if "num_batches" not in name]
    assert sorted(name for name in found if "num_batches" not in name) == sorted(names)
    for name in names:
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], expected[name].float()), name


@pytest.mark.parametrize("new", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(tmp_path, new, protocol):
    state = make_state()
    torch.save(state, tmp_path / "w.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    found, message = converted(tmp_path / "w.pth", tmp_path)
    assert_equal_states(found, state)
    assert f"{len(found) - 9} of {len(found) - 9} tensors of cifar_resnet8 loaded" in message and "names: own" in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_type(tmp_path, dtype):
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in make_state().items()}
    special = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 2.0**-24, -(2.0**-20), 1.0, 65504.0]).to(dtype)
    state["bn1.bias"][:8] = special  # subnormal half-precision numbers among them
    torch.save(state, tmp_path / "w.pth")
    out = tmp_path / "out.safetensors"
    run("convert", tmp_path / "w.pth", out, "--model", "cifar_resnet8", *NUMBERS)
    assert_equal_states(safetensors.torch.load_file(out), state)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "stream"])
def test_views_parameters_and_shared_storages(tmp_path, new):
    state = make_state()
    plain = {name: value.clone() for name, value in state.items()}
    state["conv1.weight"] = state["conv1.weight"].to(memory_format=torch.channels_last)
    state["fc.weight"] = state["fc.weight"].T.contiguous().T
    both = torch.cat([state["bn1.weight"], state["bn1.bias"]])
    state["bn1.weight"], state["bn1.bias"] = both[:16], both[16:]
    state["fc.bias"] = torch.nn.Parameter(state["fc.bias"])
    state["layer1.0.bn1.bias"] = torch.stack([state["layer1.0.bn1.bias"], torch.zeros(16)], 1)[:, 0]
    assert not state["conv1.weight"].is_contiguous() and not state["layer1.0.bn1.bias"].is_contiguous()
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    found, _ = converted(tmp_path / "w.pth", tmp_path)
    assert_equal_states(found, plain)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_training_checkpoints(tmp_path, key):
    state = make_state()
    wrapped = collections.OrderedDict(("module." + name, value) for name, value in state.items())
    moment = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], 0.1, momentum=0.9)
    torch.save({"epoch": 7, "best": 0.75, "done": False, "arch": "x", "args": [1, None, (2, "a")], key: wrapped,
                "optimizer": moment.state_dict()}, tmp_path / "w.pth")
    found, message = converted(tmp_path / "w.pth", tmp_path)
    assert_equal_states(found, state)
    assert "prefix 'module.' removed" in message and f"under '{key}'" in message


def test_safetensors_of_other_programs(tmp_path):
    state = make_state()
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    assert "weights of safetensors" in run("inspect", tmp_path / "w.safetensors").stdout
    found, _ = converted(tmp_path / "w.safetensors", tmp_path)
    assert_equal_states(found, state)


def test_inspect_lists_what_torch_loads(tmp_path):
    state = make_state()
    torch.save(state, tmp_path / "w.pth")
    listed = json.loads(run("inspect", tmp_path / "w.pth", "--json").stdout)["tensors"]
    assert {t["name"]: (t["dtype"], tuple(t["shape"])) for t in listed} == {
        name: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for name, value in state.items()}
    lines = run("inspect", tmp_path / "w.pth", "--model", "cifar_resnet8").stdout.splitlines()
    assert sum(line.startswith("loaded ") for line in lines) == sum("num_batches" not in name for name in state)
    assert sum(line.startswith("unused ") for line in lines) == sum("num_batches" in name for name in state)
    run("inspect", tmp_path / "w.pth", "--model", "resnet18", status=1)


def test_class_names_and_golden_samples(tmp_path):
    torch.save(make_state(), tmp_path / "w.pth")
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc d\né\nf\n")
    run("convert", tmp_path / "w.pth", tmp_path / "m.h5", "--model", "cifar_resnet8", "--classes", names, *NUMBERS)
    meta = json.loads((tmp_path / "m.h5.json").read_text())
    assert meta["class_names"] == ["a", "b", "c d", "é", "f"] and meta["preprocess"]["mean"] == [0.5] * 3
    assert meta["preprocess"]["width"] == 32 and meta["preprocess"]["resize_size"] == 36
    for name in ["m.h5", "m.onnx", "m.safetensors"]:
        if name != "m.h5":
            run("convert", tmp_path / "m.h5", tmp_path / name)
        assert "2 golden samples" in run("verify", tmp_path / name).stdout  # P25
    for text, part in [("a\nb\n", "2 class names"), ("a\na\n", "repeats"), ("a\n\n", "line 2"), (b"\xff\n", "UTF-8")]:
        names.write_bytes(text if isinstance(text, bytes) else text.encode())
        refused("convert", tmp_path / "w.pth", tmp_path / "n.h5", "--model", "cifar_resnet8", "--classes", names, *NUMBERS,
                says=part)
    assert not (tmp_path / "n.h5").exists()


def test_published_preparation_is_taken(tmp_path):
    state = model_oracle.make_model("resnet18", 3).float().state_dict()
    torch.save(state, tmp_path / "w.pth")
    run("convert", tmp_path / "w.pth", tmp_path / "m.h5", "--model", "resnet18")
    pixels = json.loads((tmp_path / "m.h5.json").read_text())["preprocess"]
    assert (pixels["height"], pixels["resize_size"], pixels["interpolation"]) == (224, 256, "bilinear")
    assert np.allclose(pixels["mean"], model_oracle.MEAN) and np.allclose(pixels["std"], model_oracle.STD)
    run("convert", tmp_path / "w.pth", tmp_path / "n.h5", "--model", "resnet18", "--size", "128", "--interpolation",
        "bicubic")
    pixels = json.loads((tmp_path / "n.h5.json").read_text())["preprocess"]
    assert (pixels["height"], pixels["resize_size"], pixels["interpolation"]) == (128, 146, "bicubic")
    torch.save(make_state(), tmp_path / "c.pth")
    message = run("convert", tmp_path / "c.pth", tmp_path / "c.h5", "--model", "cifar_resnet8", status=2).stderr
    assert "give --size, --mean and --std" in message


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "stream"])
def test_code_is_named_and_not_run(tmp_path, new):
    state = make_state()
    state["evil"] = Evil()
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    refused("inspect", tmp_path / "w.pth", says=["'posix.system'", "refused"])
    assert not pathlib.Path("pwned").exists() and not (tmp_path / "pwned").exists()


def test_whole_models_and_programs_are_refused(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    torch.save(model, tmp_path / "model.pth")
    refused("inspect", tmp_path / "model.pth", says=["'torch.nn.modules.container.Sequential'", "state_dict"])
    torch.jit.script(model).save(str(tmp_path / "script.pth"))
    refused("inspect", tmp_path / "script.pth", says="TorchScript")
    torch.save({"a": 1}, tmp_path / "none.pth")
    refused("inspect", tmp_path / "none.pth", says="no state dict")
    torch.save({"a": torch.ones(3, dtype=torch.complex64)}, tmp_path / "complex.pth")
    refused("inspect", tmp_path / "complex.pth", says="torch.ComplexFloatStorage")
    torch.save({"a": torch.ones(1).expand(1000)}, tmp_path / "expand.pth")
    refused("inspect", tmp_path / "expand.pth", says="more elements than its storage")


def rewrite(path, out, change=None, drop=(), compression=zipfile.ZIP_STORED):
    """A copy of an archive with its entries changed by change(name, bytes)."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            data = old.read(name)
            if not name.endswith(tuple(drop) or ("\0",)):
                new.writestr(name, change(name, data) if change else data)


def test_archives_that_lie(tmp_path):
    torch.save({"a.weight": torch.zeros(64, 64)}, tmp_path / "w.pth")
    out = tmp_path / "x.pth"
    rewrite(tmp_path / "w.pth", out)
    run("inspect", out)
    rewrite(tmp_path / "w.pth", out, compression=zipfile.ZIP_DEFLATED)
    refused("inspect", out, says="is compressed")
    rewrite(tmp_path / "w.pth", out, drop=["data/0"])
    refused("inspect", out, says="lacks the entry")
    rewrite(tmp_path / "w.pth", out, drop=["data.pkl"])
    refused("inspect", out, says="not from torch.save")
    rewrite(tmp_path / "w.pth", out, lambda name, data: data[:-4] if name.endswith("data/0") else data)
    refused("inspect", out, says="its pickle says 16384")
    rewrite(tmp_path / "w.pth", out, lambda name, data: b"big" if name.endswith("byteorder") else data)
    refused("inspect", out, says="byte order")
    rewrite(tmp_path / "w.pth", out, lambda name, data: bytes(17 << 20) if name.endswith("data.pkl") else data)
    refused("inspect", out, says="its pickle has")


def test_overlapping_entries(tmp_path):
    """Many entries over the same bytes: a small file that would be large in memory."""
    torch.save({f"t{i}": torch.zeros(1 << 16) for i in range(8)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as old:
        pickled, data = old.read("w/data.pkl"), old.read("w/data/0")
    body, directory, count = io.BytesIO(), b"", 0
    for name, bytes_, repeat in [("w/data.pkl", pickled, 1), ("w/data/", data, 8)]:
        with zipfile.ZipFile(one := io.BytesIO(), "w") as new:
            new.writestr(name + "0" if repeat > 1 else name, bytes_)
        end = one.getvalue().rindex(b"PK\5\6")
        start = int.from_bytes(one.getvalue()[end + 16:end + 20], "little")
        local, entry = one.getvalue()[:start], one.getvalue()[start:end]
        offset = body.tell()
        body.write(local)
        for i in range(repeat):
            named = entry[:42] + offset.to_bytes(4, "little") + entry[46:]
            directory += named if repeat == 1 else named[:-1] + str(i).encode()
            count += 1
    tail = b"PK\5\6\0\0\0\0" + count.to_bytes(2, "little") * 2 + len(directory).to_bytes(4, "little")
    tail += body.tell().to_bytes(4, "little") + b"\0\0"
    (tmp_path / "x.pth").write_bytes(body.getvalue() + directory + tail)
    refused("inspect", tmp_path / "x.pth", says="zip archive")


def test_truncated_and_foreign_files(tmp_path):
    for new in [True, False]:
        torch.save(make_state(), tmp_path / "w.pth", _use_new_zipfile_serialization=new)
        whole = (tmp_path / "w.pth").read_bytes()
        for share in [0.01, 0.3, 0.9, 0.999]:
            (tmp_path / "x.pth").write_bytes(whole[: int(len(whole) * share)])
            refused("inspect", tmp_path / "x.pth", says="x.pth")
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"a": 1}))
    refused("inspect", tmp_path / "x.pth", says="not a file of torch.save")
    refused("inspect", tmp_path / "none.pth", says="No such file")


def test_shapes_that_do_not_fit_are_named(tmp_path):
    state = make_state()
    state["layer2.0.conv1.weight"] = torch.zeros(32, 16, 1, 1)
    torch.save(state, tmp_path / "w.pth")
    refused("inspect", "--model", "cifar_resnet8", tmp_path / "w.pth",
            says=["'layer2.0.conv1.weight' is 32 x 16 x 1 x 1", "32 x 16 x 3 x 3"])
    state = make_state()
    for name in [name for name in state if name.startswith("layer1.0")]:
        del state[name]
    torch.save(state, tmp_path / "w.pth")
    refused("inspect", "--model", "cifar_resnet8", tmp_path / "w.pth", says=["fewer than 90%", "layer1.0.conv1.weight"])
    torch.save({**make_state(), **{f"extra{i}": torch.zeros(1) for i in range(9)}}, tmp_path / "w.pth")
    refused("inspect", "--model", "cifar_resnet8", tmp_path / "w.pth", says=["fewer than 90%", "'extra0'"])
