"""The run that stands for a whole sweep in MLflow; what it carries is decided elsewhere (tlft/sweeps/parent_run.py)."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.database.places import local_folder
from tlft.names import Metric, Tag
from tlft.storage.locks import locked
from tlft.tracking.entries import send_figures
from tlft.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run


class ParentRun:
    """The one run of a sweep, which is known by the run keys of its jobs: the same sweep again has the same.

    One process at a time answers for it, from `open` to the end of `closing`; whoever does the same sweep meanwhile
    makes its runs children of it, and no more.
    """

    def __init__(self, store: Store, keys: Collection[str]) -> None:
        self._store = store
        self._digest = hashlib.sha256("\n".join(sorted(set(keys))).encode()).hexdigest()
        self._claim = store.claim_of(self._digest)
        self._lock_file = store.home / "cache" / "sweeps.lock"
        self._is_holder = False
        self._opened = time.monotonic()

    def open(self, name: str, tags: Mapping[str, str]) -> str:
        """Return the run's id; it is RUNNING now, and created if there is none (any more)."""
        client = self._store.client
        self._opened = time.monotonic()
        self._is_holder = self._claim.acquire()
        with locked(self._lock_file):
            run = self._find()
            if run is None:
                all_tags = {**tags, Tag.SWEEP_KEY: self._digest, **self._store.origin_tags}
                others = [str(other.info.run_name) for other in self._store.search(f"tags.`{Tag.SWEEP_KEY}` LIKE '%'")]
                name = tell_apart(name, others)
                run = client.create_run(self._store.experiment_id, run_name=name, tags=all_tags)
            elif self._is_holder:
                client.update_run(run.info.run_id, status="RUNNING")
        return str(run.info.run_id)

    @contextmanager
    def closing(self) -> Iterator[bool]:
        """Hold the run while its end is written; tells whether there is one and it is this process's to write.

        What is read within the block is the newest: of two processes with one sweep the last writes what both did.
        """
        with locked(self._lock_file):
            try:
                self._is_holder = self._is_holder or (self._find() is not None and self._claim.acquire())
                yield self._is_holder
            finally:
                if self._is_holder:
                    self._claim.release()

    def end(self, status: str) -> None:
        """Say how the sweep has ended (FINISHED, FAILED or KILLED), within the block of `closing`, as what follows.

        A run that was deleted while the sweep ran is left alone. Its duration is that of the sweep, however often and
        with whatever pauses it was typed.
        """
        from mlflow.exceptions import MlflowException

        if (run := self._find()) is not None:
            client, run_id = self._store.client, run.info.run_id
            seconds = float(run.data.tags.get(Tag.SECONDS, 0)) + time.monotonic() - self._opened
            client.set_terminated(run_id, status, end_time=run.info.start_time + round(1000 * seconds))
            with suppress(MlflowException):  # refused, it costs the next time its sum and no more
                client.set_tag(run_id, Tag.SECONDS, f"{seconds:.3f}")

    def log_figures(self, jobs: int, figures: Mapping[str, float]) -> None:
        """Log figures, under the next step if one has changed since the last time."""
        client, run = self._store.client, self._find()
        if run is None:
            return
        run_id = run.info.run_id
        metrics = {Metric.SWEEP_JOBS: float(jobs), **figures}
        if any(run.data.metrics.get(name) != value for name, value in metrics.items()):
            step = len(client.get_metric_history(run_id, Metric.SWEEP_JOBS))
            send_figures(client, run_id, [{"metrics": metrics, "step": step, "time": int(time.time() * 1000)}])

    def log_note(self, note: str) -> None:
        """Write what the user interface shows above the run (Markdown)."""
        if (run := self._find()) is not None:
            self._store.client.set_tag(run.info.run_id, Tag.NOTE, note)

    def log_file(self, path: Path) -> None:
        """Keep a file with the run, in place of one of the same name."""
        if (run := self._find()) is not None:
            self._store.client.log_artifact(run.info.run_id, str(path))

    def local_file(self, name: str) -> Path | None:
        """Return where a file is that was kept with the run, if it is on this machine."""
        run = self._find()
        folder = None if run is None else local_folder(run.info.artifact_uri)
        return folder / name if folder is not None and (folder / name).is_file() else None

    def log_text(self, text: str, name: str) -> None:
        """Keep a text with the run, as a file."""
        if (run := self._find()) is not None:
            self._store.client.log_text(run.info.run_id, text, name)

    def _find(self) -> Run | None:
        runs = self._store.search(f"tags.`{Tag.SWEEP_KEY}` = '{self._digest}'", oldest_first=True)
        return next(filter(self._store.is_own, runs), None)  # each home that does a sweep has a run of its own for it


_LETTERS_SHOWN = 24
"""Of a run's name, in MLflow's table of runs."""


def tell_apart(name: str, others: Collection[str]) -> str:
    """Return a name of which MLflow's table shows another beginning than of all others: `#2 comparison seed=0,1`."""
    shown = {other[:_LETTERS_SHOWN] for other in others}
    numbered = (f"#{number} {name}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each[:_LETTERS_SHOWN] not in shown)
