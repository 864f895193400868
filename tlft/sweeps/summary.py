"""Sum up a sweep: a line per job, the table, what failed and how to repeat it; on the terminal and as files.

What the jobs did is known before; nothing is run here.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.commands import invocation
from tlft.config.columns import column_of
from tlft.config.schema import Config, TrackingConfig
from tlft.errors import ConfigurationError, TlftError
from tlft.names import Artifact
from tlft.planning.job_table import JobLine, render_jobs
from tlft.planning.jobs import PlannedJob, Result
from tlft.planning.plan import words_of
from tlft.records.folds import parts_of
from tlft.records.outcome import RunStatus
from tlft.runs.curves_view import curves_page
from tlft.runs.experiment_note import refresh_note
from tlft.runs.run_names import run_name
from tlft.storage.files import atomic_write
from tlft.sweeps.choice import describe_choice
from tlft.sweeps.parent_run import SweepRun, make_table
from tlft.terminal.line_breaks import fitting
from tlft.tracking.client import runs_page
from tlft.tracking.reader import ArtifactReader
from tlft.tracking.server import is_server

if TYPE_CHECKING:
    from analysis.comparison_table import Table

log = logging.getLogger(__name__)


def sum_up(results: Sequence[Result], sweep_run: SweepRun) -> None:
    """Print a line per job and the table of this sweep's runs, and refresh the notes in MLflow.

    Where jobs were begun, the sweep's folder gets `sweep.csv`, `sweep.json`, `report.html` and `curves.png`.
    """
    from analysis.render import render

    folder = next((result.folder.parent for result in results if result.folder is not None), None)
    _print_results(results)
    _print_failures(results)
    if folder is not None:
        _write_files(results, folder)
    ids = {result.outcome.run_id for result in results}
    config = results[0].planned.config
    try:
        reader = ArtifactReader(config.tracking.uri, config.home)
        show = None if folder is None else partial(_write_report, reader=reader, config=config, folder=folder)
        records = sweep_run.close(results, reader.predictions, show)
        table = make_table([record for record in records if record.run_id in ids], reader.predictions)
    except Exception as error:  # whatever MLflow, its database or its server raise
        log.warning("the table could not be made: %s", error)
        return
    if config.sweep.choose is not None:
        for line in describe_choice(results):
            print(fitting(line, sys.stdout))
    if table.rows:
        print()
        print(render(table, "terminal", brief=True))
        _print_curves(table, config, reader)
        _print_places(results[0].planned, (folder and folder / Artifact.REPORT, sweep_run.find_report()))
    refresh_note(config, records, reader)


def _print_places(planned: PlannedJob, reports: Iterable[Path | None]) -> None:
    """Say where all is that there is to see: the first of `reports` that was made, the notes, MLflow's pages."""
    store, experiment = planned.store, planned.config.tracking.experiment
    if report := next((path for path in reports if path and path.is_file()), None):
        print(f"report: {report}")
    of_other = "" if experiment == TrackingConfig.experiment else f" --experiment {shlex.quote(experiment)}"
    print(f"each comparison, and all notes: {invocation('table')} --columns all{of_other}")
    hint = "" if is_server(store.uri) else f" (while `{invocation('ui')}` runs)"
    print(f"every run in MLflow: {runs_page(store.uri, store.experiment_id)}{hint}")
    print(f"their curves: {curves_page(store.uri, store.experiment_id)}")


def exit_status_of(results: Sequence[Result]) -> int:
    """Return 0 if every job is done, 3 if all others are left to processes that work on them, and 1 otherwise."""
    unfinished = {result.outcome.status for result in results if not result.outcome.status.is_complete}
    if not unfinished:
        return 0
    return 3 if unfinished == {RunStatus.ELSEWHERE} else 1


def _print_curves(table: Table, config: Config, reader: ArtifactReader) -> None:
    """Say what the table shows along the setting of `sweep.curve`."""
    if config.sweep.curve is None:
        return
    from analysis.curve.material import collect_curves
    from analysis.narrative import capitalize

    try:
        curves = collect_curves(table, config.sweep.curve, reader)
    except Exception as error:  # whatever the store or a library raises: the sweep is done all the same
        log.warning("sweep.curve=%s: there is no curve: %s", config.sweep.curve, error)
        return
    for _, sentences in curves:
        print()
        for sentence in sentences:
            print(fitting(f"{capitalize(sentence)}.", sys.stdout))


def _write_report(table: Table, reader: ArtifactReader, config: Config, folder: Path) -> list[Path]:
    """Write the page of the sweep's runs, and their curves, into its folder."""
    from analysis.curve.drawing import draw_curve, numbered
    from analysis.narrative import short_title
    from analysis.report.material import collect
    from analysis.report.page import render_report, title_of
    from tlft.evaluation.curve_plots import History, draw_training

    table, along = replace(table, full=len(table.rows) > 1), config.sweep.curve
    try:
        material = collect(table, reader, config.tracking.uri, config.home, along)
    except ConfigurationError:  # jobs that would make the curve are missing, as is said at the end
        material = collect(table, reader, config.tracking.uri, config.home)
    path = folder / Artifact.REPORT
    atomic_write(path, render_report(material, title_of(config.tracking.experiment, table)).encode())
    columns = {run.run_id: column_of(run.params) for run in parts_of(table.runs)}
    histories = [
        History(column.key, short_title(column), points)
        for run_id, points in material.curves.items()
        if (column := columns[run_id]) is not None
    ]
    pictures = {Artifact.CURVES: draw_training(histories, f"{len(histories)} runs")}
    for number, (curve, _) in enumerate(material.along, start=1):
        pictures[numbered(Artifact.CURVE, number)] = draw_curve(curve, "png")
    files = [path]
    for name, picture in pictures.items():
        if picture is not None:
            atomic_write(folder / name, picture)
            files.append(folder / name)
    return files


def command_of(overrides: Sequence[str]) -> str:
    """Return the command that runs one job of a sweep: without what makes it one, and with its launcher's default."""
    words = [text for text in overrides if not text.startswith(("sweep=", "hydra"))]
    return shlex.join([*invocation("run").split(), *words])


def _print_failures(results: Sequence[Result]) -> None:
    for result in results:
        job, outcome = result.planned.job, result.outcome
        if outcome.error and result.planned.same_as is None:
            print(fitting(f"job {job.number} failed: {outcome.error}", sys.stdout))
            if result.folder is not None:
                print(f"  its folder: {result.folder}")
            print(f"  just this job again: {command_of(job.overrides)}")


def _write_files(results: Sequence[Result], folder: Path) -> None:
    import pandas as pd

    rows = [
        {
            "job": result.planned.number,
            "run": result.outcome.name or run_name(result.planned.config),
            "status": result.outcome.status.value,
            "accuracy": result.outcome.score,
            "seconds": round(result.outcome.seconds, 3),
            "run_id": result.outcome.run_id,
            "run_key": result.planned.identity.key,
            "error": result.outcome.error,
            "command": command_of(result.planned.job.overrides),
        }
        for result in results
    ]
    frame = pd.DataFrame(rows)
    try:
        atomic_write(folder / "sweep.csv", frame.to_csv(index=False).encode())
        atomic_write(folder / "sweep.json", frame.to_json(orient="records", indent=1).encode())
    except TlftError as error:
        log.warning("%s", error)


def _print_results(results: Sequence[Result]) -> None:
    lines = []
    for result, words in zip(results, words_of([result.planned for result in results]), strict=True):
        planned, outcome = result.planned, result.outcome
        same = f" (same as job {planned.same_as})" if planned.same_as is not None else ""
        status = f"{outcome.status.label}{same}"
        lines.append(JobLine(planned.number, words, status, outcome.score, outcome.seconds, outcome.run_id))
    print(render_jobs(lines))
