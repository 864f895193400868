"""Say what stands below a table: what its figures are, what they prove, and what a reader must know to believe them.

Nothing is computed here but the rounding of figures. The sentences of single comparisons are in narrative.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean

from analysis.comparison_table import Table
from analysis.evidence import CellEvidence, Evidence
from analysis.limits import describe_correction, describe_power, warn_of_choice, warn_of_seeds
from analysis.narrative import (
    answer,
    capitalize,
    data_sets,
    describe,
    describe_steps,
    format_interval,
    head_row,
    name_row,
    percent,
    phrase,
    short_title,
)
from analysis.rows import Row
from analysis.statistics import IMAGES_AND_SEEDS
from tlft.names import Metric, Param, Tag, short_id
from tlft.records.folds import parts_of
from tlft.records.record import Record

_MOST_NAMED = 5
_MOST_RECALLS = 10


def footnotes(table: Table, shown: Collection[Row] | None = None, *, brief: bool = False) -> tuple[str, ...]:
    """Return all that is to be said below a table, of which perhaps only some rows are shown.

    `brief` leaves out what a page says elsewhere: each comparison, the `cautions`, and how many runs are left out.
    """
    rows = [row for row in table.rows if not row.published and (shown is None or row in shown)]
    run_ids = {run_id for row in rows for cell in row.cells.values() for run_id in cell.run_ids}
    runs = [run for run in table.runs if run.run_id in run_ids]
    repeated = any(cell.n > 1 for row in rows for cell in row.cells.values())
    notes = [
        f"Figures: {table.metric}{'; mean ± sample standard deviation over n seeds' if repeated else ''}.",
        _closed_set(table, rows) if table.metric == Metric.ACCURACY else "",
        _precisions(parts_of(runs)),
        *(_evidence(table, table.evidence, rows, brief=brief) if table.evidence is not None else ()),
        *(() if brief else (*_data_notes(runs, table.metric), f"Left out: {list_reasons(table.left_out)}.")),
        _commits(parts_of(runs)),
    ]
    return tuple(note for note in notes if note)


def cautions(table: Table, data: str) -> list[str]:
    """Return what a reader must know of the images of a data set before he believes the figures."""
    run_ids = {
        run_id for row in table.rows if row.data == data for cell in row.cells.values() for run_id in cell.run_ids
    }
    return _data_notes([run for run in table.runs if run.run_id in run_ids], table.metric)


def essentials(table: Table) -> list[str]:
    """Return what nobody should go without: the answers, what the intervals are of, cautions, and what is left out."""
    sets = data_sets(table)
    notes = [f"{capitalize(sentence)}." for data in sets for sentence in answer(table, data)]
    if table.evidence is not None:
        notes.append(_intervals([cell for by_column in table.evidence.cells for cell in by_column.values()]))
    notes += [caution for data in sets for caution in cautions(table, data)]
    notes += [f"Left out: {list_reasons(table.left_out)}."] if table.left_out else []
    return [note for note in notes if note]


def list_reasons(left_out: Mapping[str, int]) -> str:
    """Return why runs are left out and how many, such as `failed (1), superseded (2)`, or `nothing`."""
    return ", ".join(f"{reason} ({count})" for reason, count in left_out.items()) or "nothing"


def _closed_set(table: Table, rows: Sequence[Row]) -> str:
    """Say how the 1000-class head does among the data's classes; a cell that stands in several rows is named once."""
    precisions = {run.run_id: run.params.get(Param.PRECISION, "") for run in table.runs}
    several = len(set(precisions.values())) > 1
    figures: dict[tuple[str, tuple[str, ...]], str] = {}
    for row in rows:
        cell = row.cells.get("zero_shot")
        if cell is not None and cell.closed_set_accuracy is not None:
            precision = f", precision {precisions[cell.run_ids[0]]}" if several else ""
            figures.setdefault((f"{row.place}{precision}", cell.run_ids), f"{percent(cell.closed_set_accuracy, 3)} %")
    if not figures:
        return ""
    counts = Counter(name for name, _ in figures)
    items = [
        f"{name}{f' (run {short_id(run_ids[0])})' if counts[name] > 1 else ''} {figure}"
        for (name, run_ids), figure in figures.items()
    ]
    return (
        "The 1000-class head is scored over all its outputs; closed-set (only the data's classes compete): "
        f"{'; '.join(items)}."
    )


def _precisions(runs: Sequence[Record]) -> str:
    automatic = [run for run in runs if run.params.get(Param.PRECISION) == "auto"]
    resolved = {run.tags[Tag.PRECISION] for run in automatic if run.tags.get(Tag.PRECISION)}
    return f"precision=auto was {' in some runs, '.join(sorted(resolved))} in others." if len(resolved) > 1 else ""


def _data_notes(runs: Sequence[Record], metric: str) -> list[str]:
    """Say which folders the images are from, what is left out of them, and which were trained on, or nearly."""
    sentences = {
        Tag.SPLIT_FOLDERS: "{}: {}.",
        Tag.LEFT_OUT_FILES: "{}: files left out of the folders: {}.",
        Tag.SKIPPED_IMAGES: "{}: images skipped as unreadable: {}.",
        Tag.UNMAPPED: "{}: no output of ImageNet's stands for its classes ({}), so the untouched network is not asked; "
        "data.class_map gives them outputs.",
        Tag.SCORED_ON: "{}: the untouched network is scored on the images of {}, and compared with others on these, "
        "all outputs competing.",
        Tag.NEAR_DUPLICATES: "{}: {}, which flatters the trained networks.",
        Tag.SEEN_BEFORE: "{}: {}.",
        Tag.ORIGIN: "{}: {}.",
    }
    asked = {run.params.get(Param.DATA_EVAL) for run in runs if run.params.get(Param.HEAD) == "imagenet1k"}
    notes = [
        sentence.format(run.tags.get(Tag.DATA, "the data"), run.tags[tag])
        for tag, sentence in sentences.items()
        for run in parts_of(runs)
        if run.tags.get(tag) and not (tag == Tag.UNMAPPED and run.params.get(Param.DATA_EVAL) in asked)
    ]
    for run in runs:
        if run.parts:
            of_images = "each image is judged once, by a network that was not trained on it; a figure is of"
            figure = of_images if metric.startswith("eval/") else "a figure is the mean over"
            notes.append(
                f"{run.tags.get(Tag.DATA, 'the data')}: {len(run.parts)}-fold cross-validation: {figure} "
                f"{len(run.parts)} networks, which share training images."
            )
    return list(dict.fromkeys(notes))


def _commits(runs: Sequence[Record]) -> str:
    commits = dict.fromkeys(
        run.tags.get(Tag.COMMIT, "unknown")[:7] + (" (dirty)" if run.tags.get(Tag.DIRTY) == "true" else "")
        for run in runs
    )
    return f"Code: {', '.join(commits)}." if commits else ""


def _evidence(table: Table, evidence: Evidence, rows: Sequence[Row], *, brief: bool) -> Iterator[str]:
    """Yield what the evidence of one row shows, or of all where the table is to be told in full."""
    head = head_row(table)
    told = [row for row in rows if table.full or row is head]
    cells = [(row, evidence.cells[table.rows.index(row)]) for row in rows]
    yield _intervals([cell for _, by_column in cells for cell in by_column.values()])
    yield from _groups(cells)
    yield from _unchecked_groups(table.runs, cells, evidence.grouping)
    if evidence.groups_contradicted:
        yield "Runs on the same evaluation images put them into different groups; those of the newest run are taken."
    yield from _unseen(table, cells)
    yield from _uncompared(table, evidence, rows)
    for row in told:
        steps = "" if brief else describe_steps(evidence.claims_of(row))
        yield _of_row(table, row, f"{steps}." if steps else "")
        for claim in () if brief else evidence.claims_of(row):
            yield _of_row(table, row, f"{describe(claim)}.")
        yield _of_row(table, row, _new_seeds(table, row))
    claims = [claim for row in told for claim in evidence.claims_of(row)]
    if all(claim.comparison.seeds_unknown for claim in claims):
        yield capitalize(warn_of_seeds(claims))
    else:
        yield from (_of_row(table, row, warn_of_seeds(evidence.claims_of(row))) for row in told)
    yield describe_correction(table, evidence, claims)
    for row in told:
        yield _of_row(table, row, describe_power(evidence.claims_of(row)))
    yield from warn_of_choice(table)
    if evidence.unreadable:
        runs = "one run" if evidence.unreadable == 1 else f"{evidence.unreadable} runs"
        yield f"The predictions of {runs} cannot be read; such a cell has no interval."
    if table.full:
        yield from _calibration(table, cells)


def _of_row(table: Table, row: Row, sentence: str) -> str:
    """Return a sentence with the name of its row before it, wherever the table has several."""
    several = sum(not row.published for row in table.rows) > 1
    return f"{name_row(table, row)}: {sentence}" if several and sentence else capitalize(sentence)


Cells = Sequence[tuple[Row, Mapping[str, CellEvidence]]]
"""Rows, each with what is known of its cells, by the key of the column."""


def _intervals(cells: Sequence[CellEvidence]) -> str:
    kinds = {cell.interval.kind for cell in cells}
    if not kinds:
        return ""
    of_networks = "of the accuracy on new images of these very networks, whatever other seeds would do"
    if IMAGES_AND_SEEDS not in kinds:
        meaning = of_networks
    else:
        meaning = "of the mean accuracy over all seeds, on new images"
        if len(kinds) > 1:
            meaning += f", where there are three seeds or more; else {of_networks}"
    return f"Intervals in brackets are of 95 %: {meaning}."


def _new_seeds(table: Table, row: Row) -> str:
    """Say where one more seed would lie, which the interval of the mean does not."""
    intervals = [
        f"{short_title(column)} {format_interval(interval)}"
        for column in table.columns
        if (evidence := table.evidence_of(row, column.key)) and (interval := evidence.new_seed_interval)
    ]
    if not intervals:
        return ""
    return f"one more seed by itself would have an accuracy on new images within (95 %): {', '.join(intervals)}."


def _groups(cells: Cells) -> Iterator[str]:
    """Say how many independent groups the evaluation images are in."""
    notes = [
        f"{row.data}: {len(cell.correctness.images)} evaluation images in {count} group{'s' * (count > 1)}, which "
        "intervals and tests take as what is independent."
        for row, by_column in cells
        for cell in by_column.values()
        if (count := cell.correctness.group_count) is not None
    ]
    yield from dict.fromkeys(notes)


def _unchecked_groups(runs: Sequence[Record], cells: Cells, grouping: str | None) -> Iterator[str]:
    """Say where a network may have been trained on images of the groups that it is evaluated on."""
    grouped = {
        run_id
        for row, by_column in cells
        for key, evidence in by_column.items()
        if evidence.correctness.groups is not None
        for run_id in row.cells[key].run_ids
    }
    checked = {_splits(run) for run in runs if (stated := run.tags.get(Tag.GROUPING)) and grouping in (None, stated)}
    option = f"data.group={grouping}" if grouping else "data.group"
    notes = [
        f"{run.tags.get(Tag.DATA, 'the data')}: networks were trained without {option}, "
        "perhaps on images of the groups that they are evaluated on."
        for run in runs
        if run.run_id in grouped and Param.DATA_TRAIN in run.params and _splits(run) not in checked
    ]
    yield from dict.fromkeys(notes)


def _splits(run: Record) -> tuple[str | None, ...]:
    return tuple(run.params.get(name) for name in (Param.DATA_TRAIN, Param.DATA_EVAL, Param.DATA_HOLDOUT))


def _uncompared(table: Table, evidence: Evidence, rows: Sequence[Row]) -> Iterator[str]:
    """Say which cells have no interval, and which columns are not compared though both are there."""
    without: list[str] = []
    apart: list[str] = []
    for row in rows:
        cells = evidence.cells[table.rows.index(row)]
        without += [f"{name_row(table, row)}, {phrase(key)}" for key in row.cells if key not in cells]
        compared = {frozenset((claim.new, claim.old)) for claim in evidence.claims_of(row)}
        pairs = [pair for pair in combinations(cells, 2) if frozenset(pair) not in compared]
        apart += [f"{name_row(table, row)}, {' and '.join(map(phrase, pair))}" for pair in pairs]
    reason = "predictions cannot be read, or no image was seen by all runs"
    if without:
        yield f"No interval and no comparison, since {reason}: {_some(without)}."
    if apart:
        yield f"Not compared, since no image was seen by both: {_some(apart)}."


def _some(names: Sequence[str]) -> str:
    more = f"; and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return "; ".join(names[:_MOST_NAMED]) + more


def _unseen(table: Table, cells: Cells) -> Iterator[str]:
    """Say which intervals are of fewer images than their figures."""
    for row, by_column in cells:
        for key, cell in by_column.items():
            if cell.correctness.left_out:
                yield (
                    f"{name_row(table, row)}, {phrase(key)}: figure and standard deviation are of what each run saw, "
                    f"interval and comparisons of the {len(cell.correctness.images)} images that all saw."
                )


def _list_recalls(recalls: Mapping[str, float]) -> str:
    """Return how much is found of each class, or of many of those alone of which least is; and the mean of all."""
    listed = list(recalls.items())
    if len(listed) > _MOST_RECALLS:
        listed = sorted(listed, key=lambda item: item[1])[:_MOST_NAMED]
    text = ", ".join(f"{name} {percent(share)} %" for name, share in listed)
    more = len(recalls) - len(listed)
    text += f", and at least as much of the other {more}" if more else ""
    return f"{text} (balanced accuracy {percent(fmean(recalls.values()))} %)"


def _calibration(table: Table, cells: Cells) -> Iterator[str]:
    for row, by_column in cells:
        for key, cell in by_column.items():
            recalls = _list_recalls(cell.recalls)
            interval = cell.closed_set_interval
            closed_set = f"; closed-set interval {format_interval(interval)}" if interval is not None else ""
            yield (
                f"{name_row(table, row)}, {phrase(key)}: expected calibration error "
                f"{percent(cell.reliability.error)} % (on so many images a perfectly calibrated network would show "
                f"{percent(cell.reliability.error_by_chance)} %); found of each class: {recalls}{closed_set}."
            )
