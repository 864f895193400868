"""Pixels that every viewer shows are never lost to what stands beside them; what is no image is called what it is."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from tlft.pixels.decode import BadImageError, load_image

ORIENTATION = 0x0112
TAGS = (ORIENTATION, 0x010F, 0x011A, 0x0128, 0x014A, 0x0201, 0x829B, 0x8769, 0x8825, 0x9286, 0xA005)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8))


def saved(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, format, **options)
    return buffer.getvalue()


def in_jpeg(block: bytes) -> bytes:
    data, payload = saved("jpeg"), b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + data[2:]


def in_jpeg_without_density(block: bytes) -> bytes:
    """Return one whose resolution Pillow takes from the EXIF block as soon as it opens it."""
    data = in_jpeg(block)
    start = data.index(b"\xff\xe0")
    return data[:start] + data[start + 18 :]


def in_png(block: bytes, kind: bytes = b"eXIf") -> bytes:
    data = saved("png")
    chunk = struct.pack(">I", len(block)) + kind + block + struct.pack(">I", zlib.crc32(kind + block))
    return data[:33] + chunk + data[33:]


def in_png_profile(block: bytes) -> bytes:
    """Return one with the block as ImageMagick writes it."""
    raw = b"Exif\0\0" + block
    text = f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()
    return in_png(b"Raw profile type exif\0\0" + zlib.compress(text), b"zTXt")


def in_webp(block: bytes) -> bytes:
    return saved("webp", exif=block, lossless=True)


CONTAINERS = (in_jpeg, in_jpeg_without_density, in_png, in_png_profile, in_webp)


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")


def block_of(*entries: bytes) -> bytes:
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


SIX = entry(ORIENTATION, 3, 1, b"\6")


def random_block(source: random.Random) -> bytes:
    """Return a block that is like EXIF, and wrong in one of many ways, or in several."""
    entries = [
        entry(
            source.choice(TAGS) if source.random() < 0.8 else source.randrange(65536),
            source.randrange(20),
            source.choice((0, 1, 1, 2, 8, 1000, 2**32 - 1)),
            struct.pack("<I", source.choice((0, 1, 3, 6, 8, 26, 60, 0xFFF0, 2**31, 2**32 - 1))),
        )
        for _ in range(source.randrange(6))
    ]
    if source.random() < 0.6:
        entries.insert(source.randint(0, len(entries)), entry(ORIENTATION, 3, 1, bytes([source.randint(1, 8)])))
    block = bytearray(block_of(*entries) + source.randbytes(source.randrange(40)))
    for _ in range(source.choice((0, 0, 1, 4))):
        block[source.randrange(len(block))] = source.randrange(256)
    return bytes(block[: source.randrange(len(block))] if source.random() < 0.2 else block)


@pytest.mark.parametrize("contain", CONTAINERS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says that blocks are corrupt
def test_no_exif_block_costs_an_image(contain: Callable[[bytes], bytes]) -> None:
    """500 generated blocks in each of five containers; `exif_transpose` fails on many of them."""
    for number in range(500):
        data = contain(random_block(random.Random(number)))
        assert sorted(load_image(data).size) == [6, 9], number


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(10))
def test_a_whole_block_gives_the_pixels_of_exif_transpose(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = saved(format, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(load_image(data)), expected)


SIDEWAYS = {
    "offset outside": block_of(SIX, entry(0x829B, 5, 1, b"\xf0\xff\xff\0")),
    "offset outside before it": block_of(entry(0x010F, 5, 1, b"\xf0\xff\xff\0"), SIX),
    "directory outside": block_of(SIX, entry(0x8825, 4, 1, b"\xf0\xff\0\0")),
    "larger than the file": block_of(SIX, entry(0x9C9B, 2, 2**32 - 1, b"")),
    "text": block_of(entry(ORIENTATION, 2, 2, b"6")),
    "long": block_of(entry(ORIENTATION, 4, 1, b"\6")),
    "byte": block_of(entry(ORIENTATION, 1, 1, b"\6")),
    "cut behind it": block_of(SIX)[:22],
    "header twice": b"Exif\0\0" + block_of(SIX),
}


@pytest.mark.parametrize("contain", CONTAINERS)
@pytest.mark.parametrize("block", SIDEWAYS.values(), ids=SIDEWAYS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_orientation_is_obeyed_whatever_stands_beside_it(contain: Callable[[bytes], bytes], block: bytes) -> None:
    assert load_image(contain(block)).size == (6, 9)


@pytest.mark.parametrize("block", [b"", b"\0\x08\0\2\1\x12\0\3", block_of(entry(ORIENTATION, 3, 1, b"\x09"))])
def test_without_a_readable_orientation_the_pixels_are_as_they_are(block: bytes) -> None:
    with Image.open(io.BytesIO(in_png(b""))) as image:
        image.load()
        expected = np.asarray(image)
    np.testing.assert_array_equal(np.asarray(load_image(in_png(block))), expected)


def test_a_tiff_whose_other_tags_are_broken_keeps_its_pixels() -> None:
    data = bytearray(saved("tiff"))
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    entries = [bytes(data[start + 2 + 12 * i : start + 14 + 12 * i]) for i in range(count)]
    entries.append(entry(0x8769, 9, 1, struct.pack("<i", -(2**31))))  # the EXIF directory before the beginning
    data[4:8] = struct.pack("<I", len(data))
    data += struct.pack("<H", len(entries)) + b"".join(sorted(entries)) + bytes(4)
    np.testing.assert_array_equal(np.asarray(load_image(bytes(data))), np.asarray(picture()))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(200), "is a HEIC photograph"),
        (struct.pack(">I", 24) + b"ftypisom" + bytes(200), "is a video"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "is a web page (HTML)"),
        (b"\n<!-- cached -->\n<HTML lang='en'>", "is a web page (HTML)"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", "is a pointer of Git LFS"),
        ('{"error": "zu viele Anfragen für heute"}'.encode(), "is text, and no image"),
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF document"),
        (b"PK\x03\x04" + bytes(40), "is an archive"),
        (b"\0\5\x16\7" + bytes(90), "is what macOS keeps beside a file"),
        (bytes(500), "begins with zeros"),
        (b"\x89" + bytes(range(1, 200)), "is no image, or its beginning is broken"),
        (saved("jpeg")[:-30], "is truncated"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(data: bytes, reason: str) -> None:
    with pytest.raises(BadImageError) as caught:
        load_image(data)
    assert caught.value.reason.startswith(reason)


@pytest.mark.parametrize("format", ["gif", "webp", "png", "tiff", "avif"])
def test_of_what_moves_the_first_picture_counts(format: str) -> None:
    if format == "avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    options = {"quality": 100} if format == "avif" else {"lossless": True} if format == "webp" else {}
    colours = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    colours[0].save(buffer, format, save_all=True, append_images=colours[1:], **options)
    seen = load_image(buffer.getvalue())
    assert (seen.mode, seen.size) == ("RGB", (16, 16))
    assert np.abs(np.asarray(seen).astype(int) - np.asarray(colours[0])).max() <= 4


def test_a_transparent_gif_stands_on_white() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(buffer, "gif")
    assert (np.asarray(load_image(buffer.getvalue())) == 255).all()


def test_a_telephones_photograph_is_read_upright() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="tlft[heic] is not installed")
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # its left edge is up
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer, quality=100, exif=exif.tobytes())
    seen = np.asarray(load_image(buffer.getvalue())).astype(int)
    assert seen.shape == (64, 32, 3)
    assert seen[:28].min() > 200
    assert seen[36:].max() < 50
