"""Sum up a sweep: a line per job, the table, what failed and how to repeat it; on the terminal and as files.

What the jobs did is known before; nothing is run here.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.config.schema import Config
from tlft.errors import TlftError
from tlft.runs.experiment_note import refresh_note
from tlft.runs.identify import run_name
from tlft.runtime.files import atomic_write
from tlft.sweeps.parent_run import SweepRun, make_table
from tlft.sweeps.plan import PlannedJob
from tlft.tracking.reader import ArtifactReader

if TYPE_CHECKING:
    from analysis.comparison_table import Table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What became of a job, for the summary."""

    job: PlannedJob
    status: str
    run_id: str = ""
    score: float | None = None
    seconds: float = 0.0
    error: str = ""
    folder: Path | None = None


def sum_up(
    results: Sequence[Result], overrides: Sequence[Sequence[str]], folder: Path | None, sweep_run: SweepRun
) -> None:
    """Print a line per job and the table of this sweep's runs, and refresh the notes in MLflow.

    Args:
        results: one per job.
        overrides: of each job, which repeat just it.
        folder: gets `sweep.csv`, `sweep.json` and `report.html`; None where nothing was to do.
        sweep_run: stands for the sweep in MLflow.
    """
    from analysis.render import render

    _print_results(results)
    _print_failures(results, overrides)
    if folder is not None:
        _write_files(results, overrides, folder)
    ids = {result.run_id for result in results}
    config = results[0].job.config
    try:
        reader = ArtifactReader(config.tracking.uri, config.home)
        report = None if folder is None else partial(_write_report, reader=reader, config=config, folder=folder)
        records = sweep_run.close(results, reader.predictions, report)
        table = make_table([record for record in records if record.run_id in ids], reader.predictions)
    except Exception as error:  # whatever MLflow, its database or its server raise
        log.warning("the table could not be made: %s", error)
        return
    if table.rows:
        print()
        print(render(table, "terminal"))
    refresh_note(config, records, reader)


def _write_report(table: Table, reader: ArtifactReader, config: Config, folder: Path) -> Path:
    """Write the page of the sweep's runs into its folder, and say where it is."""
    from analysis.report import collect, render_report

    material = collect(replace(table, full=len(table.rows) > 1), reader, config.tracking.uri, config.home)
    path = folder / "report.html"
    atomic_write(path, render_report(material, f"tlft: {config.experiment}").encode())
    print(f"report: {path}")
    return path


def repeat(overrides: Sequence[str]) -> str:
    """Return the command that runs one job of a sweep: without what makes it one, and with its launcher's default."""
    return shlex.join(["python", "run.py", *(text for text in overrides if not text.startswith(("sweep=", "hydra")))])


def _print_failures(results: Sequence[Result], overrides: Sequence[Sequence[str]]) -> None:
    for result in results:
        if result.error and result.job.same_as is None:
            print(f"job {result.job.number} failed: {result.error}")
            if result.folder is not None:
                print(f"  its folder: {result.folder}")
            print(f"  just this job again: {repeat(overrides[result.job.number])}")


def _write_files(results: Sequence[Result], overrides: Sequence[Sequence[str]], folder: Path) -> None:
    import pandas as pd

    rows = [
        {
            "job": result.job.number,
            "run": run_name(result.job.config),
            "status": result.status,
            "accuracy": result.score,
            "seconds": round(result.seconds, 3),
            "run_id": result.run_id,
            "run_key": result.job.identity.key,
            "error": result.error,
            "command": repeat(overrides[result.job.number]),
        }
        for result in results
    ]
    frame = pd.DataFrame(rows)
    try:
        atomic_write(folder / "sweep.csv", frame.to_csv(index=False).encode())
        atomic_write(folder / "sweep.json", frame.to_json(orient="records", indent=1).encode())
    except TlftError as error:
        log.warning("%s", error)


_WORDS = {"skipped": "done before", "elsewhere": "running elsewhere"}


def _print_results(results: Sequence[Result]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("job", "run", "status", "accuracy", "time", "run id"):
        table.add_column(title, justify="right" if title in ("accuracy", "time") else "left", no_wrap=title != "run")
    for result in results:
        job = result.job
        status = _WORDS.get(result.status, result.status)
        if job.same_as is not None:
            status += f" (same as job {job.same_as})"
        accuracy = "-" if result.score is None else f"{100 * result.score:.3f} %"
        seconds = f"{result.seconds:.1f} s" if result.seconds else "-"
        table.add_row(str(job.number), run_name(job.config), status, accuracy, seconds, result.run_id or "-")
    console = Console() if sys.stdout.isatty() else Console(width=140)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip()))
