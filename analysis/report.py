"""Make the report: one HTML file that says what the runs show, and shows the photographs behind it.

It is a view of a table, its evidence and the predictions; no figure is computed here but for drawing.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.comparison_table import Table
from analysis.correctness import Frames
from analysis.html_page import render_page
from analysis.image_review import Photograph, Verdict, compare_photographs, draw_thumbnails, image_roots
from analysis.narrative import head_row, headline, percent, short_title
from analysis.query import TableQuery, add_table_options, load_table
from analysis.recipes import shorten
from analysis.rows import Row
from analysis.svg_charts import Curve, column_class, draw_confusion, draw_curves, draw_reliability
from analysis.template_context import describe_column, describe_table, draw_runs
from tlft.config.columns import Column
from tlft.config.paths import home_folder
from tlft.names import Artifact, Metric, Param, Tag, flatten
from tlft.runtime.command_line import add_out, command_parser, exit_status, refuse_folder, typed_command
from tlft.runtime.files import atomic_write
from tlft.tracking.reader import ArtifactReader, load_curves
from tlft.tracking.records import Record

MAX_CHARACTERS = 5_000_000
_MAX_PICTURE_CHARACTERS = 3_600_000
_MAX_PHOTOGRAPHS = 1500  # each costs the page some 700 characters even without a picture
_MAX_COMMANDS = 10
_MAX_CLASSES = 24
_MAX_ROWS = 12
_CURVES = {
    Metric.TRAIN_LOSS: ("loss on the training images", 1.0),
    Metric.TRAIN_ACCURACY: ("accuracy on the training images, %", 100.0),
    Metric.CURVE_ACCURACY: ("accuracy on the evaluation images, %, for looking only", 100.0),
}
"""Metrics that are drawn by epoch, with what they are called and the factor of their axis."""


@dataclass(frozen=True)
class Material:
    """All that a report is made of.

    Attributes:
        frames: run id -> predictions.
        curves: run id -> metric -> (epoch, value), of the runs of the head row.
        roots: folders in which the photographs may lie.
        environment: lines about software and hardware.
        commands: what makes the runs and the report again.
    """

    table: Table
    frames: Frames
    curves: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]
    roots: tuple[Path, ...]
    environment: tuple[str, ...]
    commands: tuple[str, ...]


def collect(table: Table, reader: ArtifactReader, uri: str | None, home: Path) -> Material:
    """Read what the report of a table needs beyond the table.

    Raises:
        TlftError: if the store does not answer.
    """
    row = head_row(table)
    row_ids = {run_id for cell in row.cells.values() for run_id in cell.run_ids} if row is not None else set()
    runs = [run for run in table.runs if run.run_id in row_ids]
    return Material(
        table=table,
        frames=reader.predictions(table.runs),
        curves=load_curves(runs, list(_CURVES), uri, home),
        roots=image_roots([reader.text(run, Artifact.CONFIG) for run in runs], home),
        environment=_environment(reader.text(runs[-1], Artifact.ENVIRONMENT)) if runs else (),
        commands=_commands(table),
    )


def _environment(text: str) -> tuple[str, ...]:
    try:
        environment = json.loads(text)
    except ValueError:
        return ()
    return tuple(f"{name}: {value}" for name, value in flatten(environment).items() if value != "null")


def _commands(table: Table) -> tuple[str, ...]:
    """Return the commands that the runs came from, the newest first, and the one that makes the table."""
    typed = [run.tags.get(Tag.COMMAND, "") for run in reversed(table.runs)]
    commands = [f"python {command}" for command in dict.fromkeys(typed) if command]
    more = [f"# and {len(commands) - _MAX_COMMANDS} others"] if len(commands) > _MAX_COMMANDS else []
    return (*commands[:_MAX_COMMANDS], *more, *([table.command] if table.command else []))


def render_report(material: Material, title: str) -> str:
    """Return the page, in at most `MAX_CHARACTERS` characters."""
    return render_page("report.html.j2", title, headline(material.table), **_describe(material))


def _describe(material: Material) -> dict[str, Any]:
    table = material.table
    context: dict[str, Any] = {
        **describe_table(table),
        **draw_runs(table),
        "left_out": table.left_out,
        "curves": [],
        "confusions": [],
        "photographs": [],
        "differences": _differences(table),
        "commands": material.commands,
        "environment": material.environment,
    }
    if (row := head_row(table)) is not None:
        columns = [column for column in table.columns if column.key in row.cells]
        context |= _draw_training(material, row, columns) | _draw_classes(material, row, columns)
        context |= _show_photographs(material, row, columns)
    return context


def _draw_training(material: Material, row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    names = {column.key: short_title(column) for column in columns}
    charts = []
    longest = 0
    for name, (caption, unit) in _CURVES.items():
        curves = [
            Curve(key, tuple((float(step), value) for step, value in material.curves.get(run_id, {}).get(name, ())))
            for key, cell in row.cells.items()
            for run_id in cell.run_ids
        ]
        if any(curve.points for curve in curves):
            longest = max(longest, *(len(curve.points) for curve in curves))
            charts.append({"caption": caption, "picture": draw_curves(caption, curves, names, unit)})
    mark = "thin line" if longest > 1 else "dot"
    return {"curves": charts, "curves_note": f"{row.place}, {row.recipe}: each {mark} is a run."}


def _draw_classes(material: Material, row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    """Draw the confusion matrix and the reliability of each column of a row."""
    confusions, reliabilities = [], []
    for column in columns:
        evidence = material.table.evidence_of(row, column.key)
        frames = [material.frames[run] for run in row.cells[column.key].run_ids if run in material.frames]
        if evidence is None or not frames:
            continue
        title, colour = short_title(column), column_class(column.key)
        names, shares, classes = _confusion(frames)
        runs = f"{len(frames)} runs" if len(frames) > 1 else "one run"
        limit = f"; the first {len(shares)} of {classes} classes" if len(shares) < classes else ""
        caption = f"{title}, {runs}{limit}"
        picture = draw_confusion(f"Confusion matrix, {caption}", names[: len(shares)], names, shares)
        confusions.append({"caption": caption, "colour": colour, "picture": picture})
        bins = evidence.reliability
        caption = f"{title}: expected calibration error {percent(bins.error)}\u00a0%"
        caption += f" ({percent(bins.error_by_chance)}\u00a0% by chance, were it perfectly calibrated)"
        picture = draw_reliability(f"Reliability, {title}", column.key, bins)
        reliabilities.append({"caption": caption, "colour": colour, "picture": picture})
    return {"confusions": confusions, "reliabilities": reliabilities}


def _confusion(frames: Sequence[pd.DataFrame]) -> tuple[list[str], list[list[float]], int]:
    """Return the columns' names, the share of each true class predicted as each of them, and the number of classes."""
    labels, predicted = (pd.concat([frame[name] for frame in frames]).astype(str) for name in ("label", "predicted"))
    all_classes = sorted(labels.unique())
    classes = all_classes[:_MAX_CLASSES]
    other = "other" if "other" not in all_classes else "none of these"
    predicted = predicted.where(predicted.isin(classes), other)
    names = [*classes, other] if other in set(predicted) else classes
    shares = pd.crosstab(labels.to_numpy(), predicted.to_numpy(), normalize="index")
    return names, shares.reindex(index=classes, columns=names, fill_value=0.0).to_numpy().tolist(), len(all_classes)


def _show_photographs(material: Material, row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    photographs = compare_photographs(row, [column.key for column in columns], material.frames)
    if not photographs:
        return {}
    first = photographs[:_MAX_PHOTOGRAPHS]
    files = [(photograph.file, photograph.sha256) for photograph in first]
    thumbnails = draw_thumbnails(files, material.roots, _MAX_PICTURE_CHARACTERS)
    titles = {column.key: describe_column(column) for column in columns}
    order = "about which the columns disagree most" if len(columns) > 1 else "that most networks get wrong"
    note = f"{row.place}, {row.recipe}: {len(photographs)} evaluation images, those first {order}."
    note += " A figure behind a prediction is the probability of the true class."
    if any(verdict.networks > 1 for verdict in photographs[0].verdicts):
        note += " Of several runs it is the mean, and an image counts as right where more than half of them are."
    if len(first) < len(photographs):
        note += f" The last {len(photographs) - len(first)} are left out, to keep this page small."
    if not thumbnails:
        note += " Their files are not here, so only names are shown."
    elif len(thumbnails) < len(first):
        note += f" {len(first) - len(thumbnails)} of them are shown by name alone, to keep this page small."
    return {
        "row_columns": titles.values(),
        "photographs_in_all": len(photographs),
        "photographs": [_photograph(photograph, titles, thumbnails) for photograph in first],
        "photographs_note": note,
        "classes": sorted({photograph.label for photograph in photographs}),
    }


def _photograph(
    photograph: Photograph, titles: Mapping[str, Mapping[str, str]], thumbnails: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "label": photograph.label,
        "file": photograph.file,
        "right": json.dumps({verdict.column: round(verdict.right, 4) for verdict in photograph.verdicts}),
        "image": thumbnails.get(photograph.sha256),
        "verdicts": [{**titles[verdict.column], "text": _describe_verdict(verdict)} for verdict in photograph.verdicts],
    }


def _describe_verdict(verdict: Verdict) -> str:
    probability = f"{100 * verdict.probability:.0f} %"
    if verdict.right in (0, 1):
        mark = "\u2713" if verdict.right else "\u2717"
        return f"{mark} {verdict.predicted}, {probability}"
    right = round(verdict.right * verdict.networks)
    return f"{right} of {verdict.networks} right, most say {verdict.predicted}, {probability}"


def _differences(table: Table) -> dict[str, Any] | None:
    """Return the params in which the rows differ, a column per row."""
    all_rows = [row for row in table.rows if not row.published]
    if len(all_rows) < 2:
        return None
    rows = all_rows[:_MAX_ROWS]
    runs = {run.run_id: run for run in table.runs}
    recipes = [_recipe(row, runs) for row in rows]
    names = sorted({name for recipe in recipes for name in recipe})
    params = [(name, [shorten(recipe.get(name, "-")) for recipe in recipes]) for name in names]
    differing = [(name, values) for name, values in params if len(set(values)) > 1]
    if not differing:
        return None
    note = f"The first {len(rows)} of {len(all_rows)} rows." if len(rows) < len(all_rows) else ""
    return {"rows": [f"{row.arch}, {row.recipe}" for row in rows], "params": differing, "note": note}


def _recipe(row: Row, runs: Mapping[str, Record]) -> dict[str, str]:
    """Return the params of a row's trained runs, else of any."""
    params_of_runs = [runs[run_id].params for cell in row.cells.values() for run_id in cell.run_ids]
    trained = [params for params in params_of_runs if Param.OPTIMIZER in params] or params_of_runs
    return {name: value for name, value in trained[0].items() if name != Param.SEED}


_EXAMPLES = """\
  python -m analysis.report                             report.html, from the runs that MLflow keeps
  python -m analysis.report --data hymenoptera          some of them
  python -m analysis.report --columns all --out all.html
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if the store fails; 2 if there is nothing to show."""
    argv = sys.argv[1:] if argv is None else argv
    parser = command_parser(
        "analysis.report",
        "Make one HTML page of what the runs in MLflow show: it needs no network and nothing beside it.",
        _EXAMPLES,
    )
    add_table_options(parser)
    add_out(parser, "report.html")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _write(arguments, typed_command("analysis.report", argv)))


def _write(arguments: Namespace, command: str) -> int:
    refuse_folder(arguments.out)
    table, reader = load_table(TableQuery.from_arguments(arguments), command)
    table = replace(table, full=len(table.rows) > 1)
    page = render_report(collect(table, reader, arguments.uri, home_folder()), f"tlft: {arguments.experiment}").encode()
    atomic_write(arguments.out, page)
    print(f"wrote {arguments.out} ({len(page) / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
