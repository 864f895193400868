"""Read runs back as plain records; nothing is written here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tlft import store_schema
from tlft.errors import ConfigurationError
from tlft.records import Record
from tlft.tracking.client import KEY_TAG, SWEEP_TAG, connect, refuse_deleted, tracking_uri
from tlft.tracking.server import answering

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def load_records(experiment: str, uri: str | None = None, home: Path | None = None) -> list[Record]:
    """Return every run of an experiment, deleted ones too, the oldest first; none if there is no such experiment.

    Those that stand for whole sweeps are left out: they computed nothing.

    Raises:
        ConfigurationError: if the database is none, or of another version; if the experiment was deleted.
        TlftError: if the store does not answer.
    """
    uri = tracking_uri(uri, home)
    if problems := store_schema.find_problems(uri):
        raise ConfigurationError(problems)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return []
    from mlflow.entities import ViewType

    runs: list[Run] = []
    with answering(uri):
        client = connect(uri)
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            refuse_deleted(found)
        token: str | None = None
        while found is not None and (token is None or token):
            page = client.search_runs([found.experiment_id], run_view_type=ViewType.ALL, page_token=token or None)
            runs += [run for run in page if SWEEP_TAG not in run.data.tags]
            token = page.token or ""
    return sorted((to_record(run) for run in runs), key=lambda record: (record.start_time, record.run_id))


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, deleted or not; None if the store has none of this id."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def to_record(run: Run) -> Record:
    """Turn MLflow's run into a record."""
    return Record(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        deleted=run.info.lifecycle_stage == "deleted",
        start_time=run.info.start_time or 0,
        key=run.data.tags.get(KEY_TAG, ""),
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
    )
