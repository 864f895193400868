"""Classify single images with the network of a finished run.

Where the run's files are is its caller's business; training and evaluation of a whole split are elsewhere.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from tlft.data.batches import Split
from tlft.data.dataset import ImageFile
from tlft.data.pixel_store import BadImageError, load_image, resize_and_crop
from tlft.data.transforms import Transform
from tlft.errors import TlftError
from tlft.evaluation.predictions import BATCH_SIZE, evaluate
from tlft.models.build import build_from_description
from tlft.models.state_dict import load_state
from tlft.runtime.device import Machine, prepare_to_apply

Source = str | bytes | Path


@dataclass(frozen=True)
class Classifier:
    """A trained network with all that is needed to apply it."""

    model: nn.Module
    description: Mapping[str, Any]
    machine: Machine

    @classmethod
    def load(cls, description: Mapping[str, Any], weights: Path) -> Classifier:
        """Build the network that `description` (a run's `model.json`) tells of, with the weights of the file."""
        model = build_from_description(
            description["library"],
            description["arch"],
            len(description["classes"]),
            description["head"],
            load_state(weights),
        )
        machine = prepare_to_apply(description.get("precision", "float32"))
        return cls(model.to(machine.device), description, machine)

    @property
    def transform(self) -> Transform:
        """How an image becomes the network's input."""
        return Transform.from_dict(self.description["transform"])

    @property
    def classes(self) -> list[str]:
        """The classes of the data that the network was evaluated on."""
        return list(self.description["classes"])

    def split(self, pixels: Sequence[np.ndarray]) -> Split:
        """Return images, each uint8 [crop, crop, 3], as the split that evaluation takes."""
        rows = np.arange(len(pixels))
        files = tuple(ImageFile(Path(str(row)), "", "eval", 0) for row in rows)
        return Split(files, rows, np.zeros(len(rows), np.int64), np.stack(pixels), self.transform)

    def classify(self, images: Sequence[Source], *, paths: bool = True) -> pd.DataFrame:
        """Classify images given as bytes, base64 text or paths.

        Args:
            images: in any order and of any size.
            paths: whether a text may be a path; a server must not read its own files for whoever asks.

        Returns:
            A row for each image: `predicted`, `confidence`, and the probability `p/<class>` of each class.

        Raises:
            TlftError: for what is no image.
        """
        frames = []
        for start in range(0, len(images), BATCH_SIZE):
            pixels = [self._open(image, paths) for image in images[start : start + BATCH_SIZE]]
            predictions = evaluate(
                self.model, self.split(pixels), self.classes, self.description["class_map"], self.machine
            )
            frames.append(predictions.to_frame(Path()).drop(columns=["file", "sha256", "label"]))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["predicted", "confidence"])

    def _open(self, image: Source, paths: bool) -> np.ndarray:
        try:
            return resize_and_crop(open_source(image, paths=paths), self.transform)
        except BadImageError as error:
            if paths and not isinstance(image, bytes):
                raise
            raise TlftError(f"the image {error.reason}; send another") from None
        except ValueError as error:  # too small or too long for the crop
            raise TlftError(f"the image {error}; send another") from None


def open_source(image: Source, *, paths: bool = True) -> Any:
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


LARGEST = 30_000_000
"""Characters that an image in base64 may have."""


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
