"""Decode one image file as people see it: upright, in RGB; or say what the file is instead.

What a network makes of the pixels, and where they are kept, is elsewhere (see pixel_store.py).
"""

from __future__ import annotations

import codecs
import io
import re
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from tlft.errors import TlftError
from tlft.pixels.transforms import Reading
from tlft.storage.files import display_name

with suppress(ImportError):
    from pillow_heif import register_heif_opener

    register_heif_opener()

_TRANSPOSITIONS = dict(enumerate(("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM"), start=2))
_TRANSPOSITIONS |= dict(enumerate(("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"), start=5))
"""What brings an image upright, by its EXIF orientation (EXIF 2.32, 4.6.4, tag 0x0112)."""


class BadImageError(TlftError):
    """Say which file is no image, and the reason, a few words that follow its name, such as `is empty`."""

    def __init__(self, path: Path, reason: str, mend: str = "replace or delete it") -> None:
        super().__init__(path, reason, mend)  # these, and not the text, so that it survives pickling
        self.reason = reason

    def __str__(self) -> str:
        path, reason, mend = self.args
        return f"{display_name(path)}: {reason}; {mend}"


FULL_WHITE = 65535
"""White of sixteen bits, which needs no word."""

_MAX_SAMPLE_VALUE = 281  # a tag of TIFF 6.0


def load_image(source: Path | bytes, reading: Reading | None = None) -> Image.Image:
    """Return the image of a file, or of what one holds, as people see it: upright, in RGB, on white where transparent.

    Args:
        source: the file, or its bytes.
        reading: how it is read; None as it is.

    Raises:
        BadImageError: if the file is truncated, no image, or larger than Pillow's limit.
        TlftError: if the file cannot be read.
    """
    if isinstance(source, bytes):
        return decode(source, Path(f"{len(source)} bytes"), reading)
    return decode(read_file(source), source, reading)


def read_file(path: Path) -> bytes:
    """Return the bytes of a file, or raise a TlftError that says why they cannot be had."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        message = "the file vanished; put it back, or start again without it"
        raise TlftError(f"{display_name(path)}: {message}") from None
    except OSError as error:
        message = f"cannot be read ({error.strerror}); mend that, or take the file away"
        raise TlftError(f"{display_name(path)}: {message}") from None


def decode(data: bytes, path: Path, reading: Reading | None = None) -> Image.Image:
    """Return the image that a file's bytes hold, as `load_image` does; `path` is for what is said of a bad one."""
    reading = reading or Reading()
    try:
        with Image.open(io.BytesIO(data)) as image:
            if reading.at_least is not None:  # which JPEG alone heeds, to no fewer pixels than are asked for
                image.draft(None, (reading.at_least, reading.at_least))
            stated = stated_white(image) if reading.white.by_tags else None
            level = reading.white.level or FULL_WHITE
            return _to_rgb(upright(image), [level] if stated is None else [stated, level])
    except MemoryError:
        raise
    except Exception as error:  # on broken files Pillow raises anything from OSError to struct.error
        raise BadImageError(path, _reason(error, data)) from None


def upright(image: Image.Image) -> Image.Image:
    """Return an image as its EXIF orientation says, with the pixels of Pillow's `exif_transpose`.

    That one reads and writes the whole block, and fails where any tag of it is broken (Pillow 13); viewers look at the
    orientation alone, and show the pixels as they are if there is none.
    """
    try:
        image.load()
    except Exception:
        if (
            not isinstance(image, TiffImageFile) or image.tile
        ):  # else the pixels are there, and what it has read since is broken
            raise
    method = _TRANSPOSITIONS.get(_orientation(image))
    return image if method is None else image.transpose(Image.Transpose[method])


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where nothing readable is said of it."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # anything from SyntaxError to OverflowError
        value = None
    orientation = _as_orientation(value)
    if orientation is None:
        orientation = _as_orientation(_find_orientation(_exif_block(image)))
    return orientation or 1


def _exif_block(image: Image.Image) -> bytes:
    block = image.info.get("exif", b"")
    if isinstance(profile := image.info.get("Raw profile type exif"), str):  # ImageMagick's, in a PNG
        with suppress(ValueError):
            block = bytes.fromhex("".join(profile.split("\n")[3:]))
    return block if isinstance(block, bytes) else b""


def _as_orientation(value: Any) -> int | None:
    """Return a tag's value as an orientation, though it have the wrong type (text, a byte, a fraction); else None."""
    if isinstance(value, bytes):
        value = value[0] if value[:1] < b"\x20" and value else value.decode("ascii", "replace")
    if isinstance(value, str):
        value = int(text) if (text := value.strip(" \0")).isdecimal() else None
    return next((orientation for orientation in range(1, 9) if value == orientation), None)


def _find_orientation(block: bytes) -> Any:
    """Look for the orientation among the entries of a block's first directory, whatever stands beside it."""
    block = re.sub(rb"^(Exif\0\0)+", b"", block)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 10:
        return None
    start = struct.unpack_from(f"{order}I", block, 4)[0]
    for offset in range(start + 2, min(len(block), start + 2 + 12 * 0xFFFF) - 11, 12):
        tag, kind = struct.unpack_from(f"{order}HH", block, offset)
        if tag == ExifTags.Base.Orientation:
            layout = {3: "H", 4: "I", 8: "h", 9: "i"}.get(kind, "4s")
            return struct.unpack_from(f"{order}{layout}", block, offset + 8)[0]
    return None


def _reason(error: Exception, data: bytes) -> str:
    if not data:
        return "is empty"
    if isinstance(error, PIL.UnidentifiedImageError):
        return _what_it_is(data) or "is no image, or its beginning is broken"
    if isinstance(error, Image.DecompressionBombError):
        return f"is larger than Pillow's limit against decompression bombs ({2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels)"
    message = " ".join(str(error).split()) or type(error).__name__
    return "is truncated" if "truncated" in message.lower() else f"cannot be decoded ({message})"


_CONVERT = "which must be converted to JPEG or PNG"
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (rb".{4}ftyp(hei|hev|mif1|msf1)", f"is a HEIC photograph, {_CONVERT}, or read by tlft[heic]"),
    (rb".{4}ftypavi[fs]", f"is an AVIF image, {_CONVERT}"),
    (rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI ", "is a video or a camera's raw file"),
    (rb"\0\0\0\x0cJXL |\xff\x0a", f"is a JPEG XL image, {_CONVERT}"),
    (rb".{128}DICM|\x93NUMPY|\x89HDF\r\n", f"is an array of numbers (DICOM, NumPy, HDF5), {_CONVERT}"),
    (rb"(?i)\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", "is a web page (HTML), as a failed download leaves"),
    (rb"(?i)\s*(<(\?xml|!--|!doctype svg).*?>\s*)*<svg\b", f"is an SVG drawing, {_CONVERT}"),
    (rb"version https://git-lfs\.github\.com/", "is a pointer of Git LFS (`git lfs pull` fetches the image)"),
    (rb"%PDF-", "is a PDF document"),
    (rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ\0|7z\xbc\xaf|Rar!", "is an archive (ZIP or the like)"),
    (rb"\0\x05\x16\x07", "is what macOS keeps beside a file (._), and no image"),
    (rb"\0{64}", "begins with zeros, as a failed download or disk leaves"),
)


def _what_it_is(data: bytes) -> str:
    """Return what a file is by its first bytes, whatever its name says; nothing if that is not known."""
    beginning = data[:2048].removeprefix(codecs.BOM_UTF8)
    for pattern, reason in _BEGINNINGS:
        if re.match(pattern, beginning, re.DOTALL):
            return reason
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning)  # which may end within a letter
    except UnicodeDecodeError:
        return ""
    return "is text, and no image" if all(letter.isprintable() or letter.isspace() for letter in text) else ""


def stated_white(image: Image.Image) -> int | None:
    """Return the grey value that a file's own tag calls its largest (TIFF's MaxSampleValue); None where it has none."""
    value = getattr(image, "tag_v2", {}).get(_MAX_SAMPLE_VALUE)
    value = value[0] if isinstance(value, tuple) and value else value  # one for each sample of a pixel
    return value if isinstance(value, int) and value > 0 else None


def is_deep(image: Image.Image) -> bool:
    """Tell whether an image has grey values of more than eight bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _to_rgb(image: Image.Image, whites: Sequence[int]) -> Image.Image:
    if is_deep(image):
        image = _to_eight_bits(image, whites)
    elif image.has_transparency_data:
        foreground = image.convert("RGBA")
        image = Image.new("RGBA", foreground.size, "white")
        image.alpha_composite(foreground)
    return image if image.mode == "RGB" else image.convert("RGB")  # which copies also what is RGB


def _to_eight_bits(image: Image.Image, whites: Sequence[int]) -> Image.Image:
    """Scale grey values; Pillow's own conversion clips them at 255.

    White is the first of `whites` that no value is above, and 1.0 for floating-point numbers. Values outside say that
    the file has a scale of its own, which is taken to go from its smallest value to its largest.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    largest = values.max()
    above = (float(white) for white in whites if white >= largest)
    black, white = 0.0, 1.0 if image.mode == "F" else next(above, float(whites[-1]))
    if values.min() < black or largest > white:
        black, white = float(values.min()), float(largest)
    return Image.fromarray(np.rint((values - black) * (255 / ((white - black) or 1))).astype(np.uint8))
