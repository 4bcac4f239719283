"""Decoding equals Pillow's exif_transpose and convert, to the last bit (P15); what is not whole is refused (P14)."""

import io
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

sys.path.insert(0, str(pathlib.Path(__file__).parent / "image"))
import image_samples as samples
from image_tool_client import ImageError, assert_same_pixels, photos, tool  # noqa: F401

KINDS = {"jpeg": samples.jpegs, "oriented": samples.oriented, "png": samples.pngs, "webp": samples.webps}


def pillow(path, mode):
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert(mode))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_generated(tool, tmp_path, kind, mode):
    paths = samples.write_all(tmp_path, KINDS[kind]())
    assert len(paths) >= 60
    for path in paths:
        assert_same_pixels(tool.decode(path, len(mode) if mode == "RGB" else 1), pillow(path, mode), path.name)


def test_probe(tool, tmp_path):
    for kind in KINDS.values():
        for path in samples.write_all(tmp_path, kind()):
            with Image.open(path) as image:
                displayed = ImageOps.exif_transpose(image)
                grey = image.mode in ("L", "1", "I;16")
                encoding = image.format.lower()
            expected = (encoding, displayed.width, displayed.height, 1 if grey else 3)
            assert tool.probe(path)[:4] == expected, path.name


def test_photographs(tool):
    for path in photos(step=40):
        assert_same_pixels(tool.decode(path), pillow(path, "RGB"), path.name)
        assert_same_pixels(tool.decode(path, 1), pillow(path, "L"), path.name)


@pytest.mark.parametrize("kind", ["jpeg", "oriented"])
def test_regions_are_parts_of_the_whole(tool, tmp_path, kind):
    """Cutting inside the decoder leaves the bits of a whole decode."""
    rng = np.random.default_rng(2)
    paths = [p for p in samples.write_all(tmp_path, KINDS[kind]())]
    large = [(f"large-{s}-{p}", samples.save(Image.fromarray(samples.picture(307, 211, 3)), "JPEG", subsampling=s, progressive=p))
             for s in (0, 1, 2) for p in (False, True)]
    large.append(("large-exif-6", samples.save(Image.fromarray(samples.picture(307, 211, 3)), "JPEG", exif=samples.exif(6, b"II"))))
    cases = [(p, 4) for p in paths] + [(p, 150) for p in samples.write_all(tmp_path, large)]
    for path, count in cases:
        whole = tool.decode(path)
        height, width, _ = whole.shape
        for _ in range(count):
            x0, x1 = sorted(rng.integers(0, width + 1, 2))
            y0, y1 = sorted(rng.integers(0, height + 1, 2))
            if x0 == x1 or y0 == y1:
                continue
            part, _ = tool.call("region", path, 3, x0, y0, x1 - x0, y1 - y0)
            assert_same_pixels(part, whole[y0:y1, x0:x1], f"{path.name} {x0} {y0} {x1} {y1}")


def test_scaled_decoding(tool, tmp_path):
    """Never below what is asked for, the smallest of the powers of two, near a box-filtered picture."""
    smooth = Image.fromarray(samples.picture(50, 40, 3)).resize((803, 641), Image.BICUBIC)
    path = tmp_path / "scaled"
    for orientation in (1, 6):
        path.write_bytes(samples.save(smooth, "JPEG", quality=95, exif=samples.exif(orientation, b"II")))
        height, width = pillow(path, "RGB").shape[:2]
        for divisor in (1, 2, 4, 8):
            expected = (-(-height // divisor), -(-width // divisor))
            ours = tool.decode(path, 3, expected[1], expected[0])
            assert ours.shape[:2] == expected
            if divisor > 1:
                above = tool.decode(path, 3, expected[1] + 1, expected[0])
                assert above.shape[0] == -(-height * 2 // divisor)
            reduced = Image.open(path).convert("RGB").reduce(divisor)
            reduced = reduced.transpose(Image.Transpose.ROTATE_270) if orientation == 6 else reduced
            error = np.abs(ours - np.asarray(reduced, dtype=float)).mean()
            assert error <= 3.0, f"1/{divisor}: {error}"


def corrupt_cases():
    rgb = Image.fromarray(samples.picture(120, 90, 3))
    for name, data in (
        ("baseline", samples.save(rgb, "JPEG")),
        ("progressive", samples.save(rgb, "JPEG", progressive=True)),
        ("png", samples.save(rgb, "PNG")),
        ("interlaced", samples.raw_png(np.asarray(rgb), 8, 2, interlaced=True)),
        ("webp", samples.save(rgb, "WEBP")),
        ("webp-lossless", samples.save(rgb, "WEBP", lossless=True)),
    ):
        yield name, data


def test_truncated_files_are_refused(tool, tmp_path):
    """P14: cut anywhere, a file gives an error, never a partly grey picture."""
    path = tmp_path / "cut"
    for name, data in corrupt_cases():
        for size in list(range(0, 40)) + list(range(40, len(data), 97)) + list(range(len(data) - 16, len(data))):
            path.write_bytes(data[:size])
            with pytest.raises(ImageError, match="error data"):
                tool.decode(path)
                pytest.fail(f"{name} cut to {size} of {len(data)} bytes was accepted")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 2])
def test_jpegs_with_a_hole_are_refused(tool, tmp_path, progressive, restarts):
    """P14: the end is there, a piece of the middle is not; Pillow would give a partly grey or shifted picture."""
    data = samples.save(Image.fromarray(samples.picture(120, 90, 3)), "JPEG", progressive=progressive,
                        restart_marker_blocks=restarts)
    path = tmp_path / "hole"
    first = data.index(b"\xff\xda") + 40
    refused = 0
    # A hole that swallows a scan's header may leave a valid file with a scan less.
    places = [at for at in range(first, len(data) - 500, 101) if b"\xff\xda" not in data[at - 1 : at + 401]]
    assert len(places) >= 3
    for at in places:
        path.write_bytes(data[:at] + data[at + 400 :])
        try:
            tool.decode(path)
        except ImageError as error:
            assert "error data the JPEG is truncated or corrupt" in str(error)
            refused += 1
    assert refused == len(places)


def test_jpeg_with_a_piece_twice_is_refused(tool, tmp_path):
    data = samples.save(Image.fromarray(samples.picture(120, 90, 3)), "JPEG", restart_marker_blocks=2)
    begin, end = data.index(b"\xff\xd3"), data.index(b"\xff\xd4")
    path = tmp_path / "twice"
    path.write_bytes(data[:end] + data[begin:])
    with pytest.raises(ImageError, match="error data the JPEG is truncated or corrupt"):
        tool.decode(path)


def test_png_checksums(tool, tmp_path):
    """Every byte of a PNG is under a CRC."""
    data = samples.save(Image.fromarray(samples.picture(20, 10, 3)), "PNG")
    path = tmp_path / "flipped"
    for at in range(8, len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ImageError, match="error data"):
            tool.decode(path)
            pytest.fail(f"a flipped bit in byte {at} was accepted")


def test_extraneous_bytes_are_harmless(tool, tmp_path):
    """Junk that Pillow accepts without a loss: before a marker, and after the picture."""
    data = samples.save(Image.fromarray(samples.picture(60, 50, 3)), "JPEG")
    path = tmp_path / "junk"
    for name, junk in (("tail", data + b"junk" * 10), ("before EOI", data[:-2] + b"\x12\x34\x56" + data[-2:])):
        path.write_bytes(junk)
        assert_same_pixels(tool.decode(path), pillow(path, "RGB"), name)


@pytest.mark.parametrize("data, reason", [
    (b"", "empty"),
    (b"GIF89a\x01\x00\x01\x00", "not a JPEG, PNG or WebP"),
    (b"\xff\xd8\xff", "JPEG"),
    (samples.raw_png(np.zeros((1, 1, 1), int), 8, 0).replace(
        samples.chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"), samples.chunk(b"IHDR", b"\0\1\0\0\0\1\0\0\x08\0\0\0\0")), "65536 x 65536"),
    (samples.raw_png(np.zeros((1, 1, 1), int), 8, 0).replace(
        samples.chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"), samples.chunk(b"IHDR", b"\0\0\x3f\xff\0\0\x3f\xff\x08\0\0\0\0")), "truncated"),
])
def test_reasons(tool, tmp_path, data, reason):
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=f"error data .*{reason}"):
        tool.decode(path)
    with pytest.raises(ImageError, match="error data"):
        tool.probe(path)


def test_encoding_equals_pillows(tool, tmp_path):
    """Pixels of our JPEG of a picture are those of Pillow's JPEG of it."""
    path = tmp_path / "source"
    image = Image.fromarray(samples.picture(97, 61, 3))
    path.write_bytes(samples.save(image, "PNG"))
    for quality in (30, 75, 95):
        encoded, _ = tool.call("encode", path, quality)
        ours = np.asarray(Image.open(io.BytesIO(encoded.tobytes())))
        theirs = np.asarray(Image.open(io.BytesIO(samples.save(image, "JPEG", quality=quality))))
        assert_same_pixels(ours, theirs, f"quality {quality}")
