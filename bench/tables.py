"""The table of a thousand runs, beside a process that asks MLflow for them and does nothing else."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from bench.pairs import Comparison, Figure, Side, Sizes
from bench.photographs import copy_photographs
from bench.processes import run, side, tlft, whole_time
from tlft.config.paths import PROJECT
from tlft.names import Artifact, Tag

_ASKED = "a process that pages them with MlflowClient.search_runs, and nothing else"
_RATES = ("0.1", "0.03", "0.01", "0.003", "0.001")
_OF_A_RUN = ("params", "tags", "metrics", "latest_metrics")


def comparisons() -> Iterator[Comparison]:
    """Yield the one that there is."""
    table = "python -m analysis.table over 1,000 runs, whole process"
    figures = (
        Figure("table1000/share_of_search_runs", "search_runs", "table", f"{table}: {_ASKED}", 0.5),
        Figure(
            "table1000/without_statistics/share_of_search_runs",
            "search_runs",
            "table_without_statistics",
            f"the same with --stats none: {_ASKED}",
            round(1 / 1.3, 2),
        ),
    )
    yield Comparison(figures, _prepare)


def _prepare(folder: Path, sizes: Sizes) -> Mapping[str, Side]:
    home, photographs = folder / "home", copy_photographs(folder / "photographs", sizes.photographs, training=4)
    data = ("arch=efficientnet_lite0", "data=imagefolder", f"data.root={photographs}", "tracking.weights=false")
    run(*tlft(home, "-m", *data, "experiment=zero_shot,fine_tune,from_scratch", "training.epochs=1"))
    multiply_runs(home, sizes.runs)
    table = [sys.executable, "-m", "analysis.table"]
    environment = {"TLFT_HOME": str(home)}
    return {
        "table": lambda _: whole_time(table, PROJECT, environment),
        "search_runs": lambda _: whole_time(side("search_runs", home / "mlflow.db"), folder),
        "table_without_statistics": lambda _: whole_time([*table, "--stats", "none"], PROJECT, environment),
    }


def multiply_runs(home: Path, count: int) -> None:
    """Have so many runs in a home's database as a large sweep leaves: copies of those that trained, with their files.

    Learning rates and seeds differ.
    """
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute("pragma foreign_keys = on")
        runs = "select run_uuid from params where key = 'training.epochs' and value != '0'"
        trained = [name for (name,) in database.execute(runs)]
        for number in range(count - _count(database)):
            recipe = number // len(trained)
            changes = {"seed": str(1 + recipe // len(_RATES)), "optimizer.lr": _RATES[recipe % len(_RATES)]}
            _copy_run(database, trained[number % len(trained)], changes, number)


def _count(database: sqlite3.Connection) -> int:
    return int(database.execute("select count(*) from runs").fetchone()[0])


def _copy_run(database: sqlite3.Connection, original: str, params: Mapping[str, str], number: int) -> None:
    """Copy a run with all that is said of it in the database, and the file of its predictions."""
    name = uuid.uuid4().hex
    (run,) = _rows(database, "runs", "run_uuid", original)
    files = Path(str(run["artifact_uri"]).removeprefix("file://"))
    copied = files.parents[1] / name / files.name
    copied.mkdir(parents=True)
    shutil.copy(files / Artifact.PREDICTIONS, copied)
    times = {key: int(str(run[key])) + 1000 * (1 + number) for key in ("start_time", "end_time")}
    _insert(database, "runs", [{**run, "run_uuid": name, "artifact_uri": copied.as_uri(), **times}])
    for table in _OF_A_RUN:
        rows = [{**row, "run_uuid": name} for row in _rows(database, table, "run_uuid", original)]
        for row in rows:
            if table == "params" and row["key"] in params:
                row["value"] = params[str(row["key"])]
            if table == "tags" and row["key"] == Tag.RUN_KEY:
                row["value"] = 2 * name
        _insert(database, table, rows)
    inputs = _rows(database, "inputs", "destination_id", original)
    for row in inputs:
        of_input = uuid.uuid4().hex
        tags = [
            {**tag, "input_uuid": of_input} for tag in _rows(database, "input_tags", "input_uuid", row["input_uuid"])
        ]
        _insert(database, "inputs", [{**row, "input_uuid": of_input, "destination_id": name}])
        _insert(database, "input_tags", tags)


def _rows(database: sqlite3.Connection, table: str, key: str, value: object) -> list[dict[str, object]]:
    cursor = database.execute(f"select * from {table} where {key} = ?", (value,))
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _insert(database: sqlite3.Connection, table: str, rows: Sequence[Mapping[str, object]]) -> None:
    for columns, of_columns in itertools.groupby(rows, key=tuple):
        places = ", ".join("?" for _ in columns)
        values = [tuple(row.values()) for row in of_columns]
        database.executemany(f"insert into {table} ({', '.join(columns)}) values ({places})", values)
