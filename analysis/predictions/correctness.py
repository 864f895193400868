"""Which networks were right about which evaluation images, and how sure: predictions side by side.

No test is made here; the frames come from `tlft.tracking`, in the form that `tlft.evaluation.predictions` writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tlft.names import GROUP, PROBABILITY, Param
from tlft.records.record import Record

if TYPE_CHECKING:
    from pandas import DataFrame

Frames = Mapping[str, "DataFrame"]
"""Run id -> a row per image: file, sha256, label, predicted, confidence, and `p/<class>`; or `condense` of it."""


@dataclass(frozen=True)
class Correctness:
    """The predictions of a cell's runs, one network after another, on the images that all of them saw.

    Attributes:
        images: SHA-256 of each image's file, in order; a copy has its number behind it.
        labels: of shape (images,), the true class.
        classes: the data's that compete closed-set, sorted; each has images, though perhaps none of these.
        correct: of shape (networks, images), 0 or 1: the class of the winning output, all outputs competing, is true.
        correct_closed_set: the same, only the data's classes competing.
        confidence: of shape (networks, images), probability of the winning output.
        seeded: whether another seed would have given another network.
        open_set: whether the head has outputs beyond the data's classes.
        left_out: how many images some of the runs did not see.
        groups: of shape (images,), the group of each image; None where every image stands for itself.
    """

    images: tuple[str, ...]
    labels: NDArray[np.str_]
    classes: tuple[str, ...]
    correct: NDArray[np.float64]
    correct_closed_set: NDArray[np.float64]
    confidence: NDArray[np.float64]
    seeded: bool
    open_set: bool
    left_out: int = 0
    groups: NDArray[np.str_] | None = None

    @property
    def group_count(self) -> int | None:
        """How many groups the images are in; None where every image stands for itself."""
        return None if self.groups is None else len(set(self.groups.tolist()))

    def select(self, images: Sequence[str]) -> Correctness:
        """Return the same networks on some of the images, in the order given."""
        if self.images == tuple(images):
            return self
        places = {image: index for index, image in enumerate(self.images)}
        at = [places[image] for image in images]
        return replace(
            self,
            images=tuple(images),
            labels=self.labels[at],
            correct=self.correct[:, at],
            correct_closed_set=self.correct_closed_set[:, at],
            confidence=self.confidence[:, at],
            groups=None if self.groups is None else self.groups[at],
        )

    def recalls(self) -> dict[str, float]:
        """Return the share of each class's images that is found, over all networks."""
        names, classes, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        correct = np.bincount(classes, weights=self.correct.sum(axis=0))
        return dict(zip(names.tolist(), (correct / (counts * len(self.correct))).tolist(), strict=True))


def index_by_image(frame: DataFrame) -> DataFrame:
    """Return predictions with the images' SHA-256 as the index; a copy of an image has its number behind it."""
    names = frame["sha256"]
    if not names.is_unique:
        copies = names.groupby(names).cumcount()
        names = names.where(copies == 0, names + " " + copies.astype(str))
    return frame.set_index(names)


def common_images(frames: Sequence[DataFrame]) -> list[str]:
    """Return the images that stand in all of some frames with the images as their index, in the first one's order."""
    if not frames:
        return []
    images = frames[0].index
    for frame in frames[1:]:
        if not frame.index.equals(images):
            images = images[images.isin(frame.index)]
    return list(images)


_SEEDED = {Param.SEED, Param.KEPT_HEAD}
"""Params of networks that a seed has had a part in, if only of the run that is evaluated once more."""


def compute_correctness(
    runs: Sequence[Record], frames: Frames, groups: Mapping[str, str] | None = None
) -> Correctness | None:
    """Put the predictions of a cell's runs together; None if those of any run cannot be read.

    `groups` says which images are not independent of each other: image -> group.
    """
    if not runs or any(run.run_id not in frames for run in runs):
        return None
    images, aligned, left_out = _align([frames[run.run_id] for run in runs])
    if not images:
        return None
    labels = aligned[0]["label"].to_numpy(str)
    return Correctness(
        images=tuple(images),
        labels=labels,
        classes=tuple(sorted({str(name) for run in runs for name in frames[run.run_id]["label"].unique()})),
        correct=np.array([frame["predicted"].to_numpy(str) == labels for frame in aligned], np.float64),
        correct_closed_set=np.array([predict_closed_set(frame) == labels for frame in aligned], np.float64),
        confidence=np.array([frame["confidence"].to_numpy(np.float64) for frame in aligned]),
        seeded=any(not _SEEDED.isdisjoint(run.params) for run in runs),
        open_set=any(Param.CLASS_MAP in run.params for run in runs),
        left_out=left_out,
        groups=_in_groups(images, groups or {}),
    )


def _align(frames: Sequence[DataFrame]) -> tuple[list[str], Sequence[DataFrame], int]:
    """Return the images that all frames have, what each says of them in one order, and how many others there are."""
    digests = [frame["sha256"].to_numpy() for frame in frames]
    if all(np.array_equal(others, digests[0]) for others in digests[1:]):  # as nearly always, and much faster
        return list(index_by_image(frames[0]).index), frames, 0
    by_image = [index_by_image(frame) for frame in frames]
    images = common_images(by_image)
    left_out = len(set().union(*(frame.index for frame in by_image))) - len(images)
    return images, [frame.loc[images] for frame in by_image], left_out


def _in_groups(images: Sequence[str], groups: Mapping[str, str]) -> NDArray[np.str_] | None:
    """Return the group of each image, or None where each is a group of its own."""
    names = [groups.get(image, image) for image in images]
    return np.array(names) if len(set(names)) < len(names) else None


def groups_of_images(runs: Sequence[Record], frames: Frames) -> tuple[dict[str, dict[str, str]], bool]:
    """Return the digest of evaluation images -> image -> group, of the newest run, and whether others differ.

    Runs that differ in nothing but `data.group` are one run, so that what one of them says holds for all on its images.
    """
    groups: dict[str, dict[str, str]] = {}
    contradicted = False
    for run in runs:
        frame = frames.get(run.run_id)
        if frame is not None and GROUP in frame and frame[GROUP].notna().all():  # NaN: kept beside a run with groups
            images, names = run.params.get(Param.DATA_EVAL, ""), dict(index_by_image(frame)[GROUP].astype(str))
            earlier = groups.get(images, {})
            contradicted |= any(earlier.get(image, name) != name for image, name in names.items())
            groups[images] = names
    return groups, contradicted


def condense(frame: DataFrame) -> DataFrame:
    """Return of predictions what their correctness needs, of the same few columns whatever the number of classes."""
    kept = [*CONDENSED, *([GROUP] if GROUP in frame else [])]
    return frame.assign(**{_CLOSED_SET: predict_closed_set(frame)})[kept]


_CLOSED_SET = "predicted closed-set"

CONDENSED = ("sha256", "label", "predicted", "confidence", _CLOSED_SET)
"""The columns of condensed predictions; those of images in groups have `GROUP` too."""


def predict_closed_set(frame: DataFrame) -> NDArray[np.str_]:
    """Return the likeliest of the data's classes for each image."""
    if _CLOSED_SET in frame:
        return frame[_CLOSED_SET].to_numpy(str)
    columns = [name for name in frame.columns if name.startswith(PROBABILITY)]
    classes = np.array([name.removeprefix(PROBABILITY) for name in columns])
    return np.asarray(classes[np.argmax([frame[name].to_numpy() for name in columns], axis=0)])
