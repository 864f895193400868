"""Runs in processes of their own, forked from one that has the imports done, to be killed and compared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from conftest import TINY_ARCH
from warm import WarmCommand

from tlft.config.paths import PROJECT
from tlft.config.schema import Config
from tlft.records.record import Record
from tlft.storage.files import sha256_of
from tlft.tracking.active_run import ActiveRun
from tlft.tracking.claimed_run import claim_run
from tlft.tracking.store import Store


def work(config: Config, words: Connection, env: dict[str, str]) -> None:
    """Do one run, in a process of its own; what it says goes into the pipe."""
    os.environ.update(env)
    for descriptor in (1, 2):
        os.dup2(words.fileno(), descriptor)
    words.close()
    import logging

    logging.basicConfig(level=logging.INFO)
    from tlft.runs.experiment import run_experiment
    from tlft.runtime import signals

    signals.listen()
    run_experiment(config, "composed: once\n")


SWEEP = ("-m", "threads=1", "data=imagefolder", "model=scratch", "training.batch_size=6", *TINY_ARCH)


def start_warm_sweep(home: Path, folder: Path, *overrides: str) -> WarmCommand:
    """Start a sweep of small runs in a moment; what it says goes into a pipe."""
    arguments = (*SWEEP, f"data.root={folder}", *overrides)
    return WarmCommand(arguments, {**os.environ, "TLFT_HOME": str(home)}, PROJECT, one_pipe=True)


def start_sweep(home: Path, folder: Path, *overrides: str, project: Path = PROJECT) -> subprocess.Popen[str]:
    """Start a sweep of small runs as a user would; what it says goes into a pipe."""
    return subprocess.Popen(
        [sys.executable, str(project / "run.py"), *SWEEP, f"data.root={folder}", *overrides],
        env={**os.environ, "TLFT_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


KEY = "k" * 64


@contextmanager
def begun(config: Config, key: str = KEY) -> Iterator[ActiveRun]:
    """Begin a run that computes nothing, and end it with the block."""
    with claim_run(Store(config), key) as claim, claim.start("a run", {"seed": "0"}, {"who": "me"}) as run:
        yield run


class Job:
    """A run in a process of its own, whose words can be waited for.

    Attributes:
        said: what was read of its words so far.
    """

    def __init__(self, context: ForkServerContext, config: Config, env: dict[str, str] | None = None) -> None:
        reading, writing = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(config, writing, env or {}))
        self.process.start()
        writing.close()
        self._words = os.fdopen(os.dup(reading.fileno()), errors="replace")
        reading.close()
        self.said = ""

    def wait_for(self, text: str) -> None:
        """Return once the run has said a line with this text."""
        for line in self._words:
            self.said += line
            if text in line:
                return
        raise AssertionError(f"never said {text}: {self.said}")

    def send(self, number: int) -> None:
        """Send a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def end(self) -> int:
        """Wait until the process is gone and return its exit code, as negative the signal that killed it."""
        with self._words:
            self.said += self._words.read()
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode


@dataclass
class Evidence:
    """What a run has left in a home, without times and figures of the machine.

    Attributes:
        metrics: name -> (step, value) in the order in which they were logged.
        files: name -> SHA-256, of what must be the same: a difference of the bytes themselves would take hours to show.
    """

    statuses: list[str]
    metrics: dict[str, list[tuple[int, float | None]]]
    names: list[str]
    files: dict[str, str]


def gather(record: Record, home: Path) -> Evidence:
    """Read everything that a run has left."""
    import mlflow

    from tlft.tracking.reader import load_records

    client = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")
    run = client.get_run(record.run_id)
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    return Evidence(
        statuses=[one.status for one in load_records("tlft", home=home) if one.key == record.key],
        metrics={name: _history(client, record.run_id, name) for name in sorted(run.data.metrics)},
        names=sorted(str(path.relative_to(artifacts)) for path in artifacts.rglob("*") if path.is_file()),
        files={name: sha256_of(artifacts / name) for name in ("weights/model.safetensors", "predictions.parquet")},
    )


def parents_in(home: Path) -> list[Any]:
    """Return the runs in a home's experiment `tlft` that stand for sweeps, as MLflow has them."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("tlft")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return [run for run in found if "tlft.sweep" in run.data.tags]


def _history(client: Any, run_id: str, name: str) -> list[tuple[int, float | None]]:
    varies = name.startswith(("time/", "system/", "throughput/"))
    return [(point.step, None if varies else point.value) for point in client.get_metric_history(run_id, name)]


def left_over(home: Path) -> list[str]:
    """Return locks, temporary files and folders of unfinished runs that lie in a home."""
    found = [*home.glob("cache/locks/*"), *home.glob("checkpoints/*"), *home.rglob("*.tmp")]
    return sorted(str(path.relative_to(home)) for path in found)
