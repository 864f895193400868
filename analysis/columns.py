"""Sort runs into the cells of the comparison table: which column, which row, which are left out and why.

How a table looks is table.py's business.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tlft.records import Record

PUBLISHED_COLUMNS = {
    "zero_shot": "pretrained, 1000-class head, no fine-tuning",
    "fine_tune": "pretrained, new head, fine-tuned",
    "from_scratch": "from scratch, new head, trained",
}
"""The three columns of the published comparison, in its order."""

CLOSED_SET = "eval/closed_set_accuracy"

_MAKES_THE_COLUMN = ("model.name", "model.weights", "head.name", "training.trainable", "class_map")
_MAKES_THE_ROW_OR_NOTHING = ("arch.name", "data.eval", "seed", "format")

Params = tuple[tuple[str, str], ...]


def column_of(params: Mapping[str, str]) -> str:
    """Return the column of a run by what it was: model, head, and what was trained."""
    model, head, trainable = (params.get(name, "") for name in ("model.name", "head.name", "training.trainable"))
    if head == "imagenet1k":
        return "zero_shot"
    known = {
        ("pretrained", "all"): "fine_tune",
        ("scratch", "all"): "from_scratch",
        ("pretrained", "head"): "linear_probe",
    }
    if (model, trainable) in known:
        return known[model, trainable]
    part = "untrained" if trainable == "none" else "head" if trainable == "head" else f"partial_{trainable}"
    return part if model == "pretrained" and part.startswith("partial") else f"{model}_{part}"


def title_of(column: str) -> str:
    """Return the column's title."""
    if column in PUBLISHED_COLUMNS:
        return PUBLISHED_COLUMNS[column]
    model = "from scratch" if column.startswith("scratch") else "pretrained"
    if "partial_" in column:
        return f"{model}, new head, head and last {column.rpartition('_')[2]} stages trained"
    if column.endswith("untrained"):
        return f"{model}, new head, nothing trained"
    return f"{model}, new head, only the head trained"


@dataclass(frozen=True)
class Cell:
    """The runs of one column and recipe, over seeds.

    Attributes:
        accuracy: mean of the metric (0..1 for accuracies).
        std: sample standard deviation (ddof 1), None for one run.
        closed_set_accuracy: its mean, None where no run has it.
    """

    accuracy: float
    std: float | None
    n: int
    closed_set_accuracy: float | None
    run_ids: tuple[str, ...] = ()


@dataclass
class Row:
    """One data set, architecture and recipe.

    Attributes:
        weights: digest of the pretrained weights; empty where the row has scratch runs only.
        recipe: every parameter of the run key but those that make the column, and the seed.
        label: the recipe as people read it.
    """

    data: str
    arch: str
    eval_digest: str
    weights: str
    recipe: Params
    cells: dict[str, Cell] = field(default_factory=dict)
    label: str = ""


def select(records: Sequence[Record], metric: str) -> tuple[list[Record], Counter[str]]:
    """Keep the runs that count, and count the others by reason.

    Of several finished runs with one key the newest counts.
    """
    left_out: Counter[str] = Counter()
    newest: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: (record.start_time, record.run_id)):
        if reason := _reason_to_leave_out(record, metric):
            left_out[reason] += 1
            continue
        if record.key in newest:
            left_out["superseded"] += 1
        newest[record.key] = record
    return list(newest.values()), left_out


def _reason_to_leave_out(record: Record, metric: str) -> str:
    if not record.key:
        return "not a tlft run"
    if record.deleted:
        return "deleted"
    if record.tags.get("debug") == "true":
        return "debug"
    if record.status == "FAILED":
        return "failed"
    if record.status != "FINISHED":
        return "unfinished"
    return "" if metric in record.metrics else f"without {metric}"


def sort_into_rows(records: Sequence[Record], metric: str) -> list[Row]:
    """Put every run into its cell.

    Runs that differ in anything of the run key but the seed are never averaged. A scratch cell has no weights, so it
    stands in each row of its recipe; a zero-shot cell has no recipe, so it stands in each row of its data,
    architecture and weights, as long as it is clear which one belongs there.
    """
    groups: dict[tuple[str, str, str, str, Params, str], list[Record]] = {}
    for record in records:
        column = column_of(record.params)
        key = (*_place(record), record.params.get("model.weights", ""), _recipe(record.params), column)
        groups.setdefault(key, []).append(record)
    rows: dict[tuple[str, str, str, str, Params], Row] = {}
    scratch, zero_shot = [], []
    for (data, arch, digest, weights, recipe, column), runs in groups.items():
        row = Row(data, arch, digest, weights, recipe, {column: _cell(runs, metric)})
        if column == "zero_shot":
            zero_shot.append(row)
        elif not weights:
            scratch.append(row)
        else:
            known = rows.setdefault((data, arch, digest, weights, recipe), row)
            known.cells |= row.cells
    _join_scratch(rows, scratch)
    _join_zero_shot(rows, zero_shot)
    return list(rows.values())


def _place(record: Record) -> tuple[str, str, str]:
    arch = record.params.get("arch.name", "").removeprefix("tf_")
    return record.tags.get("data", ""), arch, record.params.get("data.eval", "")


def _recipe(params: Mapping[str, str]) -> Params:
    ignored = (*_MAKES_THE_COLUMN, *_MAKES_THE_ROW_OR_NOTHING)
    return tuple(sorted((name, value) for name, value in params.items() if name not in ignored))


def _cell(runs: Sequence[Record], metric: str) -> Cell:
    values = [run.metrics[metric] for run in runs]
    closed = [run.metrics[CLOSED_SET] for run in runs if CLOSED_SET in run.metrics]
    return Cell(
        accuracy=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
        closed_set_accuracy=statistics.fmean(closed) if closed else None,
        run_ids=tuple(run.run_id for run in runs),
    )


def _join_scratch(rows: dict[tuple[str, str, str, str, Params], Row], scratch: Sequence[Row]) -> None:
    for lone in scratch:
        joined = [
            row
            for row in rows.values()
            if (row.data, row.arch, row.eval_digest, row.recipe)
            == (lone.data, lone.arch, lone.eval_digest, lone.recipe)
        ]
        if not joined:
            joined = [rows.setdefault((lone.data, lone.arch, lone.eval_digest, "", lone.recipe), lone)]
        for row in joined:
            row.cells |= lone.cells


def _join_zero_shot(rows: dict[tuple[str, str, str, str, Params], Row], zero_shot: Sequence[Row]) -> None:
    used: set[int] = set()
    for row in list(rows.values()):
        fitting = _fitting(row, zero_shot)
        if len(fitting) == 1:
            row.cells |= fitting[0].cells
            used.add(id(fitting[0]))
    for lone in zero_shot:
        if id(lone) not in used:
            rows[lone.data, lone.arch, lone.eval_digest, lone.weights, (*lone.recipe, ("column", "zero_shot"))] = lone


def _fitting(row: Row, zero_shot: Sequence[Row]) -> list[Row]:
    """Return the zero-shot cells that may stand in a row: of several, those computed alike."""
    found = [
        one
        for one in zero_shot
        if (one.data, one.arch, one.eval_digest) == (row.data, row.arch, row.eval_digest)
        and (not row.weights or one.weights == row.weights)
    ]
    recipe = dict(row.recipe)
    alike = [one for one in found if all(recipe.get(name) == value for name, value in one.recipe)]
    same_precision = [one for one in found if dict(one.recipe).get("precision") == recipe.get("precision")]
    return alike or same_precision or found


def label_rows(rows: Sequence[Row]) -> None:
    """Name each row's recipe, and in rows of one data set and architecture whatever else tells them apart."""
    for row in rows:
        row.label = ", ".join([_describe(dict(row.recipe)), *_differences(row, rows)]).removeprefix(", ")


def _describe(recipe: Mapping[str, str]) -> str:
    if "optimizer.name" not in recipe:
        return ""
    words = [f"{recipe['optimizer.name']} lr {recipe.get('optimizer.lr', '?')}"]
    for name in ("momentum", "weight_decay"):
        if float(recipe.get(f"optimizer.{name}", "0")):
            words[0] += f" {name.replace('_', ' ')} {recipe[f'optimizer.{name}']}"
    words.append(f"batch {recipe.get('training.batch_size', '?')}")
    epochs = recipe.get("training.epochs", "?")
    words.append(f"{epochs} epoch" + ("" if epochs == "1" else "s"))
    if recipe.get("schedule.name", "constant") != "constant":
        words.append(recipe["schedule.name"])
    if recipe.get("training.keep", "last") != "last":
        words.append(f"keep {recipe['training.keep']}")
    if recipe.get("training.flip", "true") != "true":
        words.append("no flip")
    return ", ".join(words)


_SHOWN = (
    *("optimizer.name", "optimizer.lr", "optimizer.momentum", "optimizer.weight_decay", "training.batch_size"),
    *("training.epochs", "schedule.name", "training.keep", "training.flip"),
)
_WORDS = {"data.train": "training images", "data.holdout": "hold-out", "data.eval": "evaluation images"}


def _differences(row: Row, rows: Sequence[Row]) -> list[str]:
    """Name the parameters that the label leaves out and in which rows differ that a reader would compare."""

    def hidden(one: Row) -> dict[str, str]:
        shown = {k: v for k, v in one.recipe if k not in _SHOWN}
        return {**shown, "weights": one.weights, "data.eval": one.eval_digest}

    alike = [hidden(one) for one in rows if (one.data, one.arch) == (row.data, row.arch)]
    own = hidden(row)
    names = sorted({name for one in alike for name in one})
    differing = [name for name in names if len({one[name] for one in alike if one.get(name)}) > 1]
    # A row of zero-shot runs alone has fewer parameters; that it lacks one is no difference worth words.
    return [f"{_WORDS.get(name, name)} {_short(own[name])}" for name in differing if own.get(name)]


def _short(value: str) -> str:
    is_digest = len(value) in (8, 64) and all(c in "0123456789abcdef" for c in value)
    return value[:8] if is_digest else value
