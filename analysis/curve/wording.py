"""Say in sentences what a curve shows; each is true when it is read alone. Nothing is drawn here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from analysis.curve.series import TRAIN_FRACTION, TRAIN_PER_CLASS, Curve, Line, Point, Value
from analysis.evidence import Claim
from analysis.narrative import is_share, percent, phrase, points, rounded, short_title
from analysis.predictions.correctness import Correctness
from analysis.statistics import ALPHA, FEWEST_SEEDS, Arm, Multiple, PairedTest, holm, multiple
from tlft.names import Metric, Param

_PAIRS = (("fine_tune", "from_scratch"), ("linear_probe", "from_scratch"))
"""The new way before the old one."""

_MOST_VALUES = 8


def describe_curve(curve: Curve) -> list[str]:
    """Return the sentences of a curve, without full stops: figures, comparisons along it, and multiples of amounts."""
    metric = "" if curve.table.metric == Metric.ACCURACY else f", {curve.table.metric}"
    sentences = [f"On {curve.name}{metric}: {'; '.join(_figures(curve, line) for line in curve.lines)}"]
    if curve.hidden:
        rows = "a row is" if curve.hidden == 1 else f"{curve.hidden} rows are"
        sentences.append(f"{rows} not shown, since a newer one has the same value of {curve.key}")
    if len(curve.lines) == 1 and curve.lines[0].column is None:
        return [*sentences, *_ends(curve, curve.lines[0])]
    told = [pair for pair in (_Pair.of(curve, *columns) for columns in _PAIRS) if pair is not None]
    family = sum(len(pair.tests) for pair in told)
    corrected = iter(holm([test.p for pair in told for test in pair.tests]))
    for pair in told:
        p_values = [next(corrected) for _ in pair.tests]
        sentences += [_compare(curve, pair, p_values, family), *_multiple(curve, pair, p_values)]
    return sentences


def format_value(value: Value) -> str:
    """Return a value of a setting as people write it."""
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value == int(value) else f"{value:g}"


def title_of(curve: Curve, line: Line) -> str:
    """Return what a line is called in few words."""
    column = next((column for column in curve.table.columns if column.key == line.column), None)
    return line.title if column is None else short_title(column)


def _figures(curve: Curve, line: Line) -> str:
    shown = line.points
    if curve.is_amount or len(shown) > _MOST_VALUES:
        shown = (shown[0], shown[-1]) if len(shown) > 1 else shown
    texts = [f"{_figure(curve, point)} with {format_value(point.x)}" for point in shown[:-1]]
    texts.append(f"{_figure(curve, shown[-1])} with {_at(curve, [shown[-1].x])}")
    return f"{title_of(curve, line)} {' and '.join([', '.join(texts[:-1]), texts[-1]] if texts[1:] else texts)}"


def _figure(curve: Curve, point: Point) -> str:
    value = point.cell.accuracy
    return f"{percent(value)} %" if is_share(curve.table.metric) else rounded(value, 4)


def _at(curve: Curve, values: Sequence[Value]) -> str:
    """Return `12 to 98 training images`, or `resnet18 and resnet50 (arch.name)`."""
    texts = [format_value(value) for value in values]
    if curve.is_amount and len(texts) > 2:
        return f"{texts[0]} to {texts[-1]} {curve.label}"
    listed = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"{listed} {curve.label}" if curve.is_amount else f"{listed} ({curve.label})"


@dataclass(frozen=True)
class _Pair:
    """Two columns along the curve: what is known of them wherever both stand, and at their ends.

    Attributes:
        claims: at each value that both have, all outputs competing.
        end: the new way with its least amount against the old one with its largest; None where there are no amounts.
        images: SHA-256 of those that every network of both saw.
    """

    new: str
    old: str
    claims: tuple[tuple[Value, Claim], ...]
    end: PairedTest | None
    arms: tuple[tuple[Arm, ...], tuple[Arm, ...]]
    common: Correctness | None
    left_out: int = field(default=0)

    @property
    def tests(self) -> list[PairedTest]:
        """All tests of the pair, that of the ends the last."""
        return [*(claim.test for _, claim in self.claims), *([self.end] if self.end is not None else [])]

    @classmethod
    def of(cls, curve: Curve, new: str, old: str) -> _Pair | None:
        """Return the pair, or None where there is nothing to compare."""
        of_new, of_old = curve.line(new), curve.line(old)
        if of_new is None or of_old is None or curve.table.evidence is None:
            return None
        claims = tuple(
            (point.x, claim)
            for point in of_new.points
            for claim in curve.table.evidence.claims_of(point.row)
            if (claim.new, claim.old) == (new, old) and not claim.closed_set
        )
        all_points = (*of_new.points, *of_old.points)
        cells = [cell for point in all_points if (cell := curve.evidence_of(point)) is not None]
        common = _common([cell.correctness for cell in cells])
        if not claims or common is None:
            return None
        arms = _arms(curve, of_new, common.images), _arms(curve, of_old, common.images)
        end = None
        if curve.is_amount and arms[0] and len(arms[1]) > 1:
            end = PairedTest.of(arms[0][0].correct, arms[1][-1].correct, False, False, common.groups)
        most = max(len(cell.correctness.images) for cell in cells)
        return cls(new, old, claims, end, arms, common, most - len(common.images))


def _common(cells: Sequence[Correctness]) -> Correctness | None:
    """Return the predictions of the first on the images that all have; None if there are none."""
    if not cells:
        return None
    seen = set(cells[0].images).intersection(*(cell.images for cell in cells[1:]))
    images = [image for image in cells[0].images if image in seen]
    return cells[0].select(images) if len(images) > 1 else None


def _arms(curve: Curve, line: Line, images: Sequence[str]) -> tuple[Arm, ...]:
    seeds = {run.run_id: run.params.get(Param.SEED, run.run_id) for run in curve.table.runs}
    return tuple(
        Arm(point.x, cell.correctness.select(images).correct, tuple(seeds[run_id] for run_id in point.cell.run_ids))
        for point in line.points
        if isinstance(point.x, float) and point.x > 0 and (cell := curve.evidence_of(point)) is not None
    )


def _compare(curve: Curve, pair: _Pair, p_values: Sequence[float], family: int) -> str:
    """Say of two columns where one is better, over all values that both have."""
    kinds = []
    for (_, claim), p in zip(pair.claims, p_values, strict=False):
        better = "better than" if claim.comparison.difference > 0 else "worse than"
        kinds.append("not shown to differ from" if p >= ALPHA else better)
    parts = []
    for kind, together in groupby(zip(kinds, pair.claims, strict=True), key=lambda item: item[0]):
        run = [(x, claim) for _, (x, claim) in together]
        span = _span([claim.comparison.difference for _, claim in run])
        parts.append(f"{kind} {phrase(pair.old)} with {_at(curve, [x for x, _ in run])} ({span} points)")
    notes = [f"corrected for {family} comparisons along the curve"] if family > 1 else []
    notes += ["other seeds may do otherwise"] if any(claim.comparison.seeds_unknown for _, claim in pair.claims) else []
    caveats = dict.fromkeys(caveat for _, claim in pair.claims for caveat in claim.caveats)
    notes += [f"not alike: {', '.join(caveats)}"] if caveats else []
    return "; ".join([f"{phrase(pair.new)} is {'; '.join(parts)}", *notes])


def _span(differences: Sequence[float]) -> str:
    """Return the least and the greatest of some differences, in points, such as `+25.0 to +26.3`."""
    texts = [f"{'' if percent(value).startswith('-') else '+'}{percent(value)}" for value in sorted(differences)]
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"


def _ends(curve: Curve, line: Line) -> Iterator[str]:
    """Say what one end of a line of several columns does that the other does not, if it is known."""
    first, last = line.points[0], line.points[-1]
    for claim in curve.table.evidence.claims_of(first.row) if curve.table.evidence is not None else ():
        if {claim.new, claim.old} == {first.column, last.column} and not claim.closed_set:
            better = "better" if claim.comparison.difference > 0 else "worse"
            verdict = f"{better} than" if claim.significant else "not shown to differ from"
            seeds = "; other seeds may do otherwise" if claim.comparison.seeds_unknown else ""
            yield f"{phrase(claim.new)} is {verdict} {phrase(claim.old)}, {points(claim)}{seeds}"


def _multiple(curve: Curve, pair: _Pair, p_values: Sequence[float]) -> Iterator[str]:
    """Say how many times as much the old way needs to do as well as the new one with its least amount."""
    if pair.end is None or pair.common is None:
        return
    (new, *_), old = pair.arms
    result = multiple(new, old, pair.common.groups)
    is_beyond = pair.end.difference > 0 and p_values[-1] < ALPHA
    notes = [_say_multiple(curve, pair, result, is_beyond=is_beyond)]
    if any(len(arm.correct) < FEWEST_SEEDS for arm in (new, *old)):
        notes.append("of these networks: other seeds may do otherwise")
    if curve.key in (TRAIN_FRACTION, TRAIN_PER_CLASS):
        notes.append("of these training images: another draw of them may do otherwise")
    if pair.left_out:
        notes.append(f"on the {len(pair.common.images)} images that all saw")
    yield "; ".join(notes)


def _say_multiple(curve: Curve, pair: _Pair, result: Multiple, *, is_beyond: bool) -> str:
    old, least = phrase(pair.old), pair.arms[0][0].amount
    noun = "epochs" if curve.key == Param.EPOCHS else "training images"
    match = f"to do as well as {phrase(pair.new)} with {_at(curve, [least])}, {percent(result.level)} %"
    unknown = f"how many times as many {noun} {old} needs {match} cannot be told within this data"
    if math.isinf(result.value):
        if is_beyond:
            return f"{old} needs more than {_round(result.most)} times as many {noun} {match}"
        least_times = f"{old} needs at least {_round(result.low)} times as many {noun} (by the 95 % interval) {match}"
        return least_times if 1 < result.low < math.inf else unknown
    if result.value == 0:
        few = f"{old} needs at most {_round(result.high)} times as many {noun} (by the 95 % interval) {match}"
        return unknown if math.isinf(result.high) else few
    if math.isinf(result.high) and result.low <= 1:
        return unknown
    interval = f"{_round(result.low)} to {_round(result.high)}" if result.low else f"up to {_round(result.high)}"
    if math.isinf(result.high):
        interval = f"from {_round(result.low)} on, without an end within this data"
    figures = f"about {_round(result.value)} times as many {noun} (95 % interval {interval})"
    if result.low <= 1 <= result.high:
        return f"{old} is not shown to need more or fewer {noun} {match}: {figures}"
    return f"{old} needs {figures} {match}"


def _round(value: float) -> str:
    """Return a multiple with two digits that count."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
