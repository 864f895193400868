"""Runs in processes of their own, forked from one that has the imports done, to be killed and compared."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tlft.config import Config
from tlft.records import Record

IMPORTS = (
    *("torch", "torchvision", "mlflow", "mlflow.store.tracking.sqlalchemy_store", "mlflow.pyfunc", "sklearn.metrics"),
    *("tlft.experiment", "tlft.training", "tlft.checkpoint", "tlft.evaluation", "tlft.models", "tlft.plots", "pandas"),
)


def warm_server() -> ForkServerContext:
    """Return a context whose processes start in a moment; the server imports and never computes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTS))
    return context


def work(config: Config, log: Path) -> None:
    """Do one run, in a process of its own."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    import logging

    logging.basicConfig(level=logging.INFO)
    from tlft import signals
    from tlft.experiment import run_experiment

    signals.listen()
    run_experiment(config, "composed: once\n")


def start(context: ForkServerContext, config: Config) -> BaseProcess:
    """Start `work` for a configuration; what it says goes to `<home>/said.log`."""
    config.home.mkdir(parents=True, exist_ok=True)
    process = context.Process(target=work, args=(config, config.home / "said.log"))
    process.start()
    return process


@dataclass
class Evidence:
    """What a run has left in a home, without times and figures of the machine.

    Attributes:
        metrics: name -> (step, value) in the order in which they were logged.
        files: name -> bytes, of what must be the same.
    """

    statuses: list[str]
    metrics: dict[str, list[tuple[int, float | None]]]
    names: list[str]
    files: dict[str, bytes]


def gather(record: Record, home: Path) -> Evidence:
    """Read everything that a run has left."""
    import mlflow

    from tlft.tracking import load_records

    client = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")
    run = client.get_run(record.run_id)
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    return Evidence(
        statuses=[one.status for one in load_records("tlft", home=home) if one.key == record.key],
        metrics={name: _history(client, record.run_id, name) for name in sorted(run.data.metrics)},
        names=sorted(str(path.relative_to(artifacts)) for path in artifacts.rglob("*") if path.is_file()),
        files={name: (artifacts / name).read_bytes() for name in ("weights/model.safetensors", "predictions.parquet")},
    )


def _history(client: Any, run_id: str, name: str) -> list[tuple[int, float | None]]:
    varies = name.startswith(("time/", "system/", "throughput/"))
    return [(point.step, None if varies else point.value) for point in client.get_metric_history(run_id, name)]


def left_over(home: Path) -> list[str]:
    """Return locks, temporary files and folders of unfinished runs that lie in a home."""
    found = [*home.glob("cache/locks/*"), *home.glob("checkpoints/*"), *home.rglob("*.tmp")]
    return sorted(str(path.relative_to(home)) for path in found)
