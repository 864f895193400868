"""Read runs back as plain records; nothing is written here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tlft.errors import ConfigurationError
from tlft.runtime.files import sha256_of
from tlft.tracking import schema
from tlft.tracking.client import KEY_TAG, SWEEP_TAG, connect, local_folder, refuse_deleted, tracking_uri
from tlft.tracking.records import Record
from tlft.tracking.server import answering

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

PREDICTIONS_FILE = "predictions.parquet"


def load_records(experiment: str, uri: str | None = None, home: Path | None = None) -> list[Record]:
    """Return every run of an experiment, deleted ones too, the oldest first; none if there is no such experiment.

    Those that stand for whole sweeps are left out: they computed nothing.

    Raises:
        ConfigurationError: if the database is none, or of another version; if the experiment was deleted.
        TlftError: if the store does not answer.
    """
    uri = tracking_uri(uri, home)
    if problems := schema.find_problems(uri):
        raise ConfigurationError(problems)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return []
    from mlflow.entities import ViewType

    runs: list[Run] = []
    with answering(uri):
        client = connect(uri)
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            refuse_deleted(found, uri)
        token: str | None = None
        while found is not None and (token is None or token):
            page = client.search_runs([found.experiment_id], run_view_type=ViewType.ALL, page_token=token or None)
            runs += [run for run in page if SWEEP_TAG not in run.data.tags]
            token = page.token or ""
    return sorted((to_record(run) for run in runs), key=lambda record: (record.start_time, record.run_id))


class ArtifactReader:
    """Read files of runs: what they said of each evaluation image, each run once, and texts."""

    def __init__(self, uri: str | None = None, home: Path | None = None) -> None:
        self._uri = tracking_uri(uri, home)
        self._client: MlflowClient | None = None
        self._read: dict[str, pd.DataFrame] = {}

    def predictions(self, records: Sequence[Record]) -> Mapping[str, pd.DataFrame]:
        """Return run id -> a row per image (see `Predictions.to_frame`); a run whose file cannot be read is left out.

        Raises:
            TlftError: if the store does not answer.
        """
        for record in records:
            if record.run_id not in self._read:
                with self._file(record, PREDICTIONS_FILE) as path, suppress(OSError, ValueError):  # damaged
                    if path is not None:
                        self._read[record.run_id] = _read_parquet(path)
        return self._read

    def text(self, record: Record, name: str) -> str:
        """Return a text that was kept with a run, or nothing if it cannot be read."""
        with self._file(record, name) as path:
            try:
                return "" if path is None else path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                return ""

    def digest(self, record: Record, name: str) -> str:
        """Return the SHA-256 of a file that was kept with a run, or nothing if there is none."""
        with self._file(record, name) as path:
            return "" if path is None else sha256_of(path)

    @contextmanager
    def _file(self, record: Record, name: str) -> Iterator[Path | None]:
        """Yield where a file of a run is, fetched if need be; None if there is none."""
        folder = local_folder(record.artifacts) if record.artifacts else None
        if folder is not None:
            yield folder / name if (folder / name).is_file() else None
            return
        client = self._connected()
        with TemporaryDirectory() as fetched:
            try:
                path: Path | None = Path(client.download_artifacts(record.run_id, name, fetched))
            except Exception:  # each kind of store has its own
                path = None
            yield path

    def _connected(self) -> MlflowClient:
        if self._client is None:
            with answering(self._uri):
                self._client = connect(self._uri)
        return self._client


def load_curves(
    records: Sequence[Record], names: Sequence[str], uri: str | None = None, home: Path | None = None
) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return the history of some metrics: run id -> name -> (step, value), in the order of the steps.

    Raises:
        TlftError: if the store does not answer.
    """
    uri = tracking_uri(uri, home)
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    with answering(uri):
        client = connect(uri)
        for record in records:
            known = [name for name in names if name in record.metrics]
            histories = {name: client.get_metric_history(record.run_id, name) for name in known}
            curves[record.run_id] = {
                name: sorted((point.step, point.value) for point in points) for name, points in histories.items()
            }
    return curves


def _read_parquet(path: Path) -> pd.DataFrame:
    from pyarrow import parquet

    frame: pd.DataFrame = parquet.read_table(path).to_pandas()  # a third of the time that pandas takes
    return frame


def load_record(run_id: str, uri: str | None = None, home: Path | None = None) -> Record:
    """Return one run, of any experiment.

    Raises:
        ConfigurationError: if there is none, or the database is none.
        TlftError: if the store does not answer.
    """
    uri = tracking_uri(uri, home)
    with answering(uri):
        return to_record(existing_run(connect_existing(uri, run_id), run_id))


def connect_existing(uri: str, name: str) -> MlflowClient:
    """Return MLflow's client for a store that must be there already: a database is not created.

    Args:
        uri: of the store.
        name: of the run or model that is looked for.

    Raises:
        ConfigurationError: if the database is none, or is not there.
    """
    if problems := schema.find_problems(uri):
        raise ConfigurationError(problems)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise ConfigurationError(
            f"{name}: no such run in {uri}, which is not there; set TLFT_HOME, or the store's address"
        )
    return connect(uri)


def existing_run(client: MlflowClient, run_id: str) -> Run:
    """Return a run that nobody has deleted.

    Raises:
        ConfigurationError: if there is none.
    """
    run = find_run(client, run_id)
    if run is None or run.info.lifecycle_stage == "deleted":
        raise ConfigurationError(
            f"{run_id}: no such run in {client.tracking_uri}; `mlflow ui` and `run.py` tell the ids"
        )
    return run


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
        artifacts=run.info.artifact_uri or "",
    )
