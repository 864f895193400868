"""Say what the evidence shows in plain words, no more and no less.

Nothing is computed here but the rounding of figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from analysis.statistics import THIS_NETWORK, Interval
from tlft.config.columns import THREE

if TYPE_CHECKING:
    from analysis.evidence import Claim, Evidence
    from analysis.rows import Cell, Row
    from analysis.table import Table

ACCURACY = "eval/accuracy"

_DOING = {
    "zero_shot": "leaving the pretrained network untouched",
    "fine_tune": "fine-tuning the pretrained network",
    "from_scratch": "training from scratch",
    "linear_probe": "training only the head",
}
_AFTER = {"zero_shot": "leaving it untouched"}  # where the network was named before
SHORT = {"fine_tune": "fine-tuned", "zero_shot": "untouched", "from_scratch": "from scratch"}
_BRIEFLY = {"zero_shot": "the untouched network", "fine_tune": "fine-tuning", "from_scratch": "training from scratch"}


def is_share(metric: str) -> bool:
    """Tell whether a metric is a share 0..1, which people read in %."""
    return any(word in metric for word in ("accuracy", "f1", "recall", "precision"))


def rounded(value: float, decimals: int) -> str:
    """Return a number with fixed decimals that is never `-0.000`."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def format_interval(interval: Interval) -> str:
    """Return `[91.4, 97.6]`, in percent."""
    return f"[{rounded(100 * interval.low, 1)}, {rounded(100 * interval.high, 1)}]"


def format_p(p: float) -> str:
    """Return `p = 0.001`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.0005 else f"p = {p:.3f}" if p < 0.095 else f"p = {p:.2f}"


def _doing(column: str, words: Mapping[str, str] = MappingProxyType({})) -> str:
    return words.get(column) or _DOING.get(column, column.replace("_", " "))


def _brief(column: str) -> str:
    return _doing(column, _BRIEFLY)


def _points(claim: Claim) -> str:
    found = claim.comparison
    low, high = rounded(100 * found.interval.low, 1), rounded(100 * found.interval.high, 1)
    difference = rounded(100 * found.difference, 1)
    sign = "" if difference.startswith("-") or float(difference) == 0 else "+"
    return f"{sign}{difference} points (95 % interval {low} to {high}, {format_p(claim.p)})"


def describe(claim: Claim) -> str:
    """Return the claim as a sentence without a full stop.

    As in `fine-tuning corrects 14 images that the untouched network gets wrong and spoils 1, of 153: +8.5 points (95 %
    interval 3.9 to 13.7, p = 0.001)`.
    """
    found = claim.comparison
    single = found.networks == (1, 1)
    corrected, spoiled = (rounded(count, 0 if single else 1) for count in (found.corrected, found.spoiled))
    images = "image" if corrected == "1" else "images"
    mean = "" if single else " on average"
    closed = ", scored on the data's classes alone," if claim.closed else ""
    said = (
        f"{_brief(claim.new)}{mean} corrects {corrected} {images} that {_brief(claim.old)}{closed} gets wrong and "
        f"spoils {spoiled}, of {found.images}: {_points(claim)}"
    )
    if not claim.shown:
        said += "; a difference is not shown"
    if claim.unlike:
        said += f"; not alike: {', '.join(claim.unlike)}"
    return said


def head_row(table: Table) -> Row | None:
    """Return the row to speak of: the one with the most columns, then runs, then the newest.

    Never the one with the best figures: that would be choosing on the evaluation images.
    """

    def fullness(row: Row) -> tuple[int, int, int, int]:
        three = sum(column.key in row.cells for column in THREE)
        return three, len(row.cells), sum(cell.n for cell in row.cells.values()), row.newest

    return max((row for row in table.rows if not row.published), key=fullness, default=None)


def headline(table: Table) -> str:
    """Return the sentences that a reader came for: the figures of one row, and what they show where that is known."""
    row = head_row(table)
    if row is None:
        return "No finished runs yet."
    titles = SHORT | {column.key: column.title.rpartition(", ")[2] for column in table.columns if column not in THREE}
    figures = [f"{title} {_figure(row.cells[key], table.metric)}" for key, title in titles.items() if key in row.cells]
    alike = [row_ for row_ in table.rows if (row_.data, row_.arch, row_.published) == (row.data, row.arch, False)]
    recipe = f" ({row.recipe})" if len(alike) > 1 else ""
    metric = "" if table.metric == ACCURACY else f", {table.metric}"
    said = f"On {row.data}, {row.arch}{recipe}{metric}: {', '.join(figures)}."
    others = [title for key, title in titles.items() if key not in row.cells and any(key in one.cells for one in alike)]
    if others:
        said += f" Of other recipes, and so not compared: {', '.join(others)}."
    return f"{said} {_answer(row, table.evidence)}".rstrip() if table.evidence is not None else said


def _figure(cell: Cell, metric: str) -> str:
    figure = f"{rounded(100 * cell.accuracy, 1)} %" if is_share(metric) else rounded(cell.accuracy, 4)
    return figure + (f" (n={cell.n})" if cell.n > 1 else "")


def _answer(row: Row, evidence: Evidence) -> str:
    """Say what the first column of the comparisons does against the others."""
    claims = [claim for claim in evidence.of(row) if not claim.closed]
    if not claims:
        return ""
    new = claims[0].new
    told = [claim for claim in claims if claim.new == new]
    parts = [f"{_verdict(claim)} {_doing(claim.old, _AFTER)}, {_points(claim)}" for claim in told]
    alone = any(claim.comparison.seeds_unknown for claim in told)
    warning = " Some of this rests on too few seeds to say how others would do." if alone else ""
    return _capital(f"{_doing(new)} {', and '.join(parts)}.{warning}")


def _verdict(claim: Claim) -> str:
    if not claim.shown:
        return "is not shown to differ from"
    return "is better than" if claim.comparison.difference > 0 else "is worse than"


def notes(table: Table, evidence: Evidence, row: Row, *, full: bool = False) -> list[str]:
    """Return what is to be said below a table: of one row, or with `full` of all of them."""
    rows = [row] if not full else [row for row in table.rows if not row.published]
    said = [_intervals(evidence)]
    for shown in rows:
        place = f"{shown.data}, {shown.arch} ({shown.recipe}): " if len(rows) > 1 else ""
        said += [_capital(f"{place}{describe(claim)}.") for claim in evidence.of(shown)]
    said.append(_seeds(evidence))
    asked = len({claim.question for claim in evidence.claims})
    if asked > 1:
        others = asked - len(evidence.of(row))
        left = f" The {others} of other rows are shown by --stats full." if others and not full else ""
        said.append(f"p is corrected for all {asked} comparisons (Holm).{left}")
    said += _power(evidence, row)
    said += _choice(table)
    if evidence.unread:
        runs = "one run" if evidence.unread == 1 else f"{evidence.unread} runs"
        said.append(f"The predictions of {runs} cannot be read; such a cell has no interval.")
    if full:
        said += _calibration(table, evidence)
    return [note for note in said if note]


def _seeds(evidence: Evidence) -> str:
    """Warn where a claim rests on too few seeds."""
    asked = {claim.question: claim.comparison.seeds_unknown for claim in evidence.claims}
    few = sum(asked.values())
    if not few:
        return ""
    which = "The comparisons hold" if few == len(asked) else f"{few} of the comparisons hold"
    return f"{which} for the networks that were trained, on new images; how other seeds would do is not known."


def _intervals(evidence: Evidence) -> str:
    kinds = {cell.interval.kind for cells in evidence.cells for cell in cells.values()}
    if not kinds:
        return ""
    carried = "Intervals in brackets are of 95 %"
    over = "of a new seed on new images where there are three seeds or more"
    alone = "of the trained networks alone on new images where there are fewer"
    if kinds == {THIS_NETWORK}:
        return f"{carried}, for each trained network only, on new images: other seeds may differ."
    return f"{carried}: {over}, {alone}."


def _power(evidence: Evidence, row: Row) -> list[str]:
    claims = [claim for claim in evidence.of(row) if not claim.closed and claim.smallest is not None]
    if not claims:
        return []
    claim = claims[0]
    assert claim.smallest is not None
    spoiled = rounded(100 * claim.comparison.spoiled / claim.comparison.images, 1)
    return [
        f"With {claim.comparison.images} images, of which {spoiled} % are spoiled, a difference between two networks "
        f"below {rounded(100 * claim.smallest, 1)} points would be missed more often than one time in five."
    ]


def _choice(table: Table) -> list[str]:
    """Warn where rows are so many tries on the same evaluation images."""
    tries = Counter(
        (row.data, row.arch, key)
        for row in table.rows
        for key in row.cells
        if not row.published and key != "zero_shot"  # which has no recipe to choose
    )
    most: dict[tuple[str, str], int] = {}
    for (data, arch, _), count in tries.items():
        most[data, arch] = max(most.get((data, arch), 0), count)
    return [
        f"{data}, {arch}: {count} recipes were tried on the same evaluation images; the best would be chosen on these "
        "images, and looks better than it is. Choose by --metric holdout/accuracy (data.holdout_fraction)."
        for (data, arch), count in most.items()
        if count > 1
    ]


def _calibration(table: Table, evidence: Evidence) -> list[str]:
    titles = {column.key: _brief(column.key) for column in (*THREE, *table.columns)}
    said = []
    for row, cells in zip(table.rows, evidence.cells, strict=False):
        for key, cell in cells.items():
            recalls = ", ".join(f"{name} {rounded(100 * share, 1)} %" for name, share in cell.recalls.items())
            closed = f"; closed-set interval {format_interval(cell.closed)}" if cell.closed is not None else ""
            said.append(
                f"{row.data}, {row.arch} ({row.recipe}), {titles[key]}: expected calibration error "
                f"{rounded(100 * cell.reliability.error, 1)} %; found of each class: {recalls}{closed}."
            )
    return said
