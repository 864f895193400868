"""What a reader must know to believe the figures of a table: the notes below it, a sentence or two each.

Nothing is computed here but the rounding of figures; the sentence that a table opens with is in narrative.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from operator import itemgetter

from analysis.comparison_table import Table
from analysis.evidence import Evidence
from analysis.narrative import capitalize, describe, format_interval, head_row, phrase, rounded
from analysis.rows import Row
from analysis.statistics import THIS_NETWORK
from tlft.names import Metric, Param, Tag


def footnotes(table: Table) -> tuple[str, ...]:
    """Return all that is to be said below a table."""
    row = head_row(table)
    repeated = any(cell.n > 1 for row in table.rows for cell in row.cells.values())
    notes = [
        f"Figures: {table.metric}{'; mean ± sample standard deviation over n seeds' if repeated else ''}.",
        _closed_set(table) if table.metric == Metric.ACCURACY else "",
        _precisions(table),
        *(_evidence(table, table.evidence, row) if table.evidence is not None and row is not None else ()),
        *_leaks(table),
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
            figure = f"{rounded(100 * cell.closed_set_accuracy, 3)} %"
            figures.setdefault((f"{row.place}{precision}", cell.run_ids), figure)
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


def _leaks(table: Table) -> list[str]:
    """Say which evaluation images were trained on, nearly; each run was told when it looked at its images."""
    leaks = dict.fromkeys((run.tags.get(Tag.DATA, "the data"), run.tags.get(Tag.NEAR_DUPLICATES)) for run in table.runs)
    return [f"{data}: {leak}, which flatters the trained networks." for data, leak in leaks if leak]


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
            yield capitalize(f"{place}{describe(claim)}.")
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
        return (
            "Intervals in brackets are of 95 %, for each trained network only, on new images: other seeds may differ."
        )
    return (
        "Intervals in brackets are of 95 %: of a new seed on new images where there are three seeds or more, of the "
        "trained networks alone on new images where there are fewer."
    )


def _seeds(evidence: Evidence) -> str:
    """Warn where a claim rests on too few seeds."""
    seeds_unknown = {claim.key: claim.comparison.seeds_unknown for claim in evidence.claims}
    few = sum(seeds_unknown.values())
    if not few:
        return ""
    subject = "The comparisons hold" if few == len(seeds_unknown) else f"{few} of the comparisons hold"
    return f"{subject} for the networks that were trained, on new images; how other seeds would do is not known."


def _power(evidence: Evidence, row: Row) -> str:
    for claim in evidence.claims_of(row):
        if not claim.closed_set and claim.smallest_difference is not None:
            spoiled = rounded(100 * claim.comparison.spoiled / claim.comparison.images, 1)
            return (
                f"With {claim.comparison.images} images, of which {spoiled} % are spoiled, a difference between two "
                f"networks below {rounded(100 * claim.smallest_difference, 1)} points would be missed more often than "
                "one time in five."
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
            recalls = ", ".join(f"{name} {rounded(100 * share, 1)} %" for name, share in cell.recalls.items())
            interval = cell.closed_set_interval
            closed_set = f"; closed-set interval {format_interval(interval)}" if interval is not None else ""
            yield (
                f"{row.place} ({row.recipe}), {phrase(key)}: expected calibration error "
                f"{rounded(100 * cell.reliability.error, 1)} %; found of each class: {recalls}{closed_set}."
            )
