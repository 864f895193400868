"""Say in sentences what a curve shows; each is true when it is read alone. Nothing is drawn here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from analysis.curve.series import Curve, Line, Point, Value
from analysis.evidence import Claim
from analysis.narrative import difference_in_points, is_share, percent, phrase, points, rounded, short_title
from analysis.predictions.correctness import Correctness
from analysis.statistics import ALPHA, FEWEST_SEEDS, Arm, Multiple, holm, multiple

_PAIRS = (("fine_tune", "from_scratch"), ("linear_probe", "from_scratch"), ("fine_tune", "zero_shot"))


def describe_curve(curve: Curve) -> list[str]:
    """Return the sentences of a curve, without full stops: figures, comparisons along it, and multiples of amounts."""
    sentences = [f"On {curve.name}: {'; '.join(_figures(curve, line) for line in curve.lines)}"]
    sentences += _comparisons(curve)
    if curve.is_amount:
        sentences += [text for new, old in _PAIRS[:2] if (text := _multiple(curve, new, old))]
    elif len(curve.lines) == 1 and (text := _ends(curve, curve.lines[0])):
        sentences.append(text)
    return sentences


def format_value(value: Value) -> str:
    """Return a value of a setting as people write it."""
    return f"{value:g}" if isinstance(value, float) else value


def _figures(curve: Curve, line: Line) -> str:
    first, last = line.points[0], line.points[-1]
    from_x, to_x = format_value(first.x), _at(curve, [last.x])
    return f"{title_of(curve, line)} {_figure(curve, first)} with {from_x} and {_figure(curve, last)} with {to_x}"


def _figure(curve: Curve, point: Point) -> str:
    value = point.cell.accuracy
    return f"{percent(value)} %" if is_share(curve.table.metric) else rounded(value, 4)


def title_of(curve: Curve, line: Line) -> str:
    """Return what a line is called in few words."""
    column = next((column for column in curve.table.columns if column.title == line.title), None)
    return line.title if column is None else short_title(column)


def _at(curve: Curve, values: Sequence[Value]) -> str:
    """Return `12 to 98 training images`, or `4 and all stages ...`."""
    texts = [format_value(value) for value in values]
    if curve.is_amount and len(texts) > 2:
        return f"{texts[0]} to {texts[-1]} {curve.label}"
    listed = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"{listed} {curve.label}" if curve.is_amount else f"{curve.label} {listed}"


@dataclass(frozen=True)
class _Verdict:
    """A comparison at one value, told after Holm's correction over all that are told of the curve."""

    x: Value
    claim: Claim
    p: float

    @property
    def kind(self) -> str:
        if self.p >= ALPHA:
            return "not shown to differ from"
        return "better than" if self.claim.comparison.difference > 0 else "worse than"


def _comparisons(curve: Curve) -> Iterator[str]:
    """Say of each pair of columns where one is better, over all values together."""
    pairs = {pair: found for pair in _PAIRS if len(found := list(_claims(curve, *pair))) > 1}
    corrected = iter(holm([claim.test.p for found in pairs.values() for _, claim in found]))
    for (new, old), found in pairs.items():
        verdicts = [_Verdict(point.x, claim, next(corrected)) for point, claim in found]
        parts = []
        for kind, together in groupby(verdicts, key=lambda verdict: verdict.kind):
            run = list(together)
            differences = [difference_in_points(verdict.claim)[0] for verdict in run]
            span = differences[0] if len(run) == 1 else f"{differences[0]} to {differences[-1]}"
            parts.append(f"{kind} {phrase(old)} with {_at(curve, [verdict.x for verdict in run])} ({span} points)")
        yield f"{phrase(new)} is {'; '.join(parts)}{_seeds(found)}"


def _claims(curve: Curve, new: str, old: str) -> Iterator[tuple[Point, Claim]]:
    """Yield where both columns stand, and what is known of them there, all outputs competing."""
    line, evidence = curve.line(new), curve.table.evidence
    for point in line.points if line is not None and evidence is not None else ():
        assert evidence is not None
        for claim in evidence.claims_of(point.row):
            if (claim.new, claim.old) == (new, old) and not claim.closed_set:
                yield point, claim


def _seeds(found: Sequence[tuple[Point, Claim]]) -> str:
    unknown = any(claim.comparison.seeds_unknown for _, claim in found)
    return "; other seeds may do otherwise" if unknown else ""


def _ends(curve: Curve, line: Line) -> str:
    """Say what one end of a line of several columns does that the other does not; nothing if it is not known."""
    first, last = line.points[0], line.points[-1]
    claims = curve.table.evidence.claims_of(first.row) if curve.table.evidence is not None else ()
    for claim in claims:
        if {claim.new, claim.old} == {first.column, last.column} and not claim.closed_set:
            better = "better" if claim.comparison.difference > 0 else "worse"
            verdict = f"{better} than" if claim.significant else "not shown to differ from"
            seeds = "; other seeds may do otherwise" if claim.comparison.seeds_unknown else ""
            return f"{phrase(claim.new)} is {verdict} {phrase(claim.old)}, {points(claim)}{seeds}"
    return ""


def _multiple(curve: Curve, new: str, old: str) -> str:
    """Say how many times as much the old way needs; nothing where that cannot be asked."""
    of_new, of_old = curve.line(new), curve.line(old)
    if of_new is None or of_old is None:
        return ""
    common = _common(curve, [*of_new.points, *of_old.points])
    ways = [_arms(curve, line, common.images) if common is not None else [] for line in (of_new, of_old)]
    if common is None or any(len(arms) < 2 for arms in ways):
        return ""
    result = multiple(ways[0], ways[1], common.groups)
    if result.value == 0:  # the old way always does better
        return _multiple(curve, old, new)
    few = any(len(arm.correct) < FEWEST_SEEDS for arms in ways for arm in arms)
    of_networks = "; of these networks: other seeds may do otherwise" if few else ""
    return f"{_say_multiple(result, new, old, curve.label)}{of_networks}"


def _arms(curve: Curve, line: Line, images: Sequence[str]) -> list[Arm]:
    cells = [(point.x, curve.evidence_of(point)) for point in line.points]
    return [
        Arm(x, cell.correctness.select(images).correct)
        for x, cell in cells
        if cell is not None and isinstance(x, float) and x > 0
    ]


def _common(curve: Curve, all_points: Sequence[Point]) -> Correctness | None:
    """Return the predictions of a point on the images that all points have; None if there are none."""
    cells = [cell.correctness for point in all_points if (cell := curve.evidence_of(point)) is not None]
    if not cells:
        return None
    seen = set(cells[0].images).intersection(*(cell.images for cell in cells[1:]))
    images = [image for image in cells[0].images if image in seen]
    return cells[0].select(images) if len(images) > 1 else None


def _say_multiple(result: Multiple, new: str, old: str, noun: str) -> str:
    to_match = f"to do as well as {phrase(new)}"
    if not result.is_told:
        return f"how many times the {noun} {phrase(old)} needs {to_match} cannot be told within this data"
    if math.isinf(result.value):
        is_beyond = math.isinf(result.low)
        least = f"more than {_round(result.widest)}" if is_beyond else f"at least {_round(result.low)}"
        return f"{phrase(old)} needs {least} times the {noun} {to_match}; how many cannot be told within this data"
    low, high = _round(result.low), _round(result.high)
    interval = f"from {low} on, without an end within this data" if math.isinf(result.high) else f"{low} to {high}"
    figures = f"about {_round(result.value)} times (95 % interval {interval})"
    if result.low <= 1 <= result.high:
        return f"{phrase(old)} is not shown to need more or fewer {noun} {to_match}: {figures}"
    return f"{phrase(old)} needs {figures} the {noun} {to_match}"


def _round(value: float) -> str:
    """Return a multiple with two digits that count."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
