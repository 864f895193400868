"""What may be given as an image to classify: bytes, base64 text, or a path."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import numpy as np
from PIL import Image

from tlft.data.pixel_store import BadImageError, load_image, load_pixels, resize_and_crop
from tlft.data.transforms import Transform
from tlft.errors import TlftError

Source = str | bytes | Path

LARGEST = 30_000_000
"""Characters that an image in base64 may have."""


def load_source(image: Source, transform: Transform, *, paths: bool = True) -> np.ndarray:
    """Return an image as a network sees it, uint8 [crop, crop, 3].

    Args:
        image: bytes, base64 text, or a path.
        transform: what the image is scaled and cut to.
        paths: whether a text may be a path; a server must not read its own files for whoever asks.

    Raises:
        TlftError: if it is no image.
    """
    try:
        return resize_and_crop(open_source(image, paths=paths), transform)
    except BadImageError as error:
        if paths and not isinstance(image, bytes):
            raise
        raise TlftError(f"the image {error.reason}; send another") from None
    except ValueError as error:  # too narrow to be scaled
        raise TlftError(f"the image {error}; send another") from None


def load_file(path: Path, transform: Transform) -> np.ndarray:
    """Return the image of a file as a network sees it, uint8 [crop, crop, 3].

    Raises:
        TlftError: if it is no image.
    """
    if not path.is_file():  # a link to nowhere, or a pipe, which would be waited for
        raise TlftError(f"{path}: is no file; replace or delete it")
    return load_pixels(path, transform)


def open_source(image: Source, *, paths: bool = True) -> Image.Image:
    """Open an image given as bytes, base64 text, or a path; upright and RGB.

    Raises:
        TlftError: if it is none of these, or no image.
    """
    if isinstance(image, bytes):
        return load_image(image)
    if not paths:
        return load_image(_decode(image))
    if isinstance(image, str):
        try:
            return load_image(base64.b64decode(image.partition("base64,")[2] or image, validate=True))
        except (binascii.Error, ValueError, TlftError):
            pass
    path = Path(image)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise TlftError(f"{str(image)[:60]}: is neither an image in base64 nor the path of a file")
    return load_image(path)


def _decode(image: object) -> bytes:
    """Return the bytes of an image in base64, with or without what a browser puts before it."""
    if not isinstance(image, str) or not image.strip():
        raise TlftError("image: is empty or no text; send an image file in base64")
    if len(image) > LARGEST:
        raise TlftError(f"image: has {len(image)} characters; send at most {LARGEST}")
    try:
        return base64.b64decode(image.partition("base64,")[2] or image, validate=True)
    except (binascii.Error, ValueError):
        raise TlftError(f"image: {image[:40]!r} is not base64; send an image file in base64") from None
