"""Join the runs of one cross-validation, each of which evaluated a part of the images, into one record of all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

from tlft.names import Metric, Param, Tag
from tlft.records.record import Record

if TYPE_CHECKING:
    from pandas import DataFrame

_MEANS = (Metric.ACCURACY, Metric.CLOSED_SET_ACCURACY, Metric.LOSS, Metric.TOP5_ACCURACY)
"""Measures of all images that are the mean of those of their parts, weighted by how many images each has."""

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


def join_folds(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Put one record in the place of the runs of each cross-validation.

    Args:
        records: runs that count, of each key one, the oldest first.

    Returns:
        The records, each cross-validation at the place of its newest run; and the runs of those that lack a fold.
    """
    sets: dict[tuple[object, ...], dict[int, Record]] = {}
    for record in records:
        if (fold := Fold.from_text(record.tags.get(Tag.FOLD, ""))) is not None:
            sets.setdefault(_set_of(record, fold), {})[fold.number] = record
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
            joined[newest.run_id] = _join(parts, fold)
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


def _set_of(record: Record, fold: Fold) -> tuple[object, ...]:
    """Return what the folds of one cross-validation, and of no other, have in common."""
    params = {name: value for name, value in record.params.items() if name not in OF_A_FOLD}
    return (fold.images, fold.of, fold.training, tuple(sorted(params.items())))


def _join(parts: Sequence[Record], fold: Fold) -> Record:
    first = parts[0]
    params = {name: value for name, value in first.params.items() if name not in OF_A_FOLD}
    images = {
        Param.DATA_EVAL: fold.images,
        Param.DATA_TRAIN: f"{fold.images}{fold.training}",
        Param.DATA_HOLDOUT: f"{fold.images}{fold.training}",
    }
    params |= {name: digest for name, digest in images.items() if name in first.params}
    counts = [part.metrics.get(Metric.IMAGES, 0.0) for part in parts]
    metrics: dict[str, float] = {Metric.IMAGES: sum(counts)}
    for name in _MEANS:
        if all(name in part.metrics for part in parts) and any(counts):
            metrics[name] = fmean([part.metrics[name] for part in parts], counts)
    return replace(
        first,
        run_id=_TOGETHER.join(part.run_id for part in parts),
        key=_TOGETHER.join(part.key for part in parts),
        start_time=max(part.start_time for part in parts),
        params=params,
        metrics=metrics,
        parts=tuple(parts),
    )
