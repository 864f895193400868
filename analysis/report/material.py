"""All that a report is made of, read once; nothing is drawn here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from analysis.comparison_table import Table
from analysis.curve.material import collect_curves
from analysis.curve.series import Curve
from analysis.image_review import image_roots
from analysis.narrative import data_sets, head_row
from analysis.predictions.correctness import Frames
from analysis.rows import Row
from tlft.config.paths import home_folder
from tlft.database.places import tracking_uri
from tlft.names import CURVES, Artifact, Tag, flatten
from tlft.records.record import Record
from tlft.tracking.client import pages_of
from tlft.tracking.reader import ArtifactReader, load_curves

MAX_ROWS = 20
"""Rows that are shown with curves, matrices and photographs."""

_MAX_RUNS_WITH_CURVES = 200  # each is asked of the store by itself
_MAX_COMMANDS = 10


@dataclass(frozen=True)
class Material:
    """All that a report is made of.

    Attributes:
        rows: those that are shown closely, the head row of each data set first.
        frames: run id -> predictions.
        curves: run id -> metric -> (epoch, value).
        roots: folders in which the photographs may lie.
        environment: lines about software and hardware.
        commands: what makes the runs and the report again.
        address: of MLflow's pages of runs; is followed by `EXPERIMENT/runs/RUN`.
        written: when.
        along: what the table shows along a setting, each with its sentences; nothing where no setting was asked for.
    """

    table: Table
    rows: tuple[Row, ...]
    frames: Frames
    curves: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]
    roots: tuple[Path, ...]
    environment: tuple[str, ...]
    commands: tuple[str, ...]
    address: str
    written: datetime
    along: Sequence[tuple[Curve, Sequence[str]]] = ()


def collect(
    table: Table, reader: ArtifactReader, uri: str | None, home: Path | None = None, along: str | None = None
) -> Material:
    """Read what the report of a table needs beyond the table, and what it shows `along` a setting, if one is given.

    Raises:
        ConfigurationError: if no two runs differ in that setting alone.
        TlftError: if the store does not answer.
    """
    home = home or home_folder()
    rows = choose_rows(table)
    run_ids = dict.fromkeys(run_id for row in rows for cell in row.cells.values() for run_id in cell.run_ids)
    runs = {run.run_id: run for run in table.runs}
    shown = [runs[run_id] for run_id in run_ids]
    newest = max(shown, key=lambda run: run.start_time, default=None)
    return Material(
        table=table,
        rows=rows,
        frames=reader.predictions(shown),
        along=collect_curves(table, along, reader) if along is not None else (),
        curves=load_curves(shown[:_MAX_RUNS_WITH_CURVES], CURVES, uri, home),
        roots=image_roots([reader.text(run, Artifact.CONFIG) for run in _one_of_each_data_set(shown)], home),
        environment=_environment(reader.text(newest, Artifact.ENVIRONMENT)) if newest is not None else (),
        commands=_commands(table),
        address=pages_of(tracking_uri(uri, home)),
        written=datetime.now().astimezone(),
    )


def choose_rows(table: Table) -> tuple[Row, ...]:
    """Return the rows that are shown closely: the head row of each data set, then others, `MAX_ROWS` at most."""
    heads = [row for data in data_sets(table) if (row := head_row(table, data)) is not None]
    others = [row for data in data_sets(table) for row in table.rows if row.data == data and not row.published]
    return tuple([*heads, *(row for row in others if row not in heads)][:MAX_ROWS])


def _one_of_each_data_set(runs: Sequence[Record]) -> list[Record]:
    return list({run.tags.get(Tag.DATA, ""): run for run in runs}.values())


def _environment(text: str) -> tuple[str, ...]:
    try:
        environment = json.loads(text)
    except ValueError:
        return ()
    return tuple(f"{name}: {value}" for name, value in flatten(environment).items() if value != "null")


def _commands(table: Table) -> tuple[str, ...]:
    """Return the commands that the runs came from, the newest first, and the one that makes the table if it is another.

    A sweep makes its table itself.
    """
    typed = [run.tags.get(Tag.COMMAND, "") for run in reversed(table.runs)]
    commands = [f"python {command}" for command in dict.fromkeys(typed) if command]
    more = [f"# and {len(commands) - _MAX_COMMANDS} others"] if len(commands) > _MAX_COMMANDS else []
    return tuple(dict.fromkeys([*commands[:_MAX_COMMANDS], *more, *([table.command] if table.command else [])]))
