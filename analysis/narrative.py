"""Say in sentences what a table shows, what its evidence proves, and what a reader must know to believe it.

Nothing is computed here but the rounding of figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

from analysis.comparison_table import Table
from analysis.evidence import Claim, Evidence
from analysis.rows import Cell, Row
from analysis.statistics import THIS_NETWORK, Interval
from tlft.config.columns import THREE, Column
from tlft.names import Metric, Param, Tag

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


def percent(share: float, decimals: int = 1) -> str:
    """Return a share 0..1 as `95.4`."""
    return rounded(100 * share, decimals)


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


def format_interval(interval: Interval) -> str:
    """Return `[91.4, 97.6]`, in percent."""
    return f"[{percent(interval.low)}, {percent(interval.high)}]"


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
    interval, difference = claim.comparison.interval, percent(claim.comparison.difference)
    sign = "" if difference.startswith("-") or float(difference) == 0 else "+"
    ends = f"{percent(interval.low)} to {percent(interval.high)}"
    return f"{sign}{difference} points (95 % interval {ends}, {format_p(claim.p)})"


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
    figure = f"{percent(cell.accuracy)} %" if is_share(metric) else rounded(cell.accuracy, 4)
    return figure + (f" (n={cell.n})" if cell.n > 1 else "")


def _verdict(row_claims: Sequence[Claim]) -> str:
    """Say what the first column of the comparisons does against the others; nothing if there is none."""
    claims = [claim for claim in row_claims if not claim.closed_set and claim.new == row_claims[0].new]
    if not claims:
        return ""
    parts = [f"{_relation(claim)} {phrase(claim.old, _LATER_PHRASES)}, {_points(claim)}" for claim in claims]
    few_seeds = any(claim.comparison.seeds_unknown for claim in claims)
    warning = " Some of this rests on too few seeds to say how others would do." if few_seeds else ""
    return _capitalize(f"{phrase(claims[0].new, _PHRASES)} {', and '.join(parts)}.{warning}")


def _relation(claim: Claim) -> str:
    if not claim.significant:
        return "is not shown to differ from"
    return "is better than" if claim.comparison.difference > 0 else "is worse than"


def footnotes(table: Table) -> tuple[str, ...]:
    """Return all that is to be said below a table."""
    row = head_row(table)
    repeated = any(cell.n > 1 for row in table.rows for cell in row.cells.values())
    notes = [
        f"Figures: {table.metric}{'; mean ± sample standard deviation over n seeds' if repeated else ''}.",
        _closed_set(table) if table.metric == Metric.ACCURACY else "",
        _precisions(table),
        *(_evidence(table, table.evidence, row) if table.evidence is not None and row is not None else ()),
        *_data_notes(table),
        f"Left out: {list_reasons(table.left_out)}.",
        _commits(table),
    ]
    return tuple(note for note in notes if note)


def list_reasons(left_out: Mapping[str, int]) -> str:
    """Return why runs are left out and how many, such as `failed (1), superseded (2)`, or `nothing`."""
    return ", ".join(f"{reason} ({count})" for reason, count in left_out.items()) or "nothing"


def _closed_set(table: Table) -> str:
    """Say how the 1000-class head does among the data's classes; a cell that stands in several rows is named once."""
    precisions = {run.run_id: run.params.get(Param.PRECISION, "") for run in table.runs}
    several = len(set(precisions.values())) > 1
    figures: dict[tuple[str, tuple[str, ...]], str] = {}
    for row in table.rows:
        cell = row.cells.get("zero_shot")
        if cell is not None and cell.closed_set_accuracy is not None:
            precision = f", precision {precisions[cell.run_ids[0]]}" if several else ""
            figures.setdefault((f"{row.place}{precision}", cell.run_ids), f"{percent(cell.closed_set_accuracy, 3)} %")
    if not figures:
        return ""
    counts = Counter(name for name, _ in figures)
    items = [
        f"{name}{f' (run {run_ids[0][:8]})' if counts[name] > 1 else ''} {figure}"
        for (name, run_ids), figure in figures.items()
    ]
    return (
        "The 1000-class head is scored over all its outputs; closed-set (only the data's classes compete): "
        f"{'; '.join(items)}."
    )


def _precisions(table: Table) -> str:
    automatic = [run for run in table.runs if run.params.get(Param.PRECISION) == "auto"]
    resolved = {run.tags[Tag.PRECISION] for run in automatic if run.tags.get(Tag.PRECISION)}
    return f"precision=auto was {' in some runs, '.join(sorted(resolved))} in others." if len(resolved) > 1 else ""


def _data_notes(table: Table) -> list[str]:
    """Say which folders the images are from, what is left out of them, and which were trained on, nearly."""
    sentences = {
        Tag.SPLIT_FOLDERS: "{}: {}.",
        Tag.LEFT_OUT_FILES: "{}: files left out of the folders: {}.",
        Tag.SKIPPED_IMAGES: "{}: images skipped as unreadable: {}.",
        Tag.NEAR_DUPLICATES: "{}: {}, which flatters the trained networks.",
    }
    notes = [
        sentence.format(run.tags.get(Tag.DATA, "the data"), run.tags[tag])
        for tag, sentence in sentences.items()
        for run in table.runs
        if run.tags.get(tag)
    ]
    return list(dict.fromkeys(notes))


def _commits(table: Table) -> str:
    commits = dict.fromkeys(
        run.tags.get(Tag.COMMIT, "unknown")[:7] + (" (dirty)" if run.tags.get(Tag.DIRTY) == "true" else "")
        for run in table.runs
    )
    return f"Code: {', '.join(commits)}." if commits else ""


def _evidence(table: Table, evidence: Evidence, head: Row) -> Iterator[str]:
    """Yield what the evidence of one row shows, or of all where the table is to be told in full."""
    rows = [row for row in table.rows if not row.published] if table.full else [head]
    yield _intervals(evidence)
    for row in rows:
        place = f"{row.place} ({row.recipe}): " if len(rows) > 1 else ""
        for claim in evidence.claims_of(row):
            yield _capitalize(f"{place}{describe(claim)}.")
    yield _seeds(evidence)
    if (total := len({claim.key for claim in evidence.claims})) > 1:
        others = total - len(evidence.claims_of(head))
        hint = f" The {others} of other rows are shown by --stats full." if others and not table.full else ""
        yield f"p is corrected for all {total} comparisons (Holm).{hint}"
    yield _power(evidence, head)
    yield from _choice(table)
    if evidence.unreadable:
        runs = "one run" if evidence.unreadable == 1 else f"{evidence.unreadable} runs"
        yield f"The predictions of {runs} cannot be read; such a cell has no interval."
    if table.full:
        yield from _calibration(table, evidence)


def _intervals(evidence: Evidence) -> str:
    kinds = {cell.interval.kind for cells in evidence.cells for cell in cells.values()}
    if not kinds:
        return ""
    if kinds == {THIS_NETWORK}:
        meaning = ", for each trained network only, on new images: other seeds may differ."
    else:
        meaning = ": of a new seed on new images where there are three seeds or more, of the trained networks alone on "
        meaning += "new images where there are fewer."
    return f"Intervals in brackets are of 95 %{meaning}"


def _seeds(evidence: Evidence) -> str:
    """Warn where a claim rests on too few seeds."""
    seeds_unknown = {claim.key: claim.comparison.seeds_unknown for claim in evidence.claims}
    if not (few := sum(seeds_unknown.values())):
        return ""
    subject = "The comparisons hold" if few == len(seeds_unknown) else f"{few} of the comparisons hold"
    return f"{subject} for the networks that were trained, on new images; how other seeds would do is not known."


def _power(evidence: Evidence, row: Row) -> str:
    for claim in evidence.claims_of(row):
        if not claim.closed_set and claim.smallest_difference is not None:
            images = claim.comparison.images
            spoiled = rounded(100 * claim.comparison.spoiled / images, 1)
            return (
                f"With {images} images, of which {spoiled} % are spoiled, a difference between two networks below "
                f"{percent(claim.smallest_difference)} points would be missed more often than one time in five."
            )
    return ""


def _choice(table: Table) -> list[str]:
    """Warn where rows are so many tries on the same evaluation images."""
    tries = Counter(
        (row.place, key)
        for row in table.rows
        for key in row.cells
        if not row.published and key != "zero_shot"  # which has no recipe to choose
    )
    most = {place: count for (place, _), count in sorted(tries.items(), key=itemgetter(1))}
    return [
        f"{place}: {most[place]} recipes were tried on the same evaluation images; the best would be chosen on these "
        f"images, and looks better than it is. Choose by --metric {Metric.HOLDOUT_ACCURACY} (data.holdout_fraction)."
        for place in dict.fromkeys(place for place, _ in tries)
        if most[place] > 1
    ]


def _calibration(table: Table, evidence: Evidence) -> Iterator[str]:
    for row, cells in zip(table.rows, evidence.cells, strict=False):
        for key, cell in cells.items():
            recalls = ", ".join(f"{name} {percent(share)} %" for name, share in cell.recalls.items())
            interval = cell.closed_set_interval
            closed_set = f"; closed-set interval {format_interval(interval)}" if interval is not None else ""
            yield (
                f"{row.place} ({row.recipe}), {phrase(key)}: expected calibration error "
                f"{percent(cell.reliability.error)} %; found of each class: {recalls}{closed_set}."
            )
