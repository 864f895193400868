"""What the runs of a table prove: an interval for each cell, paired comparisons of the columns of each row.

How a method works is in statistics.py; how it is said to people, in narrative.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from analysis.correctness import Correctness, Frames, compute_correctness
from analysis.recipes import shorten
from analysis.rows import Row
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
from tlft.names import Param
from tlft.tracking.records import Record

_IN_QUESTION = {*COLUMN_PARAMS, Param.SEED, Param.CLASS_MAP, Param.WEIGHTS}
"""Params in which two sides of a comparison may differ."""


@dataclass(frozen=True)
class CellEvidence:
    """What the runs of one cell show.

    Attributes:
        interval: of the accuracy, all outputs competing.
        closed_set_interval: with only the data's classes competing, where that is another question; else None.
        recalls: class -> share of its images that is found.
    """

    interval: Interval
    closed_set_interval: Interval | None
    reliability: Reliability
    recalls: dict[str, float]


@dataclass(frozen=True)
class Claim:
    """What one column does that another does not, in one row.

    Attributes:
        new, old: keys of the two columns.
        closed_set: whether the old side is scored on the data's classes alone.
        p: two-sided, after Holm's correction for all claims of the table.
        caveats: in what the two sides differ that is not the question, such as `training.epochs 50 and 15`.
        smallest_difference: that these images show with 80 % power, for single networks; 0..1, or None.
    """

    row: Row
    new: str
    old: str
    closed_set: bool
    comparison: PairedComparison
    p: float
    caveats: tuple[str, ...]
    smallest_difference: float | None

    @property
    def key(self) -> tuple[object, ...]:
        """What is compared with what: the same for a comparison that stands in several rows."""
        return self.row.cells[self.new].run_ids, self.row.cells[self.old].run_ids, self.closed_set

    @property
    def significant(self) -> bool:
        """Whether the difference is more than these images and seeds give by chance."""
        return self.p < 0.05


@dataclass(frozen=True)
class Evidence:
    """All that is known of a table beyond its means.

    Attributes:
        cells: of each row, column key -> evidence; a cell without readable predictions is absent.
        claims: in the order of the rows; a comparison that stands in several rows is there for each.
        unreadable: how many runs of the table have no predictions that can be read.
    """

    cells: tuple[dict[str, CellEvidence], ...]
    claims: tuple[Claim, ...]
    unreadable: int

    def claims_of(self, row: Row) -> tuple[Claim, ...]:
        """Return the claims of one row."""
        return tuple(claim for claim in self.claims if claim.row is row)


def gather_evidence(rows: Sequence[Row], runs: Sequence[Record], frames: Frames) -> Evidence:
    """Look at the predictions of the runs behind every cell of `eval/accuracy`, and compare the columns of each row."""
    runs_by_id = {run.run_id: run for run in runs}
    run_ids_of_cells = {cell.run_ids for row in rows for cell in row.cells.values()}  # a cell may stand in several rows
    readable = {
        run_ids: correctness
        for run_ids in run_ids_of_cells
        if (correctness := compute_correctness([runs_by_id[run_id] for run_id in run_ids], frames)) is not None
    }
    cells, claims = [], []
    for row in rows:
        columns = {key: readable[cell.run_ids] for key, cell in row.cells.items() if cell.run_ids in readable}
        cells.append({key: _cell_evidence(correctness) for key, correctness in columns.items()})
        for new, old in _pairs(columns):
            caveats = _differing_params(*(runs_by_id[row.cells[key].run_ids[0]].params for key in (new, old)))
            claims += _compare_columns(row, new, old, columns, caveats)
    p_values = {claim.key: claim.comparison.p for claim in claims}  # what stands in several rows counts once
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return Evidence(
        cells=tuple(cells),
        claims=tuple(replace(claim, p=corrected[claim.key]) for claim in claims),
        unreadable=sum(run_id not in frames for run_id in runs_by_id),
    )


def _cell_evidence(correctness: Correctness) -> CellEvidence:
    return CellEvidence(
        interval=accuracy_interval(correctness.correct),
        closed_set_interval=accuracy_interval(correctness.correct_closed_set) if correctness.open_set else None,
        reliability=reliability(correctness.confidence, correctness.correct),
        recalls=correctness.recalls(),
    )


def _pairs(columns: Collection[str]) -> list[tuple[str, str]]:
    """Return every two columns, the new way before the old one."""
    places = {"fine_tune": 0, "zero_shot": 2, "from_scratch": 3}
    return list(combinations(sorted(columns, key=lambda key: places.get(key, 1)), 2))


def _compare_columns(
    row: Row, new: str, old: str, columns: Mapping[str, Correctness], caveats: tuple[str, ...]
) -> list[Claim]:
    """Compare two columns on the images that both saw; an open-set old side once more on the data's classes alone."""
    old_images = set(columns[old].images)
    images = [image for image in columns[new].images if image in old_images]
    if not images:
        return []
    if left_out := len(old_images.union(columns[new].images)) - len(images):
        caveats = (*caveats, f"{left_out} images that one side did not see are left out")
    a, b = columns[new].select(images), columns[old].select(images)
    claims = []
    for closed_set in (False, True) if b.open_set else (False,):
        old_correct = b.correct_closed_set if closed_set else b.correct
        comparison = compare(a.correct, old_correct, new_is_fixed=not a.seeded, old_is_fixed=not b.seeded)
        smallest = smallest_difference(comparison.spoiled / len(images), len(images))
        claims.append(Claim(row, new, old, closed_set, comparison, comparison.p, caveats, smallest))
    return claims


def _differing_params(new: Mapping[str, str], old: Mapping[str, str]) -> tuple[str, ...]:
    """Say in what two sides differ, of what both have and should share."""
    names = sorted((set(new) & set(old)) - _IN_QUESTION)
    pairs = [(name, shorten(new[name]), shorten(old[name])) for name in names]
    return tuple(f"{name} {value} and {old_value}" for name, value, old_value in pairs if value != old_value)
