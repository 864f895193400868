"""Classify single images, given as bytes, base64 text or paths, with the network of a finished run.

Where the run's files are is its caller's business; training and evaluation of a whole split are elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from PIL import Image
from torch import nn

from tlft.data.batches import PixelInputs
from tlft.data.class_map import LabelSpace
from tlft.errors import TlftError
from tlft.evaluation.predictions import BATCH_SIZE, Predictions, evaluate
from tlft.models.build import rebuild_model
from tlft.names import PROBABILITY
from tlft.pixels.decode import BadImageError, load_image
from tlft.pixels.pixel_store import in_order, load_pixels, resize_and_crop
from tlft.pixels.transforms import Reading, Transform
from tlft.runtime.device import Machine, available_threads, prepare_to_apply
from tlft.storage.files import display_name

Source = str | bytes | Path

_Source = TypeVar("_Source")

LARGEST = 30_000_000
"""Characters that an image in base64 may have."""


@dataclass(frozen=True)
class Answer:
    """What the network says of one image.

    Attributes:
        top: the likeliest of the head's outputs, by name, with their probabilities, 0..1.
        probabilities: class of the data -> probability, all outputs competing.
    """

    top: tuple[tuple[str, float], ...]
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Classifier:
    """A trained network with all that is needed to apply it."""

    model: nn.Module
    description: Mapping[str, Any]
    machine: Machine

    @classmethod
    def load(cls, description: Mapping[str, Any], weights: Path) -> Classifier:
        """Build the network that `description` (a run's `model.json`) tells of, with the weights of the file."""
        machine = prepare_to_apply(description.get("precision", "float32"))
        return cls(rebuild_model(description, weights).to(machine.device), description, machine)

    @property
    def transform(self) -> Transform:
        """How an image becomes the network's input."""
        return Transform.from_dict(self.description["transform"])

    @property
    def label_space(self) -> LabelSpace:
        """What the outputs stand for: the classes of the data that the network was evaluated on."""
        return LabelSpace(tuple(self.description["classes"]), self.description["class_map"])

    def classify(self, images: Sequence[Source], *, paths: bool = True) -> pd.DataFrame:
        """Classify images.

        Args:
            images: bytes, base64 text, or paths, of any size.
            paths: whether a text may be a path; a server must not read its own files for whoever asks.

        Returns:
            A row for each image: `predicted`, `confidence`, and the probability `p/<class>` of each class.

        Raises:
            TlftError: for what is no image.
        """
        rows = []
        for answer in self.answers(images, partial(_load_source, transform=self.transform, paths=paths)):
            if isinstance(answer, TlftError):
                raise answer
            predicted, confidence = answer.top[0]
            rows.append((predicted, confidence, *answer.probabilities.values()))
        columns = ["confidence", *(f"{PROBABILITY}{name}" for name in self.label_space.classes)]
        return pd.DataFrame(rows, columns=["predicted", *columns]).astype(dict.fromkeys(columns, np.float32))

    def answers(
        self,
        sources: Sequence[_Source],
        load: Callable[[_Source], np.ndarray],
        top: int = 1,
        explain: Callable[[Sequence[_Source], Sequence[np.ndarray]], None] | None = None,
        predict: Callable[[Sequence[np.ndarray]], Predictions] | None = None,
    ) -> Iterator[Answer | TlftError]:
        """Open and classify images in their order; yields an error in place of an answer for what is no image.

        Args:
            sources: what `load` takes; opened in threads while the network works.
            load: returns an image as the network sees it, uint8 [crop, crop, 3], or raises a TlftError.
            top: how many outputs an answer has.
            explain: is given the sources and the images of a batch that could be opened.
            predict: is given what `load` returned of a batch, in whatever form; it takes images if not given.
        """
        predict = predict or self._predict
        with ThreadPoolExecutor(available_threads()) as pool:
            opened = zip(sources, in_order(pool, load, sources), strict=True)
            while batch := list(islice(opened, BATCH_SIZE)):
                pixels = [image for _, image in batch if not isinstance(image, TlftError)]
                answers = iter(self._say(predict(pixels), top) if pixels else [])
                if explain is not None:
                    explain([source for source, image in batch if not isinstance(image, TlftError)], pixels)
                for _, image in batch:
                    yield image if isinstance(image, TlftError) else next(answers)

    def _predict(self, pixels: Sequence[np.ndarray]) -> Predictions:
        return evaluate(self.model, PixelInputs(np.stack(pixels), self.transform), self.label_space, self.machine)

    def _say(self, predictions: Predictions, top: int) -> list[Answer]:
        label_space = self.label_space
        likeliest = np.argsort(-predictions.log_probabilities, axis=1, kind="stable")[:, :top]
        confidences = np.exp(np.take_along_axis(predictions.log_probabilities, likeliest, axis=1))
        rows = zip(likeliest.tolist(), confidences.tolist(), predictions.probabilities.tolist(), strict=True)
        return [
            Answer(
                top=tuple(zip(map(label_space.name_of, outputs), confidence, strict=True)),
                probabilities=dict(zip(label_space.classes, probabilities, strict=True)),
            )
            for outputs, confidence, probabilities in rows
        ]


def _load_source(image: Source, transform: Transform, *, paths: bool) -> np.ndarray:
    """Return an image as a network sees it, uint8 [crop, crop, 3], or raise a TlftError that says what it is."""
    try:
        return resize_and_crop(open_source(image, paths=paths, reading=transform.reading), transform)
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
        raise TlftError(f"{display_name(path)}: is no file; replace or delete it")
    return load_pixels(path, transform)


def open_source(image: Source, *, paths: bool = True, reading: Reading | None = None) -> Image.Image:
    """Open an image given as bytes, base64 text, or (unless `paths` is false) a path; upright and RGB.

    Raises:
        TlftError: if it is none of these, or no image.
    """
    if isinstance(image, bytes):
        return load_image(image, reading)
    if not paths:
        return load_image(_decode(image), reading)
    if isinstance(image, str):
        with suppress(ValueError, TlftError):
            return load_image(_from_base64(image), reading)
    with suppress(OSError, ValueError):  # such as for a name that is too long
        if (path := Path(image)).is_file():
            return load_image(path, reading)
    raise TlftError(f"{str(image)[:60]}: is neither an image in base64 nor the path of a file")


def _decode(image: object) -> bytes:
    if not isinstance(image, str) or not image.strip():
        raise TlftError("image: is empty or no text; send an image file in base64")
    if len(image) > LARGEST:
        raise TlftError(f"image: has {len(image)} characters; send at most {LARGEST}")
    try:
        return _from_base64(image)
    except ValueError:
        raise TlftError(f"image: {image[:40]!r} is not base64; send an image file in base64") from None


def _from_base64(text: str) -> bytes:
    """Return the bytes, with or without what a browser puts before the text."""
    return base64.b64decode(text.partition("base64,")[2] or text, validate=True)
