"""Make the report: one HTML file that says what the runs show, and shows the photographs behind it.

It is a view of a table, its evidence and the predictions; no figure is computed here but for drawing.
"""

from __future__ import annotations

import json
import shlex
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.correctness import Frames
from analysis.html_page import render_page
from analysis.image_review import Photograph, Verdict, compare_photographs, draw_thumbnails, image_roots
from analysis.narrative import head_row, headline, rounded
from analysis.query import Wanted, add_selection, fetch_table
from analysis.recipes import shorten
from analysis.rows import Row
from analysis.svg_charts import Curve, draw_confusion, draw_curves, draw_reliability
from analysis.table import Table
from analysis.template_context import describe_column, describe_table, draw_runs, used_columns
from tlft.config.columns import Column
from tlft.config.paths import home_folder
from tlft.errors import ConfigurationError
from tlft.runtime.command_line import exit_status
from tlft.runtime.files import atomic_write
from tlft.tracking.records import Record, flatten

if TYPE_CHECKING:
    from tlft.tracking.reader import ArtifactReader

LARGEST = 5_000_000
"""Characters that a report may have."""

_OF_PICTURES = 3_600_000
_MOST_PHOTOGRAPHS = 1500  # each costs the page some 700 characters even without a picture
_MOST_COMMANDS = 10
_CURVES = {
    "train/loss": ("loss on the training images", 1.0),
    "train/accuracy": ("accuracy on the training images, %", 100.0),
    "curve/eval_accuracy": ("accuracy on the evaluation images, %, for looking only", 100.0),
}
CURVES = tuple(_CURVES)
"""Metrics that the report draws by epoch."""

Curves = Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]


@dataclass(frozen=True)
class Material:
    """All that a report is made of.

    Attributes:
        frames: run id -> predictions.
        curves: run id -> metric -> (epoch, value), of the runs of the row that is spoken of.
        roots: folders in which the photographs may lie.
        environment: lines about software and hardware.
        commands: what makes the runs and the report again.
    """

    table: Table
    frames: Frames
    curves: Curves
    roots: tuple[Path, ...]
    environment: tuple[str, ...]
    commands: tuple[str, ...]


def collect(table: Table, reader: ArtifactReader, uri: str | None, home: Path) -> Material:
    """Read what the report of a table needs beyond the table.

    Raises:
        TlftError: if the store does not answer.
    """
    from tlft.tracking.reader import load_curves

    row = head_row(table)
    spoken_of = {run_id for cell in row.cells.values() for run_id in cell.run_ids} if row is not None else set()
    runs = [run for run in table.runs if run.run_id in spoken_of]
    return Material(
        table=table,
        frames=reader.predictions(table.runs),
        curves=load_curves(runs, CURVES, uri, home),
        roots=image_roots([reader.text(run, "config.yaml") for run in runs], home),
        environment=_environment(reader.text(runs[-1], "environment.json")) if runs else (),
        commands=_commands(table),
    )


def _environment(text: str) -> tuple[str, ...]:
    try:
        told = json.loads(text)
    except ValueError:
        return ()
    return tuple(f"{name}: {value}" for name, value in flatten(told).items() if value != "null")


def _commands(table: Table) -> tuple[str, ...]:
    """Return the commands that the runs came from, the newest first, and the one that makes the table."""
    typed = [run.tags.get("command", "") for run in reversed(table.runs)]
    commands = [f"python {command}" for command in dict.fromkeys(typed) if command]
    more = [f"# and {len(commands) - _MOST_COMMANDS} others"] if len(commands) > _MOST_COMMANDS else []
    return (*commands[:_MOST_COMMANDS], *more, *([table.command] if table.command else []))


def render_report(material: Material, title: str) -> str:
    """Return the page, in at most `LARGEST` characters."""
    return render_page("report.html.j2", title, headline(material.table), **_describe(material))


def _describe(material: Material) -> dict[str, Any]:
    table = material.table
    row, columns = head_row(table), used_columns(table)
    present = [column for column in columns if row is not None and column.key in row.cells]
    return {
        **describe_table(table),
        "shown_columns": [describe_column(column) for column in present],
        "left_out": table.left_out,
        **draw_runs(table),
        **_training(material, row),
        **_classes(material, row, present),
        **_photographs(material, row, present),
        "differences": _differences(table),
        "commands": material.commands,
        "environment": material.environment,
    }


def _training(material: Material, row: Row | None) -> dict[str, Any]:
    names = {column.key: describe_column(column)["short"] for column in used_columns(material.table)}
    drawn = []
    longest = 0
    for name, (caption, unit) in _CURVES.items():
        curves = [
            Curve(key, tuple((float(step), value) for step, value in material.curves.get(run_id, {}).get(name, ())))
            for key, cell in (row.cells.items() if row is not None else ())
            for run_id in cell.run_ids
        ]
        if any(curve.points for curve in curves):
            longest = max(longest, *(len(curve.points) for curve in curves))
            drawn.append({"caption": caption, "picture": draw_curves(caption, "epoch", curves, unit, names)})
    mark = "thin line" if longest > 1 else "dot"
    said = "" if row is None else f"{row.data}, {row.arch}, {row.recipe}: each {mark} is a run."
    return {"curves": drawn, "curves_said": said}


def _classes(material: Material, row: Row | None, columns: Sequence[Column]) -> dict[str, Any]:
    """Draw the confusion matrix and the reliability of each column of a row."""
    confusions, reliabilities = [], []
    for column in columns:
        assert row is not None
        evidence = material.table.evidence_of(row, column.key)
        found = [material.frames[run] for run in row.cells[column.key].run_ids if run in material.frames]
        if evidence is None or not found:
            continue
        told = describe_column(column)
        names, shares, classes = _confusion(found)
        runs = f"{len(found)} runs" if len(found) > 1 else "one run"
        left = f"; the first {len(shares)} of {classes} classes" if len(shares) < classes else ""
        caption = f"{told['short']}, {runs}{left}"
        picture = draw_confusion(f"Confusion matrix, {caption}", names[: len(shares)], names, shares)
        confusions.append({"caption": caption, "colour": told["colour"], "picture": picture})
        sure = evidence.reliability
        caption = f"{told['short']}: expected calibration error {rounded(100 * sure.error, 1)}\u00a0%"
        picture = draw_reliability(
            f"Reliability, {told['short']}",
            column.key,
            [float(x) for x in sure.confidence],
            [float(x) for x in sure.accuracy],
            [int(x) for x in sure.count],
        )
        reliabilities.append({"caption": caption, "colour": told["colour"], "picture": picture})
    return {"confusions": confusions, "reliabilities": reliabilities}


_MOST_CLASSES = 24


def _confusion(frames: Sequence[Any]) -> tuple[list[str], list[list[float]], int]:
    """Return the columns' names, the share of each true class predicted as each of them, and the number of classes."""
    labels = np.concatenate([frame["label"].to_numpy(str) for frame in frames])
    predicted = np.concatenate([frame["predicted"].to_numpy(str) for frame in frames])
    every = [str(name) for name in np.unique(labels)]
    classes = every[:_MOST_CLASSES]
    other = "other" if "other" not in every else "none of these"
    names = [*classes, other] if not np.isin(predicted, classes).all() else classes
    known = np.isin(predicted, classes)
    place = np.where(known, np.searchsorted(classes, predicted), len(classes))
    shares = [[float((place[labels == name] == index).mean()) for index in range(len(names))] for name in classes]
    return names, shares, len(every)


def _photographs(material: Material, row: Row | None, columns: Sequence[Column]) -> dict[str, Any]:
    every = [] if row is None else compare_photographs(row, [column.key for column in columns], material.frames)
    if row is None or not every:
        return {"photographs": [], "photographs_in_all": 0, "photographs_said": "", "classes": []}
    shown = every[:_MOST_PHOTOGRAPHS]
    thumbnails = draw_thumbnails(shown, material.roots, _OF_PICTURES)
    told = {column.key: describe_column(column) for column in columns}
    first = "about which the columns disagree most" if len(columns) > 1 else "that most networks get wrong"
    said = f"{row.data}, {row.arch}, {row.recipe}: {len(every)} evaluation images, those first {first}."
    said += " A figure behind a prediction is the probability of the true class."
    if any(verdict.networks > 1 for verdict in every[0].verdicts):
        said += " Of several runs it is the mean, and an image counts as right where more than half of them are."
    if len(shown) < len(every):
        said += f" The last {len(every) - len(shown)} are left out, to keep this page small."
    if not thumbnails:
        said += " Their files are not here, so only names are shown."
    elif len(thumbnails) < len(shown):
        said += f" {len(shown) - len(thumbnails)} of them are shown by name alone, to keep this page small."
    return {
        "photographs_in_all": len(every),
        "photographs": [_photograph(photograph, told, thumbnails.get(photograph.sha256)) for photograph in shown],
        "photographs_said": said,
        "classes": sorted({photograph.label for photograph in every}),
    }


def _photograph(photograph: Photograph, told: Mapping[str, Mapping[str, str]], image: str | None) -> dict[str, Any]:
    verdicts = [{**told[verdict.column], "said": _say(verdict)} for verdict in photograph.verdicts]
    right = json.dumps({verdict.column: round(verdict.right, 4) for verdict in photograph.verdicts})
    return {
        "label": photograph.label,
        "file": photograph.file,
        "right": right,
        "image": image,
        "verdicts": verdicts,
    }


def _say(verdict: Verdict) -> str:
    sure = f"{100 * verdict.probability:.0f} %"
    if verdict.right in (0, 1):
        mark = "\u2713" if verdict.right else "\u2717"
        return f"{mark} {verdict.predicted}, {sure}"
    right = round(verdict.right * verdict.networks)
    return f"{right} of {verdict.networks} right, most say {verdict.predicted}, {sure}"


def _differences(table: Table) -> dict[str, Any] | None:
    """Return the params in which the rows differ, a column per row."""
    first: dict[str, Record] = {run.run_id: run for run in table.runs}
    every = [row for row in table.rows if not row.published]
    if len(every) < 2:
        return None
    own = every[:_MOST_ROWS]
    params = [_recipe(row, first) for row in own]
    names = sorted({name for one in params for name in one})
    values = [(name, [shorten(one.get(name, "-")) for one in params]) for name in names]
    differing = [(name, found) for name, found in values if len(set(found)) > 1]
    if not differing:
        return None
    said = f"The first {len(own)} of {len(every)} rows." if len(own) < len(every) else ""
    return {"rows": [f"{row.arch}, {row.recipe}" for row in own], "params": differing, "said": said}


_MOST_ROWS = 12


def _recipe(row: Row, runs: Mapping[str, Record]) -> dict[str, str]:
    """Return the params of a row's trained runs, else of any."""
    found = [runs[run_id].params for cell in row.cells.values() for run_id in cell.run_ids]
    trained = [params for params in found if "optimizer.name" in params] or found
    return {name: value for name, value in trained[0].items() if name != "seed"}


_EXAMPLES = """examples:
  python -m analysis.report                             report.html, from the runs that MLflow keeps
  python -m analysis.report --data hymenoptera          some of them
  python -m analysis.report --columns all --out all.html
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if the store fails; 2 if there is nothing to show."""
    argv = sys.argv[1:] if argv is None else argv
    parser = ArgumentParser(
        prog="python -m analysis.report",
        description="Make one HTML page of what the runs in MLflow show: it needs no network and nothing beside it.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_selection(parser)
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _write(arguments, shlex.join(["python", "-m", "analysis.report", *argv])))


def _write(arguments: Namespace, command: str) -> int:
    out: Path = arguments.out
    if out.is_dir():
        raise ConfigurationError(f"--out {out}: is a folder; name a file in it")
    table, reader = fetch_table(Wanted.of(arguments), command)
    table = replace(table, full=len(table.rows) > 1)
    page = render_report(collect(table, reader, arguments.uri, home_folder()), f"tlft: {arguments.experiment}")
    atomic_write(out, page.encode())
    print(f"wrote {out} ({len(page.encode()) / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
