"""Say in sentences what a table shows and what its evidence proves; each sentence is true when it is read alone.

Nothing is computed here but the rounding of figures. What stands below a table is in footnotes.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from analysis.comparison_table import Table
from analysis.evidence import CellEvidence, Claim
from analysis.rows import Cell, Row
from analysis.statistics import ALPHA, Interval
from tlft.config.columns import THREE, Column, rung_of
from tlft.names import Metric

_SHORT_TITLES = {
    "fine_tune": "fine-tuned",
    "zero_shot": "untouched",
    "from_scratch": "from scratch",
    "linear_probe": "linear probe",
    "moments": "pretrained scale",
    "shuffled": "shuffled",
}
_WAYS = {
    "zero_shot": "leaving the pretrained network untouched",
    "fine_tune": "fine-tuning the pretrained network",
    "from_scratch": "training from scratch",
    "linear_probe": "training only the head",
    "moments": "training from random weights of the pretrained scale",
    "shuffled": "training from shuffled pretrained weights",
}
_SHORT_WAYS = _WAYS | {"zero_shot": "the untouched network", "fine_tune": "fine-tuning"}
_NETWORKS = {
    "zero_shot": "untouched network",
    "fine_tune": "fine-tuned network",
    "from_scratch": "network trained from scratch",
    "linear_probe": "network with only its head trained",
    "moments": "network that began with the pretrained scale",
    "shuffled": "network that began with shuffled weights",
}
_STEPS = {
    "moments": "the scale of the pretrained weights",
    "shuffled": "their values in a random order",
    "fine_tune": "all of them in their places",
}
_MOST_CLASSES_NAMED = 3


def is_share(metric: str) -> bool:
    """Tell whether a metric is a share 0..1, which people read in %."""
    return any(word in metric for word in ("accuracy", "f1", "recall", "precision"))


def rounded(value: float, decimals: int) -> str:
    """Return a number with fixed decimals that is never `-0.000`."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def percent(share: float, decimals: int = 1) -> str:
    """Return a share 0..1 as `95.4`."""
    return rounded(100 * share, decimals)


def capitalize(text: str) -> str:
    """Return a text with its first letter in upper case, the others as they are."""
    return text[:1].upper() + text[1:]


def format_interval(interval: Interval) -> str:
    """Return `[91.4, 97.6]`, in percent."""
    return f"[{percent(interval.low)}, {percent(interval.high)}]"


def format_p(p: float) -> str:
    """Return `p = 0.001`, or `p < 0.001`; never one that reads as if it were on the other side of 5 %, or on it."""
    if p < 0.0005:
        return "p < 0.001"
    if p >= 0.095:
        return f"p = {p:.2f}"
    decimals = next(decimals for decimals in range(3, 20) if p == ALPHA or float(f"{p:.{decimals}f}") != ALPHA)
    return f"p = {p:.{decimals}f}"


def short_title(column: Column) -> str:
    """Return what a column is called in few words."""
    if begun := _pretrained_stages(column.key):
        return begun
    return _SHORT_TITLES.get(column.key, column.title.rpartition(", ")[2])


def phrase(column: str, phrases: Mapping[str, str] = _SHORT_WAYS) -> str:
    """Return what is done in a column, as part of a sentence."""
    if begun := _pretrained_stages(column):
        return f"training with the {begun} pretrained"
    return phrases.get(column) or (f"training {stages}" if (stages := _stages(column)) else column.replace("_", " "))


def _pretrained_stages(column: str) -> str:
    """Return which stages alone began pretrained, in a column of their number; nothing for other columns."""
    name, _, number = column.partition("_")
    if name != "stages" or not number.isdecimal():
        return ""
    return "first stage" if number == "1" else f"first {number} stages"


def _stages(column: str) -> str:
    """Return which stages are trained, beside the head, in a column of their number; nothing for other columns."""
    name, _, number = column.partition("_")
    if name != "partial" or not number.isdecimal():
        return ""
    return "the last stage" if number == "1" else f"the last {number} stages"


def name_sides(claim: Claim) -> tuple[str, str]:
    """Return what the two sides of a claim are called: ways to use a network, or, without enough seeds, networks."""
    if not claim.comparison.seeds_unknown:
        return phrase(claim.new), phrase(claim.old)
    new, old = zip((claim.new, claim.old), claim.comparison.networks, strict=True)
    return _networks(*new), _networks(*old)


def _networks(column: str, count: int) -> str:
    """Return `this fine-tuned network`, `these 2 fine-tuned networks`, or `the untouched network`, which is one."""
    stages = _stages(column)
    unnamed = f"network with {stages} trained" if stages else f"network ({column.replace('_', ' ')})"
    if begun := _pretrained_stages(column):
        unnamed = f"network that began with its {begun} pretrained"
    noun = _NETWORKS.get(column, unnamed)
    if count > 1:
        return f"these {count} {noun.replace('network', 'networks', 1).replace(' its ', ' their ')}"
    return f"{'the' if column == 'zero_shot' else 'this'} {noun}"


def points(claim: Claim) -> str:
    """Return `+8.5 points (95 % interval 3.9 to 13.7, p = 0.001)`."""
    difference, low, high = difference_in_points(claim)
    return f"{difference} points (95 % interval {low} to {high}, {format_p(claim.p)})"


def difference_in_points(claim: Claim) -> tuple[str, str, str]:
    """Return the difference and the ends of its interval, as `+8.5`, `3.9`, `13.7`."""
    interval, difference = claim.comparison.interval, claim.comparison.difference
    decimals = max(_decimals(share) for share in (difference, interval.low, interval.high))
    text, low, high = (percent(share, decimals) for share in (difference, interval.low, interval.high))
    sign = "" if text.startswith("-") or float(text) == 0 else "+"
    return f"{sign}{text}", low, high


def _decimals(share: float) -> int:
    """Return with how many decimals, in points, a share is zero only where it is zero."""
    return next((decimals for decimals in range(1, 6) if round(100 * share, decimals)), 1)


def some_percent(share: float) -> str:
    """Return a share 0..1 as `0.7`, with so many decimals that it is zero only where it is zero."""
    return percent(share, _decimals(share))


def describe(claim: Claim) -> str:
    """Return the claim as a sentence without a full stop.

    As in `this fine-tuned network corrects 14 images that the untouched network gets wrong and spoils 1, of 153: +8.5
    points (95 % interval 3.9 to 13.7, p = 0.001)`.
    """
    comparison = claim.comparison
    single = comparison.networks == (1, 1)
    corrected, spoiled = (rounded(count, 0 if single else 1) for count in (comparison.corrected, comparison.spoiled))
    images = "image" if corrected == "1" else "images"
    mean = "" if single else " on average"
    new, old = (
        side + (f", scored on {only_classes(claim)} alone," if column in claim.closed_sides else "")
        for side, column in zip(name_sides(claim), (claim.new, claim.old), strict=True)
    )
    plural = "" if claim.comparison.seeds_unknown and comparison.networks[0] > 1 else "s"
    gets = "get" if claim.comparison.seeds_unknown and comparison.networks[1] > 1 else "gets"
    sentence = (
        f"{new}{mean} correct{plural} {corrected} {images} that {old} {gets} wrong and spoil{plural} {spoiled}, "
        f"of {comparison.images}: {points(claim)}"
    )
    if not claim.significant:
        sentence += "; a difference is not shown"
    if claim.caveats:
        sentence += f"; not alike: {', '.join(claim.caveats)}"
    return sentence


def only_classes(claim: Claim) -> str:
    """Return the data's classes by name, or, of many, how many there are."""
    if len(claim.classes) > _MOST_CLASSES_NAMED:
        return f"the data's {len(claim.classes)} classes"
    return " and ".join([", ".join(claim.classes[:-1]), claim.classes[-1]] if len(claim.classes) > 1 else claim.classes)


def head_row(table: Table, data: str | None = None) -> Row | None:
    """Return the row to speak of, of a data set or of all: photographs before drawings, the most columns, runs, newest.

    Never the one with the best figures: that would be choosing on the evaluation images.
    """

    def fullness(row: Row) -> tuple[bool, int, int, int, int]:
        three = sum(column.key in row.cells for column in THREE)
        return not row.drawn, three, len(row.cells), sum(cell.n for cell in row.cells.values()), row.newest

    rows = [row for row in table.rows if not row.published and data in (None, row.data)]
    return max(rows, key=fullness, default=None)


def data_sets(table: Table) -> list[str]:
    """Return the data sets of a table, photographs before drawings."""
    rows = sorted((row for row in table.rows if not row.published), key=lambda row: row.drawn)
    return list(dict.fromkeys(row.data for row in rows))


def name_row(table: Table, row: Row) -> str:
    """Return what tells a row from others of its table: `photos, resnet50`, and the recipe where several have those."""
    siblings = [sibling for sibling in table.rows if sibling.place == row.place and not sibling.published]
    return f"{row.place} ({row.recipe})" if len(siblings) > 1 else row.place


def headline(table: Table) -> str:
    """Return the sentences that a reader came for: the figures of the head row, and what they show if known."""
    sentences = answer(table)
    if sum(not other.published for other in table.rows) > 1:  # one sentence, so that all of it is of the row it names
        return f"{'; '.join(sentences)}."
    return " ".join(f"{capitalize(sentence)}." for sentence in sentences)


def answer(table: Table, data: str | None = None) -> list[str]:
    """Return what `headline` says of a data set, or of all: the figures of its head row, then what they show of it."""
    row = head_row(table, data)
    if row is None:
        return ["no finished runs yet"]
    columns = sorted(table.columns, key=lambda column: column.key != "fine_tune")
    titles = {column.key: short_title(column) for column in columns}
    figures = [
        f"{title} {_figure(row.cells[key], table.metric, table.evidence_of(row, key))}"
        for key, title in titles.items()
        if key in row.cells
    ]
    siblings = [sibling for sibling in table.rows if sibling.place == row.place and not sibling.published]
    metric = "" if table.metric == Metric.ACCURACY else f", {table.metric}"
    first = f"On {name_row(table, row)}{metric}: {', '.join(figures)}"
    elsewhere = {key for sibling in siblings for key in sibling.cells} - set(row.cells)
    uncompared = [title for key, title in titles.items() if key in elsewhere]
    further = [f"of other recipes, and so not compared: {', '.join(uncompared)}"] if uncompared else []
    if table.evidence is not None:
        claims = table.evidence.claims_of(row)
        further += [*_verdicts(claims), *filter(None, [describe_steps(claims)])]
    return [first, *further]


def _figure(cell: Cell, metric: str, evidence: CellEvidence | None) -> str:
    figure = f"{percent(cell.accuracy)} %" if is_share(metric) else rounded(cell.accuracy, 4)
    if evidence is not None and evidence.correctness.left_out:
        return f"{figure} (n={cell.n}, not all on the same images: comparisons are of those that all saw)"
    return figure + (f" (n={cell.n})" if cell.n > 1 else "")


def _verdicts(row_claims: Sequence[Claim]) -> Iterator[str]:
    """Say what the first column of the comparisons does against each other; nothing if there is none."""
    claims = [claim for claim in row_claims if claim.new == row_claims[0].new]
    for old in dict.fromkeys(claim.old for claim in claims):
        yield _verdict([claim for claim in claims if claim.old == old])


def describe_steps(claims: Sequence[Claim]) -> str:
    """Say what each rung between random and pretrained weights adds to the one below it; nothing for fewer than two."""
    columns = {column for claim in claims for column in (claim.new, claim.old) if rung_of(column) is not None}
    rungs = sorted(columns, key=lambda column: rung_of(column) or (0, 0))
    by_sides = {(claim.new, claim.old): claim for claim in claims if not claim.closed_set}
    steps = [by_sides[upper, lower] for lower, upper in pairwise(rungs) if (upper, lower) in by_sides]
    if len(steps) < 2:
        return ""
    texts = [f"{_step(claim)} {points(claim)}{'' if claim.significant else ', not shown'}" for claim in steps]
    texts += ["other seeds may do otherwise"] if any(claim.comparison.seeds_unknown for claim in steps) else []
    return f"step by step from random to pretrained weights: {'; '.join(texts)}"


def _step(claim: Claim) -> str:
    begun = _pretrained_stages(claim.new)
    return f"the {begun} in their places" if begun else _STEPS.get(claim.new, phrase(claim.new))


def _verdict(claims: Sequence[Claim]) -> str:
    """Say what one column does against another, in one sentence for all ways to score them."""
    first = claims[0]
    seeds_unknown = first.comparison.seeds_unknown
    new, old = name_sides(first) if seeds_unknown else (phrase(first.new, _WAYS), phrase(first.old))
    verb = "are" if seeds_unknown and first.comparison.networks[0] > 1 else "is"
    parts = [f"{verb} {_relation(first)} {old}{_scoring(first, claims)}, {points(first)}"]
    parts += [f"{_relation(claim)} it{_scoring(claim, claims)}, {points(claim)}" for claim in claims[1:]]
    conjunction = ", and " if len({_relation(claim) for claim in claims}) == 1 else ", but "
    unlike = f"; not alike: {', '.join(first.caveats)}" if first.caveats else ""
    seeds = "; other seeds may do otherwise" if seeds_unknown else ""
    return f"{new} {conjunction.join(parts)}{unlike}{seeds}"


def _scoring(claim: Claim, claims: Sequence[Claim]) -> str:
    """Return which outputs compete, where that makes a difference."""
    if len(claims) == 1:
        return ""
    only = f" when only the outputs of {only_classes(claim)} compete"
    whose = "its " if claims[-1].closed_sides == (claim.old,) else ""
    return only if claim.closed_set else f" when all {whose}1000 outputs compete"


def _relation(claim: Claim) -> str:
    if not claim.significant:
        return "not shown to differ from"
    return "better than" if claim.comparison.difference > 0 else "worse than"
