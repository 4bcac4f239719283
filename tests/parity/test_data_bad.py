"""Bad sources and bad files: one sentence, the right exit status, nothing written, nothing lost."""

import os
import signal
import subprocess
import time

import h5py
import pytest
from PIL import Image
from test_data_pack import column, make_folder, make_idx, pack, picture, texts  # noqa: F401 (pack is a fixture)

FINE = {"train/a": 2, "train/b": 2}


@pytest.fixture
def out(tmp_path):
    """A data set to be written; the test's end checks that it and its temporary file are not there."""
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "o.h5"
    yield path
    assert list(path.parent.iterdir()) == []


def test_missing_source(pack, out, tmp_path):
    assert "No such file" in pack(tmp_path / "none", out, status=1)
    assert "No such file" in pack(tmp_path / "none.csv", out, status=1)


def test_source_of_another_kind(pack, out, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK")
    assert "neither a folder nor a .csv file" in pack(tmp_path / "x.zip", out, status=1)


def test_empty_class(pack, out, tmp_path):
    source = make_folder(tmp_path / "s", {**FINE, "train/c": 0})
    assert "train/c has no image: an empty class" in pack(source, out, status=1)


def test_one_class(pack, out, tmp_path):
    source = make_folder(tmp_path / "s", {"train/a": 3})
    assert 'one class only ("a")' in pack(source, out, status=1)


def test_unknown_class_in_another_split(pack, out, tmp_path):
    """P4"""
    source = make_folder(tmp_path / "s", {**FINE, "val/a": 1, "val/coat": 1})
    assert "val/coat is a class that the training folder does not have" in pack(source, out, status=1)


@pytest.mark.parametrize("layout, words", [
    ({**FINE, "other/a": 1}, "other is neither train, validation, test nor predict"),
    ({**FINE, "val/a": 1, "validation/a": 1}, "has both"),
    ({"a": 2, "b": 2}, "--split 0.8,0.1,0.1"),
    ({"train": 0}, "has no image"),
    ({**FINE, "test": 0}, "test has no image"),
])
def test_layouts(pack, out, tmp_path, layout, words):
    assert words in pack(make_folder(tmp_path / "s", layout), out, status=1)


def test_image_beside_classes(pack, out, tmp_path):
    source = make_folder(tmp_path / "s", FINE)
    picture(1).save(source / "train" / "x.jpg")
    assert "train/x.jpg lies beside the class folders" in pack(source, out, status=1)


def test_circle_of_links(pack, out, tmp_path):
    source = make_folder(tmp_path / "s", FINE)
    (source / "train" / "a" / "again").symlink_to(source / "train" / "a")
    assert "circle of links" in pack(source, out, status=1)


def bad_images(folder):
    """Kinds of unreadable images, and a word of the reason for each."""
    whole = folder / "whole.jpg"
    picture(5, 200, 150).save(whole)
    data = whole.read_bytes()
    whole.unlink()
    (folder / "bad-cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "bad-empty.jpg").write_bytes(b"")
    (folder / "bad-text.png").write_text("this is no image")
    picture(6).save(folder / "bad-kind.gif")
    (folder / "bad-link.jpg").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "bad-pipe.jpg")
    return {"bad-cut.jpg": "", "bad-empty.jpg": "is empty", "bad-text.png": "", "bad-kind.gif": "",
            "bad-link.jpg": "No such file", "bad-pipe.jpg": "is not a file"}


def test_unreadable_images_are_refused(pack, out, tmp_path):
    """P14: each by path and reason."""
    source = make_folder(tmp_path / "s", FINE)
    reasons = bad_images(source / "train" / "b")
    for name, reason in reasons.items():
        message = pack(source, out, status=1)
        first = sorted(path.name for path in (source / "train" / "b").iterdir() if path.name.startswith("bad"))[0]
        assert f"train/b/{first} cannot be used: " in message and reasons[first] in message
        (source / "train" / "b" / first).unlink()
    assert len(reasons) == 6 and list((source / "train" / "b").glob("bad*")) == []


def test_unreadable_images_are_left_out(pack, tmp_path):
    """P14: asked for, they are excluded, named and counted; no other image takes their place."""
    source = make_folder(tmp_path / "s", FINE)
    reasons = bad_images(source / "train" / "b")
    result = pack(source, tmp_path / "o.h5", "--on-bad=skip")
    for name, reason in reasons.items():
        line = next(line for line in result["stderr"].splitlines() if f"left out train/b/{name}: " in line)
        assert reason in line
    assert "6 unreadable images were left out" in result["stderr"]
    assert texts(tmp_path / "o.h5", "index/source") == [f"train/{c}/00{i}.jpg" for c in "ab" for i in range(2)]
    assert column(tmp_path / "o.h5", "label").tolist() == [0, 0, 1, 1]


def test_class_of_unreadable_images(pack, out, tmp_path):
    source = make_folder(tmp_path / "s", {"train/a": 2, "train/b": 2, "train/c": 1})
    (source / "train" / "c" / "000.jpg").write_bytes(b"x")
    assert 'the class "c" is empty' in pack(source, out, "--on-bad=skip", status=1)


def test_csv_mistakes(pack, out, tmp_path):
    picture(1).save(tmp_path / "x.jpg")
    table = tmp_path / "t.csv"
    cases = [
        ("path,label\nx.jpg,a\nx.jpg,b\n", [], "--split"),
        ("path,label\nx.jpg,a\n", ["--split", "0.5,0.5"], "one class only"),
        ("file,label\nx.jpg,a\n", [], 'no column "path": its columns are file, label'),
        ("path,label\nx.jpg,a\ny.jpg,b\n", ["--split", "0.5,0.5"], "y.jpg cannot be used: cannot be opened: No such file"),
        ("path,label\nx.jpg\n", [], "line 2 has 1 fields"),
        ("path,label\nx.jpg,a\n,b\n", ["--split", "0.5,0.5"], "line 3: the path is empty"),
        ("path,label,s\nx.jpg,a,train\nx.jpg,b,later\n", ["--split-col", "s"], 'line 3: unknown split "later"'),
        ("path,label,s\nx.jpg,a,train\nx.jpg,b,\n", ["--split-col", "s"], "line 3: a row with a label has no split"),
        ("path,label,s\nx.jpg,a,train\nx.jpg,b,test\n", ["--split-col", "s"], '"b" has no training image'),
        ("path,label\nx.jpg,a\nx.jpg,c\n", ["--split", "0.5,0.5", "--classes", "a,b"], 'line 3: the label "c" is none of'),
        ("path,label\nx.jpg,a\nx.jpg,a\n", ["--split", "0.5,0.5", "--classes", "a,b"], 'the class "b" is empty'),
        ("path,label\n", [], "names no image"),
        ("", [], "is empty"),
    ]
    for text, options, words in cases:
        table.write_text(text)
        assert words in pack(table, out, *options, status=1)


def test_label_out_of_range(pack, out, tmp_path):
    list(make_idx(tmp_path / "s", [0, 1, 2, 1], [0]))
    assert "label 2 of image 2 is out of range for the 2 classes" in pack(tmp_path / "s", out, "--classes", "a,b", status=1)
    list(make_idx(tmp_path / "gap", [0, 2, 2, 0], [0]))
    assert 'the class "1" is empty' in pack(tmp_path / "gap", out, status=1)


def test_idx_mistakes(pack, out, tmp_path):
    list(make_idx(tmp_path / "s", [0, 1, 0, 1], [0, 1], compress=True))
    images = tmp_path / "s" / "train-images-idx3-ubyte.gz"
    data = images.read_bytes()
    images.write_bytes(data[:-20])
    assert "train-images-idx3-ubyte.gz" in pack(tmp_path / "s", out, status=1)
    images.write_bytes(data[:60] + bytes([data[60] ^ 255]) + data[61:])
    assert "train-images-idx3-ubyte.gz" in pack(tmp_path / "s", out, status=1)
    images.unlink()
    assert "without its images file" in pack(tmp_path / "s", out, status=1)


@pytest.mark.parametrize("options, words", [
    (["--split", "0.8"], "parts for train, validation and test"),
    (["--split", "0.8,0.1,0.1", "--val", "3"], "give one of them"),
    (["--on-bad", "hide"], "hide"),
    (["--quality", "0"], "quality"),
    (["--shortside", "3"], "did you mean '--short-side'"),
])
def test_wrong_usage(pack, out, tmp_path, options, words):
    assert words in pack(make_folder(tmp_path / "s", FINE), out, *options, status=2)


def test_arguments(pack, out, tmp_path):
    assert "takes a source and the data set" in pack(tmp_path, status=2)


def test_never_overwritten(pack, tmp_path):
    source, path = make_folder(tmp_path / "s", FINE), tmp_path / "o.h5"
    path.write_bytes(b"precious")
    assert "exists: choose another name, or add --force" in pack(source, path, status=1)
    (source / "train" / "a" / "z.jpg").write_bytes(b"x")
    pack(source, path, "--force", status=1)
    assert path.read_bytes() == b"precious"
    (source / "train" / "a" / "z.jpg").unlink()
    pack(source, path, "--force")
    assert h5py.is_hdf5(path) and sorted(p.name for p in tmp_path.iterdir()) == ["o.h5", "s"]


def test_unwritable_folder(pack, tmp_path):
    source = make_folder(tmp_path / "s", FINE)
    assert "No such file" in pack(source, tmp_path / "none" / "o.h5", status=1)
    (tmp_path / "file").write_text("x")
    assert "Not a directory" in pack(source, tmp_path / "file" / "o.h5", status=1)
    if os.getuid() == 0:
        return  # root writes everywhere
    (tmp_path / "closed").mkdir(mode=0o555)
    assert "Permission denied" in pack(source, tmp_path / "closed" / "o.h5", status=1)


def test_full_disk(pack, tmp_path):
    """A limit on the size of files stands for a disk that fills up: what is there stays, what was begun goes."""
    source, path = make_folder(tmp_path / "s", {"train/a": 20, "train/b": 20}), tmp_path / "o.h5"
    pack(source, path)
    before = path.read_bytes()
    for blocks in (0, 4, len(before) // 1024 - 4):
        limit = ["bash", "-c", f"ulimit -f {blocks}; trap '' XFSZ; exec \"$@\"", "bash"]
        message = pack(source, path, "--force", status=1, before=limit)
        assert "File too large" in message and "o.h5" in message
        assert path.read_bytes() == before
        assert sorted(p.name for p in tmp_path.iterdir()) == ["o.h5", "s"]


def test_interrupted(build, tmp_path):
    """SIGINT while packing: status 75, no temporary file."""
    (tmp_path / "out").mkdir()
    source = tmp_path / "s"
    for name in "ab":
        (source / "train" / name).mkdir(parents=True)
    original = source / "train" / "a" / "0.png"
    Image.effect_noise((1200, 900), 90).convert("RGB").save(original, compress_level=1)
    for i in range(400):
        os.link(original, source / "train" / "b" / f"{i}.png")
    run = subprocess.Popen([build / "bin" / "lockstep", "pack", source, tmp_path / "out" / "o.h5"], stderr=subprocess.PIPE,
                           stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, text = run.communicate(timeout=60)
    assert run.returncode == 75, text
    assert "stopped: nothing is written" in text
    assert list((tmp_path / "out").iterdir()) == []


def inspect(build, path):
    done = subprocess.run([build / "bin" / "lockstep", "inspect", path], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_truncated_data_set(pack, build, tmp_path):
    path = tmp_path / "o.h5"
    pack(make_folder(tmp_path / "s", FINE), path)
    assert inspect(build, path)[0] == 0
    data = path.read_bytes()
    for part in (0.01, 0.3, 0.7, 0.99):
        path.write_bytes(data[: int(len(data) * part)])
        status, text = inspect(build, path)
        assert status == 1 and str(path) in text and len(text.strip().splitlines()) == 1, text


def test_data_set_of_a_newer_version(pack, build, tmp_path):
    path = tmp_path / "o.h5"
    pack(make_folder(tmp_path / "s", FINE), path)
    with h5py.File(path, "r+") as file:
        file.attrs.modify("version", 7)
    status, text = inspect(build, path)
    assert status == 1 and "format version 7" in text and "up to version 1" in text
