"""The MLflow run that stands for a sweep: when it is opened, which figures it carries and what its note says.

How it is kept, and that a sweep has one, is the business of `tlft.tracking`.
"""

from __future__ import annotations

import logging
import platform
import re
import shlex
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.commands import invocation
from tlft.names import LONGEST_TAG_ANYWHERE, Artifact, Metric, Tag, escape_all, flatten, shorten
from tlft.planning.jobs import PlannedJob, Result
from tlft.planning.plan import swept_settings
from tlft.records.folds import part_ids
from tlft.records.outcome import RunStatus
from tlft.records.record import Record
from tlft.runs.context import SweepMembership
from tlft.runs.experiment_note import write_note
from tlft.runs.identify import data_tags
from tlft.tracking.reader import load_records
from tlft.tracking.server import reason_of
from tlft.tracking.sweep_run import ParentRun

if TYPE_CHECKING:
    from analysis.comparison_table import Table
    from analysis.predictions.correctness import Frames
    from analysis.rows import Row

    Reader = Callable[[Sequence[Record]], Frames]

log = logging.getLogger(__name__)

_LONGEST_NAME = 100
_LONGEST_LABEL = 180  # of the 250 characters that the name of a metric may have


class SweepRun:
    """The run that stands for a sweep, in the experiment of its first job; jobs that have another have no parent.

    No sweep fails for its sake: what cannot be written is said.
    """

    def __init__(self, jobs: Sequence[PlannedJob], preset: str | None) -> None:
        self._place = jobs[0].store.place
        self._jobs = [job for job in jobs if self._has(job)]
        self._preset = preset
        self.name = preset or "custom"
        self._parent = ParentRun(jobs[0].store, {job.identity.key for job in self._jobs})
        self._run_id: str | None = None
        self._all_jobs = jobs

    @cached_property
    def _settings(self) -> dict[int, tuple[str, ...]]:
        """Of each job those in which the sweep's jobs differ; a sweep that is done does not ask."""
        return dict(zip((job.number for job in self._all_jobs), swept_settings(self._all_jobs), strict=True))

    def membership_of(self, job: PlannedJob) -> SweepMembership:
        """Return what a job that is about to start is told of its sweep; the first of them opens the sweep's run."""
        parent = self._open() if self._has(job) else None
        return SweepMembership(self.name, parent, job.identity.dataset, self._settings[job.number])

    def _open(self) -> str | None:
        if self._run_id is None:
            tags = {Tag.SWEEP: self.name, Tag.COMMAND: shorten(typed_command()), Tag.HOST: platform.node()}
            try:
                self._run_id = self._parent.open(_name(self._preset), tags)
            except Exception as error:  # whatever MLflow, its database or its server raise
                log.warning("the sweep has no run of its own in MLflow: %s", error)
        return self._run_id

    def close(
        self, results: Sequence[Result], read: Reader, show: Callable[[Table], list[Path]] | None = None
    ) -> list[Record]:
        """Write how the sweep has ended, if it has a run; returns the records that the experiment has now.

        `read` returns the predictions of some records; `show` makes files that show the table, and returns them.

        Raises:
            Exception: if the store does not answer.
        """
        config = self._jobs[0].config
        with self._parent.closing() as is_ours:
            records = load_records(config.tracking.experiment, config.tracking.uri, config.home)
            if is_ours:
                keys = {job.identity.key for job in self._jobs}
                runs = [record for record in records if record.key in keys and not record.deleted]
                try:
                    self._describe(runs, read, show)
                finally:
                    with _or_warn("end"):
                        self._parent.end(_status([result for result in results if self._has(result.planned)], runs))
        return records

    def find_report(self) -> Path | None:
        """Return where the page is that was made when something of this sweep was last run."""
        return self._parent.local_file(Artifact.REPORT)

    def _describe(self, runs: Sequence[Record], read: Reader, show: Callable[[Table], list[Path]] | None) -> None:
        """Write what the sweep has come to; of what cannot be made or is refused the rest is written all the same."""
        with _or_warn("figures"):
            self._parent.log_figures(len(self._jobs), compute_figures(self._jobs, runs))
        if shorten(command := typed_command()) != command:
            with _or_warn("command"):
                self._parent.log_text(command, Artifact.COMMAND)
        with _or_warn("note and report"):
            table = make_table(runs, read)
            with _or_warn("note"):
                self._parent.log_note(write_note(table, LONGEST_TAG_ANYWHERE))
            if show is not None and table.rows:
                with _or_warn("report"):
                    for path in show(table):
                        self._parent.log_file(path)

    def _has(self, job: PlannedJob) -> bool:
        return job.store.place == self._place


@contextmanager
def _or_warn(part: str) -> Iterator[None]:
    """Say which part of the sweep's run could not be written, if it is so, and go on."""
    try:
        yield
    except Exception as error:  # whatever MLflow, its database or its server raise
        log.warning("the %s of the sweep's run in MLflow could not be written: %s", part, reason_of(error))


def typed_command() -> str:
    """Return the command that was typed."""
    return shlex.join([*invocation("run").split(), *sys.argv[1:]])


_SWEPT = re.compile(r",|range\(|choice\(|glob\(")
"""In what of a command has several values, and so differs most."""


def _name(preset: str | None) -> str:
    """Return a name that people can read, such as `comparison seed=0,1 lr=5`: what is swept first, the data last."""
    overrides = [text for text in sys.argv[1:] if not text.startswith(("-", "sweep=", "hydra"))]
    overrides.sort(key=lambda text: (text.startswith(("experiment=", "data.root=")), not _SWEPT.search(text)))
    words = [re.sub(r"^(training|optimizer|schedule)\.", "", text) for text in overrides]
    name = " ".join([*([preset] if preset else []), *words]) or "sweep"
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."


def _status(results: Sequence[Result], records: Sequence[Record]) -> str:
    """Return FINISHED if every job is done, by whomever; FAILED if one has failed; KILLED for what was not done."""
    finished = {record.key for record in records if record.status == "FINISHED"}
    if any(result.outcome.status == RunStatus.FAILED for result in results):
        return "FAILED"
    done = (result.outcome.status.is_complete or result.planned.identity.key in finished for result in results)
    return "FINISHED" if all(done) else "KILLED"


def compute_figures(jobs: Sequence[PlannedJob], records: Sequence[Record]) -> dict[str, float]:
    """Return the mean accuracy of each column, as `column/fine_tune/accuracy`, and how many runs are finished.

    Where the jobs make a table of several rows the name says which: `column/fine_tune/accuracy/resnet18`. The names
    come from what was planned, so that they stay the same while the runs come in, of which the newest counts.
    """
    from analysis.comparison_table import build_table

    measured = {
        record.key: record.metrics
        for record in records
        if record.status == "FINISHED" and Metric.ACCURACY in record.metrics
    }
    planned = {job.identity.key: _as_if_done(job) for job in jobs}
    rows = build_table(list(planned.values()), all_columns=True).rows
    figures = {Metric.SWEEP_RUNS: float(len(measured))}
    for row, label in zip(rows, _labels(rows), strict=True):
        for column, cell in row.cells.items():
            values = []
            for joined in cell.run_ids:
                if parts := [measured[key] for key in part_ids(joined) if key in measured]:
                    images = [part.get(Metric.IMAGES, 1.0) for part in parts]  # of a fold, as the table counts it
                    values.append(statistics.fmean([part[Metric.ACCURACY] for part in parts], images))
            if values:
                figures[Metric.of_column(column, label)] = statistics.fmean(values)
    return figures


def _as_if_done(job: PlannedJob) -> Record:
    identity = job.identity
    tags, params = data_tags(job.config, identity.dataset), flatten(identity.science)
    return Record(
        identity.key, "", "FINISHED", False, 0, identity.key, params, tags, {Metric.ACCURACY: 0.0, Metric.IMAGES: 1.0}
    )


def _labels(rows: Sequence[Row]) -> list[str]:
    """Return what tells rows apart, as the end of a metric's name; nothing for one row."""
    if len(rows) < 2:
        return [""] * len(rows)
    places = [(row.data, row.arch, *row.recipe.split(", ")) for row in rows]
    shared = set.intersection(*map(set, places))
    labels = [" ".join(text for text in place if text not in shared) or place[-1] for place in places]
    return [f"/{label}" for label in escape_all([label[:_LONGEST_LABEL] for label in labels])]


def make_table(records: Sequence[Record], read: Reader) -> Table:
    """Return the table of a sweep's runs, with what it proves; `read` returns the predictions of some of them."""
    from analysis.comparison_table import add_evidence, build_table

    table = build_table(records, all_columns=True, command=typed_command())
    return add_evidence(table, read(table.runs))
