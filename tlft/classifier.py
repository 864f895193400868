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
import torch
from torch import nn

from tlft.data import ImageFile
from tlft.decode import load_image, resize_and_crop
from tlft.errors import TlftError
from tlft.evaluation import BATCH_SIZE, evaluate
from tlft.images import Split
from tlft.machine import Machine
from tlft.models import build_from_description, load_state
from tlft.transforms import Transform

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
        return cls(model, description, Machine(torch.device("cpu"), "float32", torch.get_num_threads()))

    def classify(self, images: Sequence[Source]) -> pd.DataFrame:
        """Classify images given as bytes, base64 text or paths.

        Returns:
            A row for each image: `predicted`, `confidence`, and the probability `p/<class>` of each class.

        Raises:
            TlftError: for what is no image.
        """
        transform = Transform.from_dict(self.description["transform"])
        frames = []
        for start in range(0, len(images), BATCH_SIZE):
            pixels = np.stack(
                [resize_and_crop(open_source(image), transform) for image in images[start : start + BATCH_SIZE]]
            )
            rows = np.arange(len(pixels))
            files = tuple(ImageFile(Path(str(row)), "", "eval", 0) for row in rows)
            split = Split(files, rows, np.zeros(len(rows), np.int64), pixels, transform)
            classes, class_map = self.description["classes"], self.description["class_map"]
            predictions = evaluate(self.model, split, classes, class_map, self.machine)
            frames.append(predictions.to_frame("").drop(columns=["file", "sha256", "label"]))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["predicted", "confidence"])


def open_source(image: Source) -> Any:
    """Open an image given as bytes, base64 text, or a path; upright and RGB.

    Raises:
        TlftError: if it is none of these, or no image.
    """
    if isinstance(image, bytes):
        return load_image(image)
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
