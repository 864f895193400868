"""Classify image files, with the likeliest outputs of each, and pictures of where the network looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from tlft.data.pixel_store import load_pixels
from tlft.errors import TlftError
from tlft.evaluation.predictions import Predictions
from tlft.inference.classifier import Classifier
from tlft.inference.gradcam import Overlays


@dataclass(frozen=True)
class Answer:
    """What the network says of one file.

    Attributes:
        label: the class that the file's folder names, or None.
        top: the likeliest of the head's outputs, by name, with their probabilities, 0..1.
        probabilities: class of the data -> probability, all outputs competing.
    """

    file: Path
    label: str | None
    top: tuple[tuple[str, float], ...]
    probabilities: dict[str, float]

    @property
    def is_correct(self) -> bool:
        """Whether the folder names what was predicted."""
        return self.label == self.top[0][0]


def classify_files(
    classifier: Classifier, files: Sequence[Path], top: int = 1, overlays: Overlays | None = None
) -> Iterator[Answer | TlftError]:
    """Classify files in their order; yields an error in place of an answer for what is no image.

    Args:
        classifier: the network.
        files: are decoded in threads while the network works.
        top: how many outputs an answer has.
        overlays: write where the network looked, or None.
    """
    transform = classifier.transform

    def load(path: Path) -> np.ndarray:
        if not path.is_file():  # a link to nowhere, or a pipe, which would be waited for
            raise TlftError(f"{path}: is no file; replace or delete it")
        return load_pixels(path, transform)

    remaining = iter(files)
    for batch in classifier.classify_batches(files, load):
        paths = islice(remaining, len(batch.images))
        opened = [path for path, image in zip(paths, batch.images, strict=True) if not isinstance(image, TlftError)]
        if overlays is not None:
            overlays.write(opened, batch.pixels)
        answers = iter(() if batch.predictions is None else _answers(opened, batch.predictions, top))
        for image in batch.images:
            yield image if isinstance(image, TlftError) else next(answers)


def _answers(files: Sequence[Path], predictions: Predictions, top: int) -> list[Answer]:
    label_space, log_probabilities = predictions.label_space, predictions.log_probabilities
    likeliest = np.argsort(-log_probabilities, axis=1, kind="stable")[:, :top].tolist()
    probabilities = predictions.probabilities.tolist()
    answers = []
    for index, (file, outputs) in enumerate(zip(files, likeliest, strict=True)):
        folder = file.absolute().parent.name
        answers.append(
            Answer(
                file=file,
                label=folder if folder in label_space.classes else None,
                top=tuple((label_space.name_of(out), float(np.exp(log_probabilities[index, out]))) for out in outputs),
                probabilities=dict(zip(label_space.classes, probabilities[index], strict=True)),
            )
        )
    return answers
