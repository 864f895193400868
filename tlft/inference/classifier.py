"""Classify single images with the network of a finished run.

Where the run's files are is its caller's business; training and evaluation of a whole split are elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from torch import nn

from tlft.data.label_space import LabelSpace
from tlft.data.pixel_store import in_order
from tlft.data.transforms import Transform
from tlft.errors import TlftError
from tlft.evaluation.predictions import BATCH_SIZE, Predictions, evaluate
from tlft.inference.sources import Source, load_source
from tlft.models.build import build_from_description
from tlft.models.state_dict import load_state
from tlft.runtime.device import Machine, available_threads, prepare_to_apply

_Source = TypeVar("_Source")


@dataclass(frozen=True)
class Batch:
    """Images that were opened and classified together.

    Attributes:
        images: in their order, as the network sees them, uint8 [crop, crop, 3]; an error in place of what is no image.
        predictions: of those that are images, in the same order; None if there are none.
    """

    images: Sequence[np.ndarray | TlftError]
    predictions: Predictions | None

    @property
    def pixels(self) -> list[np.ndarray]:
        """Those that are images."""
        return [image for image in self.images if not isinstance(image, TlftError)]


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
    def label_space(self) -> LabelSpace:
        """What the outputs stand for: the classes of the data that the network was evaluated on."""
        return LabelSpace(tuple(self.description["classes"]), self.description["class_map"])

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
        for batch in self.classify_batches(images, lambda image: load_source(image, self.transform, paths=paths)):
            for image in batch.images:
                if isinstance(image, TlftError):
                    raise image
            assert batch.predictions is not None
            frames.append(batch.predictions.to_frame())
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["predicted", "confidence"])

    def classify_batches(self, sources: Sequence[_Source], load: Callable[[_Source], np.ndarray]) -> Iterator[Batch]:
        """Open and classify images in their order; what cannot be opened stops none of the others.

        Args:
            sources: what `load` takes; opened in threads while the network works.
            load: returns an image as the network sees it, uint8 [crop, crop, 3], or raises a TlftError.
        """

        def attempt(source: _Source) -> np.ndarray | TlftError:
            try:
                return load(source)
            except TlftError as error:
                return error

        with ThreadPoolExecutor(available_threads()) as pool:
            opened = in_order(pool, attempt, sources)
            while images := list(islice(opened, BATCH_SIZE)):
                batch = Batch(images, None)
                if pixels := batch.pixels:
                    stacked = np.stack(pixels)
                    predictions = evaluate(self.model, stacked, self.transform, self.label_space, self.machine)
                    batch = Batch(images, predictions)
                yield batch
