"""Reach the tracking store: its address, MLflow's client, and what MLflow says at the wrong moment."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

import requests

from tlft.config import home_folder
from tlft.errors import ConfigurationError, TlftError
from tlft.files import into_place

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

HEAVY_IMPORTS = ("mlflow", "mlflow.store.tracking.sqlalchemy_store", "mlflow.pyfunc")
"""What a process that will start many runs may import ahead."""

KEY_TAG = "tlft.run_key"
WEIGHTS_FILE = "weights/model.safetensors"

_HTTP = {"MAX_RETRIES": "2", "BACKOFF_FACTOR": "1", "TIMEOUT": "5"}
"""A dead server would otherwise be four minutes of silence for each call."""

_GREETING_SECONDS = 5.0


def tracking_uri(uri: str | None = None, home: Path | None = None) -> str:
    """Return the store's address: the one given, or the SQLite database in `paths.home`."""
    return uri or f"sqlite:///{(home or home_folder()) / 'mlflow.db'}"


def is_server(uri: str) -> bool:
    """Tell whether the address is a server's."""
    return uri.startswith(("http://", "https://"))


def connect(uri: str) -> MlflowClient:
    """Return MLflow's client for the address.

    Raises:
        TlftError: within seconds if it is a server that does not answer.
    """
    if is_server(uri):
        try:
            requests.get(f"{uri.rstrip('/')}/health", timeout=_GREETING_SECONDS)
        except requests.RequestException as error:
            raise cannot_open(uri, error) from None
    for name, value in _HTTP.items():
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
    os.environ["MLFLOW_TRUNCATE_LONG_VALUES"] = "false"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow

    mlflow.set_tracking_uri(uri)  # logged models are written through the global address
    return mlflow.MlflowClient(tracking_uri=uri)


def create_database(path: Path, artifacts: Path) -> None:
    """Create the tracking database, whole or not at all: a kill in the middle would leave one that nothing opens.

    It has write-ahead logging, which lets one process write while others read.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{path.name}.*.tmp*"):
        left.unlink()
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    store = SqlAlchemyStore(f"sqlite:///{beside}", artifacts.as_uri())  # type: ignore[no-untyped-call]
    store.engine.dispose()
    with closing(sqlite3.connect(beside)) as database:
        database.execute("pragma journal_mode=wal")
    into_place(beside, path)


def cannot_open(uri: str, error: Exception) -> TlftError:
    """Return the one line for a store that does not answer."""
    said = " ".join(str(error).split())[:200]
    return TlftError(f"tracking.uri={uri}: cannot be opened ({said}); start the server, or set tracking.uri")


def refuse_deleted(experiment: Experiment) -> None:
    """Refuse an experiment that was deleted: its name is taken, and MLflow takes no run there.

    Raises:
        ConfigurationError: with the command that restores it.
    """
    if experiment.lifecycle_stage == "deleted":
        raise ConfigurationError(
            f"tracking.experiment={experiment.name}: was deleted; restore it with all its runs "
            f"(mlflow experiments restore --experiment-id {experiment.experiment_id}), or choose another name"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MLflow's announcements (a line for each database migration, hints at type hints) off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(record=True):  # not a filter: MLflow puts its own in front
            yield
    finally:
        logging.disable(before)


def local_folder(artifact_uri: str) -> Path | None:
    """Return the folder that an address of artifacts names, or None if it is not on this machine."""
    parsed = urlparse(artifact_uri)
    return Path(url2pathname(parsed.path)) if parsed.scheme in ("", "file") else None
