"""Evaluation images whose label may be wrong: most networks predict something else, and are sure of it.

Every network was trained without them, as the method asks; of the training images nothing can be said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.predictions.correctness import common_images, index_by_image
from tlft.errors import ConfigurationError
from tlft.names import PROBABILITY


@dataclass(frozen=True)
class Suspect:
    """An image whose label may be wrong.

    Attributes:
        likely: the class that the networks give it, taken together.
        against: how many of the networks predict another class than the label; only the data's classes compete.
        probability: of the label, by all networks together, 0..1.
        doubted: whether confident learning counts the label as wrong.
    """

    file: str
    sha256: str
    label: str
    likely: str
    networks: int
    against: int
    probability: float
    doubted: bool


@dataclass(frozen=True)
class Search:
    """What was looked at, and what was found.

    Attributes:
        suspects: the least believable label first.
        images: how many were looked at, and `networks` how many were asked.
        guessing: how many others were not, not being shown to be better than naming the commonest class every time.
    """

    suspects: tuple[Suspect, ...]
    images: int
    networks: int
    guessing: int


def find_suspects(frames: Sequence[DataFrame]) -> Search:
    """Search the predictions of several networks on the same images for labels that may be wrong.

    The networks' probabilities are averaged, weighted by their accuracy. Found is what more than half of the networks,
    and all together, contradict; a label is doubted where confident learning counts it as wrong: the other class is
    more probable than it is on average where it is the label (Northcutt, Jiang and Chuang, 2021,
    doi:10.1613/jair.1.12125; cleanlab). Only the data's classes compete, and a network that was not asked for all of
    them (`data.unmapped=leave_out`) is not heard.

    Args:
        frames: of each network, a row per image: file, sha256, label, and `p/<class>`.

    Raises:
        ConfigurationError: if cleanlab is not installed.
    """
    by_classes: dict[tuple[str, ...], list[DataFrame]] = {}
    for frame in frames:
        by_classes.setdefault(_classes_of(frame), []).append(index_by_image(frame))
    classes = max(by_classes, key=len, default=())
    predictions = by_classes.get(classes, [])
    images = common_images(predictions)
    if not images:
        return Search((), 0, 0, 0)
    first = predictions[0].loc[images]
    places = {name: place for place, name in enumerate(classes)}
    labels = np.array([places[label] for label in first["label"]])
    columns = [f"{PROBABILITY}{name}" for name in classes]
    probabilities = np.stack([_normalize(frame.loc[images, columns]) for frame in predictions])
    correct = (probabilities.argmax(axis=2) == labels).sum(axis=1)
    accuracy, better = correct / len(labels), _beat_guessing(correct, labels)
    networks, guessing = int(better.sum()), int((~better).sum())
    if not networks:
        return Search((), len(images), 0, guessing)
    probabilities = probabilities[better]
    ensemble = np.average(probabilities, axis=0, weights=accuracy[better])
    against = (probabilities.argmax(axis=2) != labels).sum(axis=0)
    likely, self_confidence = ensemble.argmax(axis=1), ensemble[np.arange(len(labels)), labels]
    doubted = _label_issues(labels, ensemble)
    suspects = [
        Suspect(
            str(first["file"].iloc[i]),
            str(first["sha256"].iloc[i]),
            classes[labels[i]],
            classes[likely[i]],
            networks,
            int(against[i]),
            float(self_confidence[i]),
            i in doubted,
        )
        for i in np.argsort(self_confidence, kind="stable")
        if 2 * against[i] > networks and likely[i] != labels[i]
    ]
    return Search(tuple(suspects), len(images), networks, guessing)


def _classes_of(frame: DataFrame) -> tuple[str, ...]:
    return tuple(sorted(name.removeprefix(PROBABILITY) for name in frame.columns if name.startswith(PROBABILITY)))


def _beat_guessing(correct: NDArray[np.intp], labels: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell which networks are shown to be better than naming the commonest class every time (one-sided, 5 %)."""
    from scipy.stats import binomtest

    commonest = np.bincount(labels).max() / len(labels)
    p = [binomtest(int(count), len(labels), commonest, alternative="greater").pvalue for count in correct]
    return np.array(p) < 0.05


def _normalize(frame: DataFrame) -> NDArray[np.float64]:
    """Let only the data's classes compete, [images, classes]; where none has any probability all have the same."""
    probabilities = np.clip(frame.to_numpy(np.float64), 1e-12, None)
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def _label_issues(labels: NDArray[np.intp], probabilities: NDArray[np.float64]) -> set[int]:
    """Return the indices of the images whose label is counted as wrong."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise ConfigurationError(
            "cleanlab is not installed, which finds wrong labels: pip install -e '.[errors]'"
        ) from None
    return set(np.flatnonzero(find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)))
