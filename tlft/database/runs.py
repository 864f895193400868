"""Read the runs of an SQLite database as records, in a tenth of the time that MLflow takes to read and to be imported.

Its tables are MLflow's own business: what asks here has looked at their version (`tlft.database.schema.find_problems`),
and asks MLflow where they are not as they are expected.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tlft.database.schema import reading
from tlft.names import Tag
from tlft.records.record import Record

_Answer = TypeVar("_Answer")

_OF_EXPERIMENT = """
    select run_uuid, runs.name, status, runs.lifecycle_stage, start_time, artifact_uri, runs.experiment_id
    from runs join experiments using (experiment_id)
    where experiments.name = :experiment and experiments.workspace = 'default'
"""
_WITH_TAG = " and run_uuid in (select run_uuid from tags where key = :tag and value = :text)"
_DETAILS = {
    "params": "select run_uuid, key, value from params",
    "tags": "select run_uuid, key, value from tags",
    "metrics": "select run_uuid, key, case when is_nan then null else value end from latest_metrics",
}


def read_records(path: Path, experiment: str) -> list[Record] | None:
    """Return every run of an experiment, deleted ones too, in any order.

    None where MLflow must be asked: the experiment is not there or was deleted, or the tables are not as expected.
    """
    return _asking(path, lambda database: _read(database, experiment, _OF_EXPERIMENT, {}))


def read_tagged(path: Path, experiment: str, tag: str, text: str) -> list[Record] | None:
    """Return the runs with a tag, likewise."""
    condition = {"tag": tag, "text": text}
    return _asking(path, lambda database: _read(database, experiment, _OF_EXPERIMENT + _WITH_TAG, condition))


def some_are_running(path: Path, experiment: str) -> bool | None:
    """Tell whether runs of an experiment say RUNNING, sweeps too; None as above."""
    question = f"select exists({_OF_EXPERIMENT} and status = 'RUNNING' and runs.lifecycle_stage = 'active')"
    return _asking(path, lambda database: bool(database.execute(question, {"experiment": experiment}).fetchone()[0]))


def _asking(path: Path, ask: Callable[[sqlite3.Connection], _Answer]) -> _Answer | None:
    try:
        with reading(path) as database:
            database.execute("begin")  # all is told as it is at one moment
            return ask(database)
    except sqlite3.Error:
        return None


def _read(
    database: sqlite3.Connection, experiment: str, question: str, condition: Mapping[str, str]
) -> list[Record] | None:
    stages = "select lifecycle_stage from experiments where name = ? and workspace = 'default'"
    if database.execute(stages, (experiment,)).fetchall() != [("active",)]:
        return None
    runs = database.execute(question, {"experiment": experiment, **condition}).fetchall()
    if not runs:  # else every tag would be looked at three times more, by each new run
        return []
    ids = f"select run_uuid from ({question})"
    details: dict[str, dict[str, dict[str, Any]]] = {}
    for kind, select in _DETAILS.items():
        of_runs = details[kind] = {run[0]: {} for run in runs}
        for run_id, key, value in database.execute(
            f"{select} where run_uuid in ({ids})", {"experiment": experiment, **condition}
        ):
            of_runs[run_id][key] = math.nan if value is None and kind == "metrics" else value
    return [_record(run, *(of_runs[run[0]] for of_runs in details.values())) for run in runs]


def _record(run: tuple[Any, ...], params: dict[str, str], tags: dict[str, str], metrics: dict[str, float]) -> Record:
    run_id, name, status, stage, started, artifacts, experiment_id = run
    return Record(
        run_id=run_id,
        name=name or tags.get(Tag.RUN_NAME, ""),
        status=status,
        deleted=stage == "deleted",
        start_time=started or 0,
        key=tags.get(Tag.RUN_KEY, ""),
        params={**params, **json.loads(tags.get(Tag.PARAMS, "{}"))},
        tags=tags,
        metrics=metrics,
        artifacts=artifacts or "",
        experiment_id=str(experiment_id),
    )
