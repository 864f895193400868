"""What runs said of each evaluation image, side by side: who was right, how sure, all outputs competing or not.

No test is made here; the frames come from `tlft.tracking`, in the form that evaluation.py writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.rows import Cell

if TYPE_CHECKING:
    from pandas import DataFrame

Frames = Mapping[str, "DataFrame"]
"""Run id -> a row per image: file, sha256, label, predicted, confidence, and `p/<class>`."""

PROBABILITY = "p/"


@dataclass(frozen=True)
class Judged:
    """The predictions of a cell's runs, one network after another, on the images that all of them saw.

    Attributes:
        images: SHA-256 of each image's file, in order; a copy has its number behind it.
        labels: of shape (images,), the true class.
        right: of shape (networks, images), 0 or 1: the class of the winning output, all outputs competing, is true.
        right_closed: the same, only the data's classes competing.
        confidence: of shape (networks, images), probability of the winning output.
        seeded: whether another seed would have given another network.
    """

    images: tuple[str, ...]
    labels: NDArray[np.str_]
    right: NDArray[np.float64]
    right_closed: NDArray[np.float64]
    confidence: NDArray[np.float64]
    seeded: bool

    def only(self, images: Sequence[str]) -> Judged:
        """Return the same networks on some of the images, in the order given."""
        if self.images == tuple(images):
            return self
        place = {image: index for index, image in enumerate(self.images)}
        at = [place[image] for image in images]
        return Judged(
            tuple(images),
            self.labels[at],
            self.right[:, at],
            self.right_closed[:, at],
            self.confidence[:, at],
            self.seeded,
        )

    def recalls(self) -> dict[str, float]:
        """Return the share of each class's images that is found, over all networks."""
        return {str(name): float(self.right[:, self.labels == name].mean()) for name in np.unique(self.labels)}


def by_image(frame: DataFrame) -> DataFrame:
    """Return predictions with the images' SHA-256 as the index; a copy of an image has its number behind it."""
    names = frame["sha256"]
    if not names.is_unique:
        copies = names.groupby(names).cumcount()
        names = names.where(copies == 0, names + " " + copies.astype(str))
    return frame.set_index(names)


def judge(cell: Cell, frames: Frames, seeded: bool) -> Judged | None:
    """Put the predictions of a cell's runs together; None if those of any run cannot be read."""
    if not cell.run_ids or any(run_id not in frames for run_id in cell.run_ids):
        return None
    found = [by_image(frames[run_id]) for run_id in cell.run_ids]
    common = found[0].index
    for frame in found[1:]:
        if not frame.index.equals(common):
            common = common[common.isin(frame.index)]
    if common.empty:
        return None
    frames_alike = [frame if frame.index.equals(common) else frame.loc[common] for frame in found]
    labels = frames_alike[0]["label"].to_numpy(str)
    return Judged(
        images=tuple(common),
        labels=labels,
        right=np.array([frame["predicted"].to_numpy(str) == labels for frame in frames_alike], np.float64),
        right_closed=np.array([_closed(frame) == labels for frame in frames_alike], np.float64),
        confidence=np.array([frame["confidence"].to_numpy(np.float64) for frame in frames_alike]),
        seeded=seeded,
    )


def _closed(frame: DataFrame) -> NDArray[np.str_]:
    """Return the likeliest of the data's classes for each image."""
    columns = [name for name in frame.columns if name.startswith(PROBABILITY)]
    classes = np.array([name.removeprefix(PROBABILITY) for name in columns])
    return np.asarray(classes[frame[columns].to_numpy().argmax(axis=1)])
