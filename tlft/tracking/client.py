"""Reach the tracking store: its address, MLflow's client, what is asked of that, and what MLflow says unasked."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shlex
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.commands import invocation
from tlft.config.addresses import hide_password, whole_address
from tlft.database.places import is_there, tracking_uri
from tlft.database.schema import database_uri, reading
from tlft.errors import ConfigurationError, without_passwords
from tlft.storage.files import into_place, temporary_files
from tlft.tracking.server import is_server, wait_for_server

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, LoggedModel, Run

_HTTP = {"MAX_RETRIES": "2", "BACKOFF_FACTOR": "1", "TIMEOUT": "5"}
"""A dead server would otherwise be four minutes of silence for each call."""

_DATABASE_ATTEMPTS = 5  # in three seconds; MLflow's ten are two minutes of silence


MACHINE_LEARNING = "?workflowType=machine_learning"  # behind a page's address, or MLflow shows it as of language models


def pages_of(uri: str) -> str:
    """Return where MLflow shows its experiments: on the server, or where `mlflow ui` shows those of a database."""
    server = hide_password(uri) if uri.startswith("http") else "http://127.0.0.1:5000"
    return f"{server.rstrip('/')}/#/experiments"


def runs_page(uri: str, experiment_id: str) -> str:
    """Return where MLflow shows the table of an experiment's runs; its plain page opens on traces, and hides models."""
    return f"{pages_of(uri)}/{experiment_id}/runs{MACHINE_LEARNING}"


def experiment_page(experiment: str, home: Path, server: str) -> str:
    """Return where a server that shows the home's database has the table of an experiment's runs.

    Raises:
        ConfigurationError: if there is no such experiment.
    """
    stored = None
    if is_there(tracking_uri(None, home)):
        with reading(home / "mlflow.db") as database:  # MLflow's client is seconds away
            stored = database.execute("select experiment_id from experiments where name = ?", (experiment,)).fetchone()
    if stored is None:
        make = f"make some with `{invocation('run')} sweep=demo`, name another --experiment, or set TLFT_HOME"
        raise ConfigurationError(f"{experiment}: no runs of such an experiment in {home}; {make}")
    return runs_page(server, stored[0])


def connect(uri: str) -> MlflowClient:
    """Return MLflow's client for the address; a server that does not answer is a TlftError within seconds.

    An address without its password is completed (see `tlft.config.addresses`).
    """
    _settle_environment()
    wait_for_server(uri)
    import mlflow

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # prints the traceback of all that it raises
    if not is_server(uri):
        _tame_databases(uri)
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    whole = whole_address(uri)
    mlflow.set_tracking_uri(whole)  # logged models are written through the global address
    # MLflow has written it into the environment, where another job's `tracking=server` would find it.
    if configured is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = configured
    return mlflow.MlflowClient(tracking_uri=whole)


def _settle_environment() -> None:
    """Say what MLflow looks up in the environment as it is imported, or later."""
    for name, value in _HTTP.items():
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
    os.environ["MLFLOW_TRUNCATE_LONG_VALUES"] = "false"
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # with letters that not all outputs have
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # what it warns of goes where all else goes
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


def _tame_databases(uri: str) -> None:
    """Change what MLflow does before it opens a database: wait for minutes, and make its folder, by a wrong name."""
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = _DATABASE_ATTEMPTS
    if "%" in uri:  # it does not read what is quoted; the folder is there
        utils._make_parent_dirs_if_sqlite = lambda db_uri: None


def import_ahead() -> None:
    """Import all of MLflow that runs need, for a process that will fork many."""
    _settle_environment()
    import mlflow.pyfunc
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def create_database(path: Path, artifacts: Path) -> None:
    """Create the tracking database, whole or not at all: a kill in the middle would leave one that nothing opens.

    It has write-ahead logging, which lets one process write while others read.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in temporary_files(path.parent, path.name):
        leftover.unlink()
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    _tame_databases(database_uri(beside))
    store = SqlAlchemyStore(database_uri(beside), artifacts.as_uri())  # type: ignore[no-untyped-call]
    store.engine.dispose()
    with closing(sqlite3.connect(beside)) as database:
        database.execute("pragma journal_mode=wal")
    into_place(beside, path)


def connect_existing(uri: str, name: str) -> MlflowClient:
    """Return MLflow's client for a store in which a run or model is looked for, or raise ConfigurationError."""
    if not is_there(uri):
        raise ConfigurationError(
            f"{name}: no such run in {uri}, which is not there; set TLFT_HOME, or the store's address"
        )
    return connect(uri)


_RUN_ID = re.compile(r"[A-Za-z0-9][\w-]{0,255}", re.ASCII)
"""As MLflow has them."""


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, deleted or not; None if the store has none of this id."""
    from mlflow.exceptions import MlflowException

    if not _RUN_ID.fullmatch(run_id):  # to which a store has another answer
        return None
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


_BEGINNING = re.compile(r"[0-9a-f]{4,31}")


def existing_run(client: MlflowClient, run_id: str) -> Run:
    """Return a run that nobody has deleted, by its id or the beginning of one, or raise ConfigurationError."""
    run = find_run(client, run_id)
    if run is None and _BEGINNING.fullmatch(run_id):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        matches = client.search_runs(experiments, f"attributes.run_id LIKE '{run_id}%'", max_results=4)
        if len(matches) > 1:
            listed = ", ".join(f"{match.info.run_id[:12]} ({match.info.run_name})" for match in matches[:3])
            more = ", ..." if len(matches) > 3 else ""
            raise ConfigurationError(f"{run_id}: is the beginning of several runs: {listed}{more}; give more of the id")
        run = next(iter(matches), None)
    if run is None and re.fullmatch("[0-9a-f]{1,3}", run_id):
        raise ConfigurationError(f"{run_id}: give four digits of the run's id or more")
    if run is None or run.info.lifecycle_stage == "deleted":
        raise ConfigurationError(
            f"{run_id}: no such run in {client.tracking_uri}; `{invocation('ui')}` and every run tell the ids"
        )
    return run


def all_runs(client: MlflowClient, experiment_id: str, *, only_deleted: bool = False) -> Iterator[Run]:
    """Yield every run of an experiment, deleted ones too, or only those."""
    from mlflow.entities import ViewType

    view = ViewType.DELETED_ONLY if only_deleted else ViewType.ALL
    token: str | None = None
    while token is None or token:
        page = client.search_runs([experiment_id], run_view_type=view, page_token=token)
        yield from page
        token = page.token or ""


def logged_models(client: MlflowClient, experiment_id: str, run_id: str) -> list[LoggedModel]:
    """Return the models that a run has logged, also such as were not written to their end."""
    return list(client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'"))


def restore(kind: str, name: str, uri: str) -> str:
    """Return the command that restores a deleted one of the `runs` or `experiments`, wherever it is typed."""
    address = shlex.quote(without_passwords(uri))
    return f"MLFLOW_TRACKING_URI={address} mlflow {kind} restore --{kind.removesuffix('s')}-id {name}"


def refuse_deleted(experiment: Experiment, uri: str) -> None:
    """Raise ConfigurationError if an experiment was deleted: its name is taken, and MLflow takes no run there."""
    if experiment.lifecycle_stage == "deleted":
        raise ConfigurationError(
            f"tracking.experiment={experiment.name}: was deleted; restore it with all its runs "
            f"({restore('experiments', experiment.experiment_id, uri)}), or choose another name"
        )


class _Quiet:
    """Keep MLflow's announcements (of migrations, type hints) off the terminal until the last thread is out."""

    def __init__(self) -> None:
        self._lock, self._depth, self._silenced = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._silenced.enter_context(warnings.catch_warnings(record=True))  # MLflow puts filters in front
                import mlflow  # noqa: F401  # which sets its loggers' levels

                for logger in map(logging.getLogger, ("mlflow", "alembic")):
                    self._silenced.callback(logger.setLevel, logger.level)
                    logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._silenced.close()


quiet = _Quiet()
