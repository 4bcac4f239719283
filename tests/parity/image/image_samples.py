"""Images of every kind that io/image reads, made from one synthetic picture: (name, bytes)."""

import io
import re
import struct
import zlib

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SIZES = [(1, 1), (2, 3), (7, 5), (16, 16), (17, 31), (33, 8), (64, 48), (97, 61), (200, 3), (3, 200)]


def picture(width, height, channels, seed=0):
    """Smooth colour gradients, edges and noise: every chroma path of a decoder gets something to do."""
    rng = np.random.default_rng(seed + 1000 * width + height)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for c in range(channels):
        fx, fy, p = rng.uniform(0.02, 0.9, 3)
        plane = 127 + 100 * np.sin(fx * x + fy * y + 6 * p) + 60 * ((x // 5 + y // 7 + c) % 2)
        planes.append(plane + rng.normal(0, 12, plane.shape))
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def save(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpegs():
    for width, height in SIZES:
        rgb = Image.fromarray(picture(width, height, 3))
        size = f"{width}x{height}"
        for subsampling in (0, 1, 2):
            for progressive in (False, True):
                name = f"jpeg-{'progressive' if progressive else 'baseline'}-s{subsampling}-{size}"
                yield name, save(rgb, "JPEG", quality=85, subsampling=subsampling, progressive=progressive)
        yield f"jpeg-low-quality-{size}", save(rgb, "JPEG", quality=12)
        yield f"jpeg-restarts-{size}", save(rgb, "JPEG", quality=80, restart_marker_blocks=2)
        yield f"jpeg-rgb-{size}", save(rgb, "JPEG", keep_rgb=True)
        yield f"jpeg-grey-{size}", save(rgb.convert("L"), "JPEG", quality=80)
        cmyk = Image.fromarray(picture(width, height, 4), "CMYK")
        yield f"jpeg-cmyk-{size}", save(cmyk, "JPEG", quality=80)


def exif(orientation, order, tag_type=3):
    """An EXIF block whose IFD has a text entry before the orientation."""
    pack = ("<" if order == b"II" else ">") + "HHI"
    value = struct.pack(pack[0] + ("HH" if tag_type == 3 else "I"), *([orientation, 0] if tag_type == 3 else [orientation]))
    make = struct.pack(pack, 0x010F, 2, 8) + struct.pack(pack[0] + "I", 38)
    entry = struct.pack(pack, 0x0112, tag_type, 1) + value
    head = order + struct.pack(pack[0] + "HI", 42, 8) + struct.pack(pack[0] + "H", 2)
    return b"Exif\0\0" + head + make + entry + struct.pack(pack[0] + "I", 0) + b"Makers!\0"


def xmp(orientation, element=False):
    inner = f"><tiff:Orientation>{orientation}</tiff:Orientation>" if element else f' tiff:Orientation="{orientation}">'
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description{inner}</x:xmpmeta>".encode()


def oriented():
    """All orientations, in each container and byte order; the grey ones take another path."""
    for orientation in range(0, 10):
        for width, height in ((53, 37), (40, 64)):
            rgb = Image.fromarray(picture(width, height, 3))
            grey = rgb.convert("L")
            size = f"{width}x{height}-{orientation}"
            for order in (b"II", b"MM"):
                block = exif(orientation, order, 3 if orientation % 2 else 4)
                yield f"exif-{order.decode()}-jpeg-{size}", save(rgb, "JPEG", exif=block)
            yield f"exif-jpeg-grey-{size}", save(grey, "JPEG", exif=block)
            yield f"exif-jpeg-progressive-{size}", save(rgb, "JPEG", exif=block, progressive=True)
            yield f"exif-png-{size}", save(rgb, "PNG", exif=block)
            yield f"exif-webp-{size}", save(rgb, "WEBP", exif=block, lossless=True)
            yield f"xmp-jpeg-{size}", save(rgb, "JPEG", xmp=xmp(orientation))
            yield f"xmp-element-jpeg-{size}", save(rgb, "JPEG", xmp=xmp(orientation, True))
            profile = exif(orientation, b"MM")
            texts = PngInfo()
            texts.add_text("Raw profile type exif", f"\nexif\n{len(profile):8}\n" + re.sub("(.{72})", "\\1\n", profile.hex()),
                           zip=orientation % 2 == 1)
            yield f"profile-png-{size}", save(rgb, "PNG", pnginfo=texts)
            texts = PngInfo()
            texts.add_itxt("XML:com.adobe.xmp", xmp(orientation).decode(), zip=orientation % 2 == 1)
            yield f"xmp-png-{size}", save(rgb, "PNG", pnginfo=texts)
            yield f"xmp-webp-{size}", save(rgb, "WEBP", xmp=xmp(orientation))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack_row(row, depth):
    """One row of samples as PNG stores it."""
    if depth == 16:
        return row.astype(">u2").tobytes()
    if depth == 8:
        return row.astype(np.uint8).tobytes()
    bits = (row.astype(np.uint8)[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.ravel()).tobytes()


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def raw_png(samples, depth, colour, interlaced=False, extra=b"", after=b""):
    """H x W x C samples of the given depth and colour type as a PNG that no library's writer would make."""
    height, width, channels = samples.shape
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    data = b""
    for x0, y0, dx, dy in passes:
        part = samples[y0::dy, x0::dx]
        if part.shape[1]:
            data += b"".join(b"\0" + pack_row(row.reshape(-1), depth) for row in part)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data)) + after
            + chunk(b"IEND", b""))


def pngs():
    rng = np.random.default_rng(5)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    for colour, count in channels.items():
        for depth in depths[colour]:
            for width, height in ((1, 1), (3, 5), (13, 9), (64, 31)):
                samples = rng.integers(0, 1 << depth, (height, width, count))
                if colour == 0 and depth == 16:
                    samples[::2] %= 400  # both sides of where "I;16" is clipped
                extra = chunk(b"PLTE", rng.bytes(3 << depth)) if colour == 3 else b""
                for interlaced in (False, True):
                    name = f"png-c{colour}-d{depth}-{width}x{height}" + ("-interlaced" if interlaced else "")
                    yield name, raw_png(samples, depth, colour, interlaced, extra)
    grey = rng.integers(0, 256, (6, 7, 1))
    yield "png-trns-grey", raw_png(grey, 8, 0, extra=chunk(b"tRNS", b"\0\x20"))
    yield "png-trns-rgb", raw_png(rng.integers(0, 256, (6, 7, 3)), 8, 2, extra=chunk(b"tRNS", b"\0\x20\0\x30\0\x40"))
    palette = chunk(b"PLTE", rng.bytes(3 * 256)) + chunk(b"tRNS", rng.bytes(200))
    yield "png-trns-palette", raw_png(grey, 8, 3, extra=palette)
    yield "png-exif-behind-pixels", raw_png(grey, 8, 0, after=chunk(b"eXIf", exif(6, b"MM")[6:]))
    for width, height in SIZES:
        yield f"png-filtered-{width}x{height}", save(Image.fromarray(picture(width, height, 3)), "PNG", optimize=True)


def webps():
    for width, height in SIZES:
        rgb = Image.fromarray(picture(width, height, 3))
        rgba = Image.fromarray(picture(width, height, 4))
        size = f"{width}x{height}"
        yield f"webp-lossy-{size}", save(rgb, "WEBP", quality=70)
        yield f"webp-lossless-{size}", save(rgb, "WEBP", lossless=True)
        yield f"webp-alpha-lossy-{size}", save(rgba, "WEBP", quality=60)
        yield f"webp-alpha-lossless-{size}", save(rgba, "WEBP", lossless=True)
        yield f"webp-alpha-exact-{size}", save(rgba, "WEBP", lossless=True, exact=True)
        yield f"webp-grey-{size}", save(rgb.convert("L"), "WEBP", quality=90)
    frames = [Image.fromarray(picture(40, 30, 4, seed)) for seed in range(3)]
    for lossless in (False, True):
        yield f"webp-animated-{lossless}", save(frames[0], "WEBP", save_all=True, append_images=frames[1:],
                                                lossless=lossless)


def write_all(folder, samples):
    paths = []
    for name, data in samples:
        path = folder / name
        path.write_bytes(data)
        paths.append(path)
    return paths
