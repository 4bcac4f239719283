"""lockstep pack against torchvision, Pillow and h5py: what is in the file is what is in the folder."""

import csv
import ctypes
import ctypes.util
import gzip
import io
import json
import os
import pathlib
import re
import struct
import subprocess
import sys

import h5py
import numpy
import pytest
import torch
import torchvision
from PIL import Image, ImageOps

ROOT = pathlib.Path(__file__).resolve().parents[2]
PHOTOS = pathlib.Path(os.environ.get("LOCKSTEP_PHOTOS", ROOT / ".." / "shared" / "data" / "clothing-small"))
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="session")
def pack(build):
    """Runs lockstep pack; expects `status`; gives the JSON of the result, or the error."""

    def run(*arguments, status=0, before=(), environment=None):
        command = [*before, build / "bin" / "lockstep", "pack", *arguments]
        if status == 0:
            command.append("--json")
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300,
                              env={**os.environ, **(environment or {})})
        assert done.returncode == status, done.stderr
        if status == 0:
            return json.loads(done.stdout) | {"stderr": done.stderr}
        lines = done.stderr.strip().splitlines()
        assert lines[-1].startswith("lockstep: "), done.stderr
        return lines[-1]

    return run


def picture(seed, width=40, height=30, mode="RGB"):
    """Smooth noise: no flat areas, but not a worst case for JPEG either."""
    generator = numpy.random.default_rng(seed)
    small = generator.integers(0, 256, (5, 6, 3), dtype=numpy.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def make_folder(root, layout, kind="jpg"):
    """layout: {"train/cat": 3, ...}: so many images in each folder."""
    seed = 0
    for folder, count in layout.items():
        (root / folder).mkdir(parents=True)
        for i in range(count):
            seed += 1
            picture(seed).save(root / folder / f"{i:03}.{kind}")
    return root


def column(path, name):
    with h5py.File(path) as file:
        return file["index"][name][:]


def texts(path, name):
    with h5py.File(path) as file:
        return [text.decode() for text in file[name][:]]


def sample_bytes(path, i):
    with h5py.File(path) as file:
        index = file["index"]
        offset, length = index["offset"][i], index["length"][i]
        return file[f"data/{index['segment'][i]:05}"][offset : offset + length].tobytes()


SPLITS = {"train/cat": 4, "train/Dog": 3, "train/dog": 2, "val/cat": 2, "val/Dog": 1, "val/dog": 1, "test/Dog": 2,
          "predict": 3}


def test_folder_equals_image_folder(pack, tmp_path):
    """P4: classes in torchvision's order, and every byte of every file untouched."""
    source, out = make_folder(tmp_path / "s", SPLITS), tmp_path / "o.h5"
    result = pack(source, out)
    reference = torchvision.datasets.ImageFolder(source / "train")
    assert texts(out, "class_names") == reference.classes == ["Dog", "cat", "dog"]
    assert result["splits"] == {"train": 9, "validation": 4, "test": 2, "predict": 3}
    sources, splits, labels = texts(out, "index/source"), column(out, "split"), column(out, "label")
    train = [(str(source / path), label) for path, split, label in zip(sources, splits, labels) if split == 0]
    assert train == reference.samples
    for i, path in enumerate(sources):
        assert sample_bytes(out, i) == (source / path).read_bytes()
    assert (labels[splits == 3] == -1).all()
    assert "the class cat has no image in test" in result["stderr"]


def test_hidden_and_other_files(pack, tmp_path):
    source, out = make_folder(tmp_path / "s", {"train/a": 2, "train/b": 2, "train/.cache": 1}), tmp_path / "o.h5"
    (source / "train" / "a" / "notes.txt").write_text("x")
    (source / "train" / "a" / "._000.jpg").write_bytes(b"x")
    (source / "train" / "b" / "deeper").mkdir()
    picture(99).save(source / "train" / "b" / "deeper" / "z.png")
    result = pack(source, out)
    assert result["samples"] == 5 and texts(out, "class_names") == ["a", "b"]
    assert "ignored the hidden folder train/.cache" in result["stderr"]
    assert "ignored the hidden file train/a/._000.jpg" in result["stderr"]
    assert "ignored 1 files that are no images, such as train/a/notes.txt" in result["stderr"]
    assert "train/b/deeper/z.png" in texts(out, "index/source")


def test_stratified_split(pack, tmp_path):
    """Every class in the same proportion, the same for the same seed, another for another."""
    source = make_folder(tmp_path / "s", {"a": 40, "b": 20, "c": 10})
    first = pack(source, tmp_path / "1.h5", "--split", "0.8,0.1,0.1")
    for entry, count in zip(first["classes"], (40, 20, 10)):
        assert [entry["samples"][name] for name in ("train", "validation", "test")] == [count * 8 // 10, count // 10,
                                                                                       count // 10]
    pack(source, tmp_path / "2.h5", "--split=0.8,0.1,0.1", "--workers", "1")
    pack(source, tmp_path / "3.h5", "--split=0.8,0.1,0.1", "--workers", "7")
    pack(source, tmp_path / "4.h5", "--split=0.8,0.1,0.1", "--seed", "1")
    one, two, three, four = ((tmp_path / f"{i}.h5").read_bytes() for i in (1, 2, 3, 4))
    assert one == two == three
    assert one != four
    part = pack(make_folder(tmp_path / "t", {"train/a": 20, "train/b": 40, "test/a": 2}), tmp_path / "5.h5", "--val", "6")
    assert part["splits"] == {"train": 54, "validation": 6, "test": 2, "predict": 0}
    assert [entry["samples"]["validation"] for entry in part["classes"]] == [2, 4]


def test_index_agrees_with_pillow(pack, tmp_path):
    """Sizes as displayed, channels, encodings, for many kinds of image."""
    source = tmp_path / "s" / "train"
    for name in ("a", "b"):
        (source / name).mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1, 50, 20).save(source / "a" / "rotated.jpg", exif=exif)
    picture(2, 31, 17, "L").save(source / "a" / "grey.png")
    picture(3, 31, 17, "P").save(source / "a" / "palette.png")
    picture(4, 21, 47, "RGBA").save(source / "b" / "alpha.webp", lossless=True)
    picture(5, 33, 44, "L").save(source / "b" / "grey.jpg")
    picture(6, 33, 44, "CMYK").save(source / "b" / "cmyk.jpg")
    out = tmp_path / "o.h5"
    pack(tmp_path / "s", out)
    expected = {"rotated.jpg": (20, 50, 3, 1), "grey.png": (31, 17, 1, 2), "palette.png": (31, 17, 3, 2),
                "alpha.webp": (21, 47, 3, 3), "grey.jpg": (33, 44, 1, 1), "cmyk.jpg": (33, 44, 3, 1)}
    names = ("width", "height", "channels", "encoding")
    for path, *row in zip(texts(out, "index/source"), *(column(out, name) for name in names)):
        assert tuple(int(value) for value in row) == expected[path.split("/")[-1]], path


@pytest.mark.parametrize("side", [16, 30])
def test_short_side_raw_equals_pillow(pack, tmp_path, side):
    """P15: stored pixels are those of torchvision's Resize on Pillow images; small images are not enlarged."""
    source = tmp_path / "s" / "train"
    for name in ("a", "b"):
        (source / name).mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 8
    picture(1, 61, 47).save(source / "a" / "wide.png")
    picture(2, 47, 203).save(source / "a" / "tall.png")
    picture(3, 80, 64, "L").save(source / "b" / "grey.png")
    picture(4, 90, 48).save(source / "b" / "rotated.png", exif=exif)
    picture(5, 20, 16).save(source / "b" / "small.png")
    out = tmp_path / "o.h5"
    result = pack(tmp_path / "s", out, "--short-side", side, "--raw")
    assert result["stored_rule"] == {"resize": "short_side", "size": side, "interpolation": "bilinear",
                                     "antialias": True, "enlarge": False, "encoding": "raw"}
    resize = torchvision.transforms.Resize(side)
    for i, path in enumerate(texts(out, "index/source")):
        image = ImageOps.exif_transpose(Image.open(tmp_path / "s" / path))
        expected = resize(image) if min(image.size) > side else image
        assert (column(out, "width")[i], column(out, "height")[i]) == expected.size
        stored = numpy.frombuffer(sample_bytes(out, i), numpy.uint8)
        assert (stored == numpy.asarray(expected).reshape(-1)).all(), path


def test_short_side_jpeg(pack, tmp_path):
    """Encoded again at the quality asked for: what Pillow decodes is near the resized image, small ones untouched."""
    source = tmp_path / "s" / "train"
    for name in ("a", "b"):
        (source / name).mkdir(parents=True)
    picture(1, 300, 200).save(source / "a" / "big.png")
    picture(2, 50, 40).save(source / "b" / "small.jpg")
    high, low = tmp_path / "high.h5", tmp_path / "low.h5"
    pack(tmp_path / "s", high, "--short-side", "100", "--quality", "98")
    result = pack(tmp_path / "s", low, "--short-side", "100", "--quality", "30")
    assert result["stored_rule"]["quality"] == 30
    expected = numpy.asarray(picture(1, 300, 200).resize((150, 100), Image.Resampling.BILINEAR), float)
    errors = []
    for path in (high, low):
        image = Image.open(io.BytesIO(sample_bytes(path, 0)))
        assert image.format == "JPEG" and image.size == (150, 100)
        errors.append(numpy.abs(numpy.asarray(image, float) - expected).mean())
    assert errors[0] < 1.5 and errors[0] < errors[1] < 10
    assert column(high, "length")[0] > column(low, "length")[0]
    assert sample_bytes(low, 1) == (source / "b" / "small.jpg").read_bytes()


def test_csv(pack, tmp_path):
    """Columns by name, quoted fields, groups kept whole, rows without labels, classes by value."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = []
    for i in range(60):
        name = f'{i}, "x".jpg' if i % 7 == 0 else f"{i}.jpg"
        picture(i).save(folder / name)
        rows.append([name, "" if i >= 54 else (10, 9, 2)[i % 3], f"person {i // 4}"])
    table = tmp_path / "list.csv"
    with open(table, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "kind", "who"])
        writer.writerows(rows)
    out = tmp_path / "o.h5"
    result = pack(table, out, "--images", folder, "--path-col", "image", "--label-col=kind", "--group-col", "who", "--split",
                  "0.6,0.2,0.2")
    assert texts(out, "class_names") == ["2", "9", "10"]
    assert result["splits"]["predict"] == 6 and result["samples"] == 60 and result["groups"] == 15
    assert texts(out, "index/source") == [row[0] for row in rows]
    groups, splits, names = column(out, "group"), column(out, "split"), texts(out, "group_names")
    assert [names[group] for group in groups] == [row[2] for row in rows]
    for group in set(groups[:52]):
        assert len(set(splits[groups == group]) - {3}) == 1
    for split, part in enumerate((0.6, 0.2, 0.2)):
        assert abs((splits == split).sum() - part * 54) <= 4
    split_names = ["train", "val", "testing", "predict"]
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "who", "part"])
        writer.writerows([*row, split_names[3 if row[1] == "" else i // 3 % 3]] for i, row in enumerate(rows))
    result = pack(table, tmp_path / "p.h5", "--images", folder, "--group-col", "who", "--split-col", "part", "--classes",
                  "2,10,9")
    assert "groups have images in more than one split, such as person 0" in result["stderr"]
    assert texts(tmp_path / "p.h5", "class_names") == ["2", "10", "9"]
    assert (column(tmp_path / "p.h5", "split") == [3 if i >= 54 else i // 3 % 3 for i in range(60)]).all()


def write_idx(path, array, compress):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    (gzip.open if compress else open)(path, "wb").write(header + array.astype(numpy.uint8).tobytes())


def make_idx(folder, train, test, compress=False):
    folder.mkdir()
    generator = numpy.random.default_rng(5)
    end = ".gz" if compress else ""
    for prefix, labels in (("train", train), ("t10k", test)):
        images = generator.integers(0, 256, (len(labels), 9, 7))
        write_idx(folder / f"{prefix}-images-idx3-ubyte{end}", images, compress)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{end}", numpy.array(labels), compress)
        yield images


@pytest.mark.parametrize("compress", [False, True])
def test_idx(pack, tmp_path, compress):
    train, test = [0, 1, 2] * 20, [2, 0]
    train_images, test_images = make_idx(tmp_path / "s", train, test, compress)
    names = tmp_path / "names.txt"
    names.write_text("nought\none\n\ntwo\n")
    out = tmp_path / "o.h5"
    result = pack(tmp_path / "s", out, "--val", "0.25", "--classes", names)
    assert texts(out, "class_names") == ["nought", "one", "two"]
    assert result["splits"] == {"train": 45, "validation": 15, "test": 2, "predict": 0}
    assert [entry["samples"]["validation"] for entry in result["classes"]] == [5, 5, 5]
    assert (column(out, "label") == train + test).all()
    images = numpy.concatenate([train_images, test_images])
    for i in range(62):
        assert (numpy.frombuffer(sample_bytes(out, i), numpy.uint8) == images[i].reshape(-1)).all()
    assert pack(tmp_path / "s", tmp_path / "p.h5")["classes"][2]["name"] == "2"


@pytest.mark.skipif(not FASHION.exists(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist(pack, tmp_path):
    out = tmp_path / "o.h5"
    result = pack(FASHION, out, "--val", "5000")
    assert result["splits"] == {"train": 55000, "validation": 5000, "test": 10000, "predict": 0}
    for entry in result["classes"]:
        assert entry["samples"] == {"train": 5500, "validation": 500, "test": 1000, "predict": 0}
    images = numpy.frombuffer(gzip.open(FASHION / "t10k-images-idx3-ubyte.gz").read(), numpy.uint8)[16:].reshape(-1, 784)
    labels = numpy.frombuffer(gzip.open(FASHION / "t10k-labels-idx1-ubyte.gz").read(), numpy.uint8)[8:]
    with h5py.File(out) as file:
        tail = file["data/00000"][60000 * 784 :].reshape(-1, 784)
        assert (tail == images).all()
        assert (file["index/label"][60000:] == labels).all()


def page_code():
    page = (ROOT / "docs" / "formats.md").read_text()
    return re.search(r"```python\n(import io, h5py.*?)```", page, re.S).group(1)


def test_loader_of_the_page(pack, tmp_path):
    """The ten lines in docs/formats.md, run as they stand, give the pixels of ImageFolder."""
    code = page_code()
    lines = code.split("\n\n")[1].strip().splitlines()
    assert len(lines) <= 11
    namespace = {}
    exec(code, namespace)
    source = make_folder(tmp_path / "s", {"train/a": 5, "train/b": 4, "val/a": 2, "val/b": 1})
    exif = Image.Exif()
    exif[0x0112] = 3
    picture(70).save(source / "train" / "a" / "turned.jpg", exif=exif)
    picture(71, mode="L").save(source / "train" / "b" / "grey.jpg")
    to_tensor = torchvision.transforms.ToTensor()
    pack(source, tmp_path / "o.h5")
    pack(source, tmp_path / "raw.h5", "--raw")
    for split, name in enumerate(("train", "val")):
        reference = torchvision.datasets.ImageFolder(source / name, loader=lambda path: to_tensor(
            ImageOps.exif_transpose(Image.open(path)).convert("RGB")))
        for path in ("o.h5", "raw.h5"):
            packed = namespace["Packed"](tmp_path / path, split, to_tensor)
            assert len(packed) == len(reference)
            loader = torch.utils.data.DataLoader(packed, batch_size=3)
            images = torch.cat([batch for batch, _ in loader])
            labels = torch.cat([batch for _, batch in loader])
            assert torch.equal(images, torch.stack([image for image, _ in reference]))
            assert labels.tolist() == [label for _, label in reference]


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def xxh3_128(data):
    """XXH3-128 in canonical order, by the system's libxxhash."""
    library = ctypes.CDLL(ctypes.util.find_library("xxhash"))
    library.XXH3_128bits.restype = Hash128
    library.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    value = library.XXH3_128bits(data, len(data))
    return struct.pack(">QQ", value.high, value.low)


def test_hashes_of_the_page(pack, tmp_path):
    """index_hash and the hash of each sample, recomputed as docs/formats.md says."""
    out = tmp_path / "o.h5"
    pack(make_folder(tmp_path / "s", SPLITS), out)
    fields = "segment offset length label split group width height channels encoding hash source".split()
    with h5py.File(out) as file:
        parts = [file["index"][name][:].tobytes() for name in fields]
        parts += [file["class_names"][:].tobytes(), file.attrs["stored_rule"]]
        assert xxh3_128(b"".join(parts)).hex() == file.attrs["index_hash"].decode()
        for i in range(len(file["index/hash"])):
            assert file["index/hash"][i].tobytes() == xxh3_128(sample_bytes(out, i))
        assert file.attrs["format"] == b"lockstep-dataset" and file.attrs["version"] == 1
        assert list(file["index/split"].attrs["names"]) == [b"train", b"validation", b"test", b"predict"]
        assert list(file["index/encoding"].attrs["names"]) == [b"raw", b"jpeg", b"png", b"webp"]
        for name in (*("index/" + field for field in fields), "class_names", "data/00000"):
            assert file[name].chunks is None and file[name].compression is None


def peak_memory(build, tmp_path, source, name):
    """Peak resident bytes of packing a folder."""
    script = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL,"
              "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    command = [sys.executable, "-c", script, build / "bin" / "lockstep", "pack", source, tmp_path / name, "--workers", "2"]
    return int(subprocess.check_output([str(word) for word in command], text=True)) * 1024


def test_memory_is_bounded(build, tmp_path):
    """The second set has 200 MB more pixels than the first; packing it takes no more memory."""
    noise = numpy.random.default_rng(1).integers(0, 256, (600, 800, 3), dtype=numpy.uint8)
    (tmp_path / "few" / "train" / "a").mkdir(parents=True)
    (tmp_path / "few" / "train" / "b").mkdir(parents=True)
    original = tmp_path / "few" / "train" / "a" / "x.png"
    Image.fromarray(noise).save(original, compress_level=1)
    os.link(original, tmp_path / "few" / "train" / "b" / "x.png")
    for count, name in ((70, "some"), (210, "many")):
        for label in ("a", "b"):
            (tmp_path / name / "train" / label).mkdir(parents=True)
            for i in range(count // 2):
                os.link(original, tmp_path / name / "train" / label / f"{i}.png")
    some, many = (peak_memory(build, tmp_path, tmp_path / name, name + ".h5") for name in ("some", "many"))
    grown = (tmp_path / "many.h5").stat().st_size - (tmp_path / "some.h5").stat().st_size
    assert grown > 190e6
    assert many - some < 16e6, (some, many)


@pytest.mark.skipif(not PHOTOS.exists(), reason=f"no photographs at {PHOTOS}; set LOCKSTEP_PHOTOS")
def test_photographs(pack, tmp_path):
    """The validation photographs: bytes, order and labels as ImageFolder's."""
    source = tmp_path / "s"
    source.mkdir()
    (source / "train").symlink_to((PHOTOS / "validation").resolve())
    out = tmp_path / "o.h5"
    result = pack(source, out)
    reference = torchvision.datasets.ImageFolder(PHOTOS / "validation")
    assert result["samples"] == len(reference.samples) and texts(out, "class_names") == reference.classes
    assert [str(PHOTOS / "validation" / path.split("/", 1)[1]) for path in texts(out, "index/source")] == [
        path for path, _ in reference.samples]
    for i in range(0, len(reference.samples), 20):
        assert sample_bytes(out, i) == pathlib.Path(reference.samples[i][0]).read_bytes()
