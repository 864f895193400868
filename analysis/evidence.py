"""What the runs of a table prove: an interval for each cell, paired comparisons of the columns of each row.

How a method works is in statistics.py; how it is said to people, in words.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from analysis.correctness import Frames, Judged, judge
from analysis.recipes import shorten
from analysis.statistics import (
    Interval,
    PairedComparison,
    Reliability,
    accuracy_interval,
    compare,
    holm,
    reliability,
    smallest_difference,
)
from tlft.config.columns import COLUMN_PARAMS
from tlft.tracking.records import Record

if TYPE_CHECKING:
    from analysis.rows import Row
    from analysis.table import Table

_FIRST, _LAST = ("fine_tune",), ("zero_shot", "from_scratch")
"""Of two columns the new way is the one that stands first; all others stand between these."""

_IN_QUESTION = {*COLUMN_PARAMS, "seed", "class_map", "model.weights"}
"""Params in which two sides of a comparison may differ."""


@dataclass(frozen=True)
class CellEvidence:
    """What the runs of one cell show.

    Attributes:
        interval: of the accuracy, all outputs competing.
        closed: of the accuracy with only the data's classes competing, where that is another question; else None.
        recalls: class -> share of its images that is found.
    """

    interval: Interval
    closed: Interval | None
    reliability: Reliability
    recalls: dict[str, float]


@dataclass(frozen=True)
class Claim:
    """What one column does that another does not, in one row.

    Attributes:
        new: key of a column.
        old: key of another.
        closed: whether the old side is scored on the data's classes alone.
        p: two-sided, after Holm's correction for all claims of the table.
        unlike: in what the two sides differ that is not the question, such as `50 and 15 epochs`.
        smallest: the smallest difference that these images show with 80 % power, for single networks; 0..1, or None.
    """

    row: Row
    new: str
    old: str
    closed: bool
    comparison: PairedComparison
    p: float
    unlike: tuple[str, ...]
    smallest: float | None

    @property
    def question(self) -> tuple[object, ...]:
        """What is compared with what: the same for a comparison that stands in several rows."""
        return self.row.cells[self.new].run_ids, self.row.cells[self.old].run_ids, self.closed

    @property
    def shown(self) -> bool:
        """Whether the difference is more than these images and seeds give by chance."""
        return self.p < 0.05


@dataclass(frozen=True)
class Evidence:
    """All that is known of a table beyond its means.

    Attributes:
        cells: of each row, column key -> evidence; a cell without readable predictions is absent.
        claims: in the order of the rows; a comparison that stands in several rows is there for each.
        unread: how many runs of the table have no predictions that can be read.
    """

    cells: tuple[dict[str, CellEvidence], ...]
    claims: tuple[Claim, ...]
    unread: int

    def of(self, row: Row) -> tuple[Claim, ...]:
        """Return the claims of one row."""
        return tuple(claim for claim in self.claims if claim.row is row)


def gather(table: Table, frames: Frames) -> Evidence:
    """Judge every cell of a table, and compare the columns of each row.

    Args:
        table: of `eval/accuracy`; other metrics have no predictions to look at.
        frames: what `tlft.tracking.ArtifactReader.predictions` gives for the table's runs.
    """
    runs = {run.run_id: run for run in table.runs}
    known: dict[tuple[str, ...], Judged | None] = {}  # a cell may stand in several rows
    cells: list[dict[str, CellEvidence]] = []
    claims: list[Claim] = []
    for row in table.rows:
        judged: dict[str, Judged] = {}
        open_set: set[str] = set()
        for key, cell in row.cells.items():
            own = [runs[run_id] for run_id in cell.run_ids]
            if cell.run_ids not in known:
                known[cell.run_ids] = judge(cell, frames, any("seed" in run.params for run in own))
            if (found := known[cell.run_ids]) is not None:
                judged[key] = found
            if any("class_map" in run.params for run in own):
                open_set.add(key)
        cells.append({key: _judge_cell(found, key in open_set) for key, found in judged.items()})
        for new, old in _pairs(list(judged)):
            sides = [_runs_of(row, key, runs) for key in (new, old)]
            claims += _claims(row, new, old, judged, _unlike(*sides), old in open_set)
    return Evidence(
        cells=tuple(cells),
        claims=_corrected(claims),
        unread=sum(run_id not in frames for run_id in runs),
    )


def _corrected(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """Correct the p-values for there being several; a comparison that stands in several rows counts once."""
    asked = {claim.question: claim.comparison.p for claim in claims}
    corrected = dict(zip(asked, holm(list(asked.values())), strict=True))
    return tuple(replace(claim, p=corrected[claim.question]) for claim in claims)


def _judge_cell(judged: Judged, open_set: bool) -> CellEvidence:
    return CellEvidence(
        interval=accuracy_interval(judged.right),
        closed=accuracy_interval(judged.right_closed) if open_set else None,
        reliability=reliability(judged.confidence, judged.right),
        recalls=judged.recalls(),
    )


def _pairs(columns: Sequence[str]) -> list[tuple[str, str]]:
    """Return every two columns, the new way before the old one."""
    between = [key for key in columns if key not in (*_FIRST, *_LAST)]
    return list(combinations([key for key in (*_FIRST, *between, *_LAST) if key in columns], 2))


def _claims(
    row: Row, new: str, old: str, judged: dict[str, Judged], unlike: tuple[str, ...], open_set: bool
) -> list[Claim]:
    seen = set(judged[old].images)
    images = [image for image in judged[new].images if image in seen]
    if not images:
        return []
    left_out = len(set(judged[new].images) | seen) - len(images)
    if left_out:
        unlike = (*unlike, f"{left_out} images that one side did not see are left out")
    a, b = judged[new].only(images), judged[old].only(images)
    made = []
    for closed in (False, True) if open_set else (False,):
        found = compare(
            a.right, b.right_closed if closed else b.right, new_is_fixed=not a.seeded, old_is_fixed=not b.seeded
        )
        smallest = smallest_difference(found.spoiled / len(images), len(images))
        made.append(Claim(row, new, old, closed, found, found.p, unlike, smallest))
    return made


def _runs_of(row: Row, column: str, runs: dict[str, Record]) -> list[Record]:
    return [runs[run_id] for run_id in row.cells[column].run_ids]


def _unlike(new: Sequence[Record], old: Sequence[Record]) -> tuple[str, ...]:
    """Say in what two sides differ, of what both have and should share."""
    said = []
    for name in sorted((set(new[0].params) & set(old[0].params)) - _IN_QUESTION):
        values = [shorten(side[0].params[name]) for side in (new, old)]
        if values[0] != values[1]:
            said.append(f"{name} {values[0]} and {values[1]}")
    return tuple(said)
