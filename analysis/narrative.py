"""Say in a sentence what a table shows and what its evidence proves, no more and no less.

Nothing is computed here but the rounding of figures; what else must be said below a table is in footnotes.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.comparison_table import Table
from analysis.evidence import Claim
from analysis.rows import Cell, Row
from analysis.statistics import Interval
from tlft.config.columns import THREE, Column
from tlft.names import Metric

_SHORT_TITLES = {"fine_tune": "fine-tuned", "zero_shot": "untouched", "from_scratch": "from scratch"}
_PHRASES = {
    "zero_shot": "leaving the pretrained network untouched",
    "fine_tune": "fine-tuning the pretrained network",
    "from_scratch": "training from scratch",
    "linear_probe": "training only the head",
}
_SHORT_PHRASES = _PHRASES | {"zero_shot": "the untouched network", "fine_tune": "fine-tuning"}
_LATER_PHRASES = _PHRASES | {"zero_shot": "leaving it untouched"}  # where the network was named before


def is_share(metric: str) -> bool:
    """Tell whether a metric is a share 0..1, which people read in %."""
    return any(word in metric for word in ("accuracy", "f1", "recall", "precision"))


def rounded(value: float, decimals: int) -> str:
    """Return a number with fixed decimals that is never `-0.000`."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def capitalize(text: str) -> str:
    """Return a text with a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]


def format_interval(interval: Interval) -> str:
    """Return `[91.4, 97.6]`, in percent."""
    return f"[{rounded(100 * interval.low, 1)}, {rounded(100 * interval.high, 1)}]"


def format_p(p: float) -> str:
    """Return `p = 0.001`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.0005 else f"p = {p:.3f}" if p < 0.095 else f"p = {p:.2f}"


def short_title(column: Column) -> str:
    """Return what a column is called in few words."""
    return _SHORT_TITLES.get(column.key, column.title.rpartition(", ")[2])


def phrase(column: str, phrases: Mapping[str, str] = _SHORT_PHRASES) -> str:
    """Return what is done in a column, as part of a sentence."""
    return phrases.get(column, column.replace("_", " "))


def _points(claim: Claim) -> str:
    low, high = (rounded(100 * end, 1) for end in (claim.comparison.interval.low, claim.comparison.interval.high))
    difference = rounded(100 * claim.comparison.difference, 1)
    sign = "" if difference.startswith("-") or float(difference) == 0 else "+"
    return f"{sign}{difference} points (95 % interval {low} to {high}, {format_p(claim.p)})"


def describe(claim: Claim) -> str:
    """Return the claim as a sentence without a full stop.

    As in `fine-tuning corrects 14 images that the untouched network gets wrong and spoils 1, of 153: +8.5 points (95 %
    interval 3.9 to 13.7, p = 0.001)`.
    """
    comparison = claim.comparison
    single = comparison.networks == (1, 1)
    corrected, spoiled = (rounded(count, 0 if single else 1) for count in (comparison.corrected, comparison.spoiled))
    images = "image" if corrected == "1" else "images"
    mean = "" if single else " on average"
    closed_set = ", scored on the data's classes alone," if claim.closed_set else ""
    sentence = (
        f"{phrase(claim.new)}{mean} corrects {corrected} {images} that {phrase(claim.old)}{closed_set} "
        f"gets wrong and spoils {spoiled}, of {comparison.images}: {_points(claim)}"
    )
    if not claim.significant:
        sentence += "; a difference is not shown"
    if claim.caveats:
        sentence += f"; not alike: {', '.join(claim.caveats)}"
    return sentence


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
    columns = sorted(table.columns, key=lambda column: column.key != "fine_tune")
    titles = {column.key: short_title(column) for column in columns}
    figures = [f"{title} {_figure(row.cells[key], table.metric)}" for key, title in titles.items() if key in row.cells]
    siblings = [sibling for sibling in table.rows if sibling.place == row.place and not sibling.published]
    recipe = f" ({row.recipe})" if len(siblings) > 1 else ""
    metric = "" if table.metric == Metric.ACCURACY else f", {table.metric}"
    sentences = [f"On {row.place}{recipe}{metric}: {', '.join(figures)}."]
    elsewhere = {key for sibling in siblings for key in sibling.cells} - set(row.cells)
    if uncompared := [title for key, title in titles.items() if key in elsewhere]:
        sentences.append(f"Of other recipes, and so not compared: {', '.join(uncompared)}.")
    if table.evidence is not None and (verdict := _verdict(table.evidence.claims_of(row))):
        sentences.append(verdict)
    return " ".join(sentences)


def _figure(cell: Cell, metric: str) -> str:
    figure = f"{rounded(100 * cell.accuracy, 1)} %" if is_share(metric) else rounded(cell.accuracy, 4)
    return figure + (f" (n={cell.n})" if cell.n > 1 else "")


def _verdict(row_claims: Sequence[Claim]) -> str:
    """Say what the first column of the comparisons does against the others; nothing if there is none."""
    claims = [claim for claim in row_claims if not claim.closed_set and claim.new == row_claims[0].new]
    if not claims:
        return ""
    parts = [f"{_relation(claim)} {phrase(claim.old, _LATER_PHRASES)}, {_points(claim)}" for claim in claims]
    few_seeds = any(claim.comparison.seeds_unknown for claim in claims)
    warning = " Some of this rests on too few seeds to say how others would do." if few_seeds else ""
    return capitalize(f"{phrase(claims[0].new, _PHRASES)} {', and '.join(parts)}.{warning}")


def _relation(claim: Claim) -> str:
    if not claim.significant:
        return "is not shown to differ from"
    return "is better than" if claim.comparison.difference > 0 else "is worse than"
