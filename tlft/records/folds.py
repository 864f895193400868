"""Join the runs of one cross-validation, each of which evaluated a part of the images, into one record of all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

from tlft.names import PROBABILITY, Artifact, Metric, Param, Tag
from tlft.records.record import Record

if TYPE_CHECKING:
    from pandas import DataFrame

_MEANS = (
    *(Metric.ACCURACY, Metric.CLOSED_SET_ACCURACY, Metric.LOSS, Metric.TOP5_ACCURACY),
    *(Metric.CURVE_ACCURACY, Metric.CURVE_LOSS),
)
"""Measures of all images that are the mean of those of their parts, weighted by how many images each has."""

_OF_CLASSES = (Metric.BALANCED_ACCURACY, Metric.MACRO_F1, Metric.RECALL)
"""How the names of measures begin that no mean of the parts' gives, which may lack a class: see `looks_at_classes`."""

OF_A_FOLD = (Param.DATA_TRAIN, Param.DATA_EVAL, Param.DATA_HOLDOUT, Param.LAST_BATCH)
"""Settings in which the folds of one cross-validation differ."""

_TOGETHER = "+"


@dataclass(frozen=True)
class Fold:
    """Which part of which images a run evaluated; it is kept as a tag.

    Attributes:
        number: from 0.
        of: how many folds there are.
        images: digest of all images, and of how they are split into folds.
        training: digest of how those of the other folds are used.
    """

    number: int
    of: int
    images: str
    training: str

    def to_text(self) -> str:
        """Return what `from_text` reads."""
        return f"{self.number}/{self.of} {self.images} {self.training}"

    @classmethod
    def from_text(cls, text: str) -> Fold | None:
        """Read a tag; None if it is none."""
        match = re.fullmatch(r"(\d+)/(\d+) (\w+) (\w+)", text)
        return None if match is None else cls(int(match[1]), int(match[2]), match[3], match[4])


def parts_of(records: Iterable[Record]) -> list[Record]:
    """Return the runs themselves: of what was joined its parts."""
    return [part for record in records for part in record.parts or (record,)]


def part_ids(run_id: str) -> list[str]:
    """Return the ids of the runs that a record's id stands for: one, or those of all folds."""
    return run_id.split(_TOGETHER)


def looks_at_classes(metric: str) -> bool:
    """Tell whether a measure of all images is computed from their predictions, not from the measures of the parts."""
    return metric.startswith(_OF_CLASSES)


def join_folds(
    records: Sequence[Record], existing: Iterable[Record] = (), frames: Mapping[str, DataFrame] | None = None
) -> tuple[list[Record], list[Record]]:
    """Put one record in the place of the runs of each cross-validation.

    Its measures of the evaluation images are those of all of them, any other is the mean over the runs.

    Args:
        records: runs that count, of each key one, the oldest first.
        existing: all runs, among which are those that others start from (`model=run`): each fold from its own.
        frames: run id -> predictions, for measures that `looks_at_classes`; without those the record has none.

    Returns:
        The records, each cross-validation at the place of its newest run; and the runs of those that lack a fold.
    """
    sets: dict[tuple[object, ...], dict[int, Record]] = {}
    trained = _by_weights(existing)
    for record in records:
        if (fold := Fold.from_text(record.tags.get(Tag.FOLD, ""))) is not None:
            sets.setdefault(_set_of(record, fold, trained), {})[fold.number] = record
    joined: dict[str, Record | None] = {}
    incomplete: list[Record] = []
    for members in sets.values():
        parts = [members[number] for number in sorted(members)]
        fold = Fold.from_text(parts[0].tags[Tag.FOLD])
        assert fold is not None
        joined |= {part.run_id: None for part in parts}
        if len(parts) < fold.of:
            incomplete += parts
        else:
            newest = max(parts, key=lambda part: (part.start_time, part.run_id))
            joined[newest.run_id] = _join(parts, fold, frames or {})
    placed = [joined.get(record.run_id, record) for record in records]
    return [record for record in placed if record is not None], incomplete


def join_frames(records: Sequence[Record], frames: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """Return the predictions of records: of what was joined those of all its parts, if each can be read."""
    import pandas as pd

    whole = {record.run_id: frames[record.run_id] for record in records if record.run_id in frames}
    for record in records:
        parts = [frames[part.run_id] for part in record.parts or () if part.run_id in frames]
        if parts and len(parts) == len(record.parts or ()):
            whole[record.run_id] = pd.concat(parts, ignore_index=True)
    return whole


def _by_weights(records: Iterable[Record]) -> dict[str, Record]:
    """Return the run of a fold that first came to some weights, by their SHA-256."""
    trained: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: record.start_time):
        if Tag.FOLD in record.tags and (file := record.files.get(Artifact.WEIGHTS)) is not None:
            trained.setdefault(file[1], record)
    return trained


def _set_of(record: Record, fold: Fold, trained: Mapping[str, Record]) -> tuple[object, ...]:
    """Return what the folds of one cross-validation, and of no other, have in common.

    Weights of a run of the same fold, which has not seen its images either, stand for the cross-validation of that run.
    """
    settings: dict[str, object] = {name: value for name, value in record.params.items() if name not in OF_A_FOLD}
    parent = trained.get(record.params.get(Param.WEIGHTS, ""))
    if parent is not None and parent.start_time < record.start_time:
        of_parent = Fold.from_text(parent.tags[Tag.FOLD])
        if of_parent is not None and replace(of_parent, training=fold.training) == fold:
            settings[Param.WEIGHTS] = _set_of(parent, of_parent, trained)
    return (fold.images, fold.of, fold.training, tuple(sorted(settings.items())))


def _join(parts: Sequence[Record], fold: Fold, frames: Mapping[str, DataFrame]) -> Record:
    first = parts[0]
    params = {name: value for name, value in first.params.items() if name not in OF_A_FOLD}
    images = {
        Param.DATA_EVAL: fold.images,
        Param.DATA_TRAIN: f"{fold.images}{fold.training}",
        Param.DATA_HOLDOUT: f"{fold.images}{fold.training}",
    }
    params |= {name: digest for name, digest in images.items() if name in first.params}
    tags, weights = first.tags, dict.fromkeys(part.params.get(Param.WEIGHTS, "") for part in parts)
    if len(weights) > 1:
        params[Param.WEIGHTS] = "".join(weights)
        tags = tags | {Tag.WEIGHTS: f"{tags.get(Tag.WEIGHTS, 'a run')} and its other folds"}
    return replace(
        first,
        run_id=_TOGETHER.join(part.run_id for part in parts),
        key=_TOGETHER.join(part.key for part in parts),
        start_time=max(part.start_time for part in parts),
        params=params,
        tags=tags,
        metrics=_join_metrics(parts, frames),
        parts=tuple(parts),
    )


def _join_metrics(parts: Sequence[Record], frames: Mapping[str, DataFrame]) -> dict[str, float]:
    """Return the measures that all parts have, as those of all images, or of all networks."""
    counts = [part.metrics.get(Metric.IMAGES, 0.0) for part in parts]
    shared = [name for name in parts[0].metrics if all(name in part.metrics for part in parts)]
    metrics: dict[str, float] = {}
    of_classes = {} if not frames else _measure_classes([frames.get(part.run_id) for part in parts])
    for name in shared:
        values = [part.metrics[name] for part in parts]
        if name == Metric.IMAGES:
            metrics[name] = sum(values)
        elif name in _MEANS and all(counts):
            metrics[name] = fmean(values, counts)
        elif name in of_classes:
            metrics[name] = of_classes[name]
        elif not name.startswith("eval/"):
            metrics[name] = fmean(values)
    return metrics


def _measure_classes(frames: Sequence[DataFrame | None]) -> dict[str, float]:
    """Return the measures of each class of what all parts predict (see `predictions_frame`); nothing if one is None."""
    import numpy as np

    from tlft.evaluation.metrics import measures_of_classes

    present = [frame for frame in frames if frame is not None]
    if len(present) < len(frames):
        return {}
    classes = [name.removeprefix(PROBABILITY) for name in present[0].columns if name.startswith(PROBABILITY)]
    places = {name: place for place, name in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes) + 1), np.int64)  # the last column is predictions outside the classes
    for frame in present:
        labels = [places[name] for name in frame["label"].astype(str)]
        np.add.at(matrix, (labels, [places.get(name, -1) for name in frame["predicted"].astype(str)]), 1)
    return measures_of_classes(matrix, classes)
