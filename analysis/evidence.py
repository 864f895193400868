"""What the runs of a table prove: an interval for each cell, paired comparisons of the columns of each row.

How a method works is in `analysis/statistics/`; how it is said to people, in narrative.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from analysis.predictions.correctness import Correctness, Frames, compute_correctness, groups_of_images
from analysis.recipes import shorten
from analysis.rows import Row
from analysis.statistics import (
    ALPHA,
    Interval,
    PairedComparison,
    PairedTest,
    Reliability,
    accuracy_interval,
    holm,
    levels,
    new_seed_interval,
    rate_limit,
    reliability,
    smallest_difference,
)
from tlft.config.columns import COLUMN_PARAMS, THREE, rung_of
from tlft.names import Param
from tlft.records.record import Record

_IN_QUESTION = {*COLUMN_PARAMS, Param.SEED, Param.CLASS_MAP, Param.WEIGHTS}
"""Params in which two sides of a comparison may differ."""

_THREE = {column.key for column in THREE}


@dataclass(frozen=True)
class CellEvidence:
    """What the runs of one cell show, on the images that all of them saw."""

    correctness: Correctness

    @cached_property
    def interval(self) -> Interval:
        """Of the accuracy, all outputs competing."""
        return accuracy_interval(self.correctness.correct, groups=self.correctness.groups)

    @cached_property
    def closed_set_interval(self) -> Interval | None:
        """The same with only the data's classes competing, where that is another question."""
        if not self.correctness.open_set:
            return None
        return accuracy_interval(self.correctness.correct_closed_set, groups=self.correctness.groups)

    @cached_property
    def new_seed_interval(self) -> Interval | None:
        """Where the accuracy of one more seed lies; None where no seed was drawn, or too few to tell."""
        if not self.correctness.seeded:
            return None
        return new_seed_interval(self.correctness.correct, groups=self.correctness.groups)

    @cached_property
    def reliability(self) -> Reliability:
        """How sure the networks were, and how often right."""
        return reliability(self.correctness.confidence, self.correctness.correct)

    @cached_property
    def recalls(self) -> dict[str, float]:
        """Class -> share of its images that is found."""
        return self.correctness.recalls()


@dataclass(frozen=True)
class Claim:
    """What one column does that another does not, in one row.

    Attributes:
        new, old: keys of the two columns.
        closed_sides: those of the two that are scored on the data's classes alone though they have other outputs.
        classes: the data's, sorted.
        test: of the two.
        level: of the interval, as strict as `p`.
        p: two-sided, after Holm's correction for all claims of the family.
        family: how many claims there are of the same row: of the three columns, or of others.
        caveats: in what the two sides differ that is not the question, such as `training.epochs 50 and 15`.
    """

    row: Row
    new: str
    old: str
    closed_sides: tuple[str, ...]
    classes: tuple[str, ...]
    test: PairedTest
    level: float
    p: float
    family: int
    caveats: tuple[str, ...]

    @property
    def closed_set(self) -> bool:
        """Whether a side is scored on the data's classes alone."""
        return bool(self.closed_sides)

    @cached_property
    def comparison(self) -> PairedComparison:
        """What the test says, with its interval."""
        return self.test.at(self.level)

    @property
    def significant(self) -> bool:
        """Whether the difference is more than these images and seeds give by chance."""
        return self.p < ALPHA

    @property
    def rarer_rate(self) -> float:
        """Share of the images that the worse side alone gets right, 0..1; the largest likely one where it is none."""
        rarer = min(self.comparison.corrected, self.comparison.spoiled)
        return rarer / self.comparison.images if rarer else rate_limit(self.comparison.images)

    @property
    def has_power(self) -> bool:
        """Whether the power of this comparison is that of McNemar's test of two networks: without seeds and groups."""
        return self.comparison.networks == (1, 1) and self.comparison.groups == self.comparison.images

    @cached_property
    def smallest_difference(self) -> float | None:
        """That these images show with 80 % power at the family's level, 0..1; None: none, or of another test."""
        if not self.has_power:
            return None
        return smallest_difference(self.rarer_rate, self.comparison.images, ALPHA / self.family)

    @property
    def is_of_the_three(self) -> bool:
        """Whether it is of the family of the three columns."""
        return {self.new, self.old} <= _THREE


@dataclass(frozen=True)
class Evidence:
    """All that is known of a table beyond its means.

    Attributes:
        cells: of each row, column key -> evidence; a cell without readable predictions is absent.
        claims: in the order of the rows; a comparison that stands in several rows is there for each.
        unreadable: how many runs of the table have no predictions that can be read.
        groups_contradicted: whether runs put the same images into different groups; the newest run's are taken.
        grouping: the expression that found the groups, if it is not the runs' own `data.group`.
    """

    cells: tuple[dict[str, CellEvidence], ...]
    claims: tuple[Claim, ...]
    unreadable: int
    groups_contradicted: bool = False
    grouping: str | None = None

    def claims_of(self, row: Row) -> tuple[Claim, ...]:
        """Return the claims of one row."""
        return tuple(claim for claim in self.claims if claim.row is row)


def gather_evidence(
    rows: Sequence[Row], runs: Sequence[Record], frames: Frames, grouping: str | None = None
) -> Evidence:
    """Look at the predictions of the runs behind every cell of `eval/accuracy`, and compare the columns of each row.

    The comparisons of a row are corrected together: those of the three columns, and those with further columns. So what
    else a table shows changes no verdict.
    """
    runs_by_id = {run.run_id: run for run in runs}
    groups, contradicted = groups_of_images(runs, frames)
    run_ids_of_cells = {cell.run_ids for row in rows for cell in row.cells.values()}  # a cell may stand in several rows
    readable = {
        run_ids: CellEvidence(correctness)
        for run_ids in run_ids_of_cells
        if (correctness := _read([runs_by_id[run_id] for run_id in run_ids], frames, groups)) is not None
    }
    cells, claims = [], []
    for row in rows:
        columns = {key: readable[cell.run_ids] for key, cell in row.cells.items() if cell.run_ids in readable}
        cells.append(columns)
        pairs = _pairs({key: evidence.correctness for key, evidence in columns.items()}, row, runs_by_id)
        for of_the_three in (True, False):
            claims += _claims([pair for pair in pairs if ({pair.new, pair.old} <= _THREE) == of_the_three], row)
    return Evidence(
        cells=tuple(cells),
        claims=tuple(claims),
        unreadable=sum(run_id not in frames for run_id in runs_by_id),
        groups_contradicted=contradicted,
        grouping=grouping,
    )


def _read(runs: Sequence[Record], frames: Frames, groups: Mapping[str, Mapping[str, str]]) -> Correctness | None:
    images = runs[0].params.get(Param.DATA_EVAL, "") if runs else ""
    return compute_correctness(runs, frames, groups.get(images))


@dataclass(frozen=True)
class _Pair:
    """Two columns of a row on the images that both saw, scored in one way."""

    new: str
    old: str
    sides: tuple[Correctness, Correctness]
    closed_set: bool
    caveats: tuple[str, ...]

    @cached_property
    def test(self) -> PairedTest:
        a, b = self.sides
        new, old = (side.correct_closed_set if self.closed_set else side.correct for side in self.sides)
        return PairedTest.of(new, old, not a.seeded, not b.seeded, a.groups if a.groups is not None else b.groups)


def _pairs(columns: Mapping[str, Correctness], row: Row, runs: Mapping[str, Record]) -> list[_Pair]:
    """Pair every two columns, the new way before the old one; where one has other outputs, also without these.

    Not without these where other classes would be left to each side: of fewer classes the right one is easier to tell.
    """
    pairs = []
    for new, old in _orders(columns):
        caveats = _differing_params(*(runs[row.cells[key].run_ids[0]].params for key in (new, old)))
        seen = set(columns[old].images)
        images = [image for image in columns[new].images if image in seen]
        if not images:
            continue
        if left_out := len(seen.union(columns[new].images)) - len(images):
            caveats = (*caveats, f"{left_out} image{'s' * (left_out > 1)} left out that one side did not see")
        sides = columns[new].select(images), columns[old].select(images)
        ways = [False, True] if any(side.open_set for side in sides) else [False]
        if len(ways) > 1 and sides[0].classes != sides[1].classes:
            numbers = " and ".join(str(len(side.classes)) for side in sides)
            caveats = (*caveats, f"closed-set {numbers} classes compete, which is not compared")
            ways.remove(True)
        pairs += [_Pair(new, old, sides, closed_set, caveats) for closed_set in ways]
    return pairs


def _orders(columns: Collection[str]) -> list[tuple[str, str]]:
    """Return every two columns, the new way before the old one."""
    places = {"fine_tune": 0, "zero_shot": 3, "from_scratch": 4}

    def place(key: str) -> tuple[int, int, int]:
        rung = rung_of(key)
        if key in places or rung is None:
            return places.get(key, 1), 0, 0
        return 2, -rung[0], -rung[1]  # of two rungs the one that keeps more is the new way

    return list(combinations(sorted(columns, key=place), 2))


def _claims(family: Sequence[_Pair], row: Row) -> list[Claim]:
    """Compare pairs that are corrected together: their p, and intervals that are as strict."""
    p_values = [pair.test.p for pair in family]
    return [
        Claim(
            row=row,
            new=pair.new,
            old=pair.old,
            closed_sides=_closed_sides(pair),
            classes=pair.sides[0].classes,
            test=pair.test,
            level=level,
            p=p,
            family=len(family),
            caveats=pair.caveats,
        )
        for pair, p, level in zip(family, holm(p_values), levels(p_values), strict=True)
    ]


def _closed_sides(pair: _Pair) -> tuple[str, ...]:
    names = zip((pair.new, pair.old), pair.sides, strict=True)
    return tuple(name for name, side in names if side.open_set) if pair.closed_set else ()


def _differing_params(new: Mapping[str, str], old: Mapping[str, str]) -> tuple[str, ...]:
    """Say in what two sides differ, of what both have and should share."""
    names = sorted((set(new) & set(old)) - _IN_QUESTION)
    pairs = [(name, shorten(new[name]), shorten(old[name])) for name in names]
    return tuple(f"{name} {value} and {old_value}" for name, value, old_value in pairs if value != old_value)
