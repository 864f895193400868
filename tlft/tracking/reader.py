"""Read runs back as plain records; TlftError says that the store does not answer. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tlft.database.places import is_there, local_folder, tracking_uri
from tlft.database.runs import read_records
from tlft.database.schema import database_path
from tlft.names import Artifact, Tag
from tlft.records.folds import join_frames, parts_of
from tlft.records.record import Record
from tlft.storage.files import sha256_of
from tlft.tracking.client import all_runs, connect, connect_existing, existing_run, refuse_deleted
from tlft.tracking.entries import whole_params
from tlft.tracking.server import answering

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run


def load_records(experiment: str, uri: str | None = None, home: Path | None = None) -> list[Record]:
    """Return every run of an experiment, deleted ones too, the oldest first; none if there is no such experiment.

    Those that stand for whole sweeps are left out: they computed nothing.

    Raises:
        ConfigurationError: if the database is none, or of another version; if the experiment was deleted.
    """
    uri = tracking_uri(uri, home)
    if not is_there(uri):
        return []
    database = database_path(uri)
    records = None if database is None else read_records(database, experiment)
    if records is None:
        records = _ask_for_records(experiment, uri)
    computed = [record for record in records if Tag.SWEEP_KEY not in record.tags]
    return sorted(computed, key=lambda record: (record.start_time, record.run_id))


def _ask_for_records(experiment: str, uri: str) -> list[Record]:
    with answering(uri):
        client = connect(uri)
        stored = client.get_experiment_by_name(experiment)
        if stored is None:
            return []
        refuse_deleted(stored, uri)
        return list(map(to_record, all_runs(client, stored.experiment_id)))


class ArtifactReader:
    """Read files of runs: what they said of each evaluation image, each run once, and texts."""

    def __init__(self, uri: str | None = None, home: Path | None = None) -> None:
        self._uri = tracking_uri(uri, home)
        self._read: dict[str, pd.DataFrame] = {}

    def predictions(self, records: Sequence[Record]) -> Mapping[str, pd.DataFrame]:
        """Return run id -> a row per image (see `predictions_frame`); one whose file cannot be read is left out."""
        from pyarrow import parquet

        for record in parts_of(records):
            if record.run_id not in self._read:
                with self.file(record, Artifact.PREDICTIONS) as path, suppress(OSError, ValueError):  # damaged
                    if path is not None:
                        # In a third of the time that pandas takes.
                        self._read[record.run_id] = parquet.read_table(path).to_pandas()
        self._read |= join_frames([record for record in records if record.parts], self._read)
        return self._read

    def text(self, record: Record, name: str) -> str:
        """Return a text that was kept with a run, or nothing if it cannot be read."""
        with self.file(record, name) as path:
            try:
                return "" if path is None else path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                return ""

    def digest(self, record: Record, name: str) -> str:
        """Return the SHA-256 of a file that was kept with a run, or nothing if there is none."""
        with self.file(record, name) as path:
            return "" if path is None else sha256_of(path)

    @contextmanager
    def file(self, record: Record, name: str) -> Iterator[Path | None]:
        """Yield where a file or a folder of a run is, fetched if need be; None if there is none."""
        folder = local_folder(record.artifacts) if record.artifacts else None
        if folder is not None:
            yield folder / name if (folder / name).exists() else None
            return
        with TemporaryDirectory() as fetched:
            try:
                path: Path | None = Path(self._client.download_artifacts(record.run_id, name, fetched))
            except Exception:  # each kind of store has its own
                path = None
            yield path

    @cached_property
    def _client(self) -> MlflowClient:
        with answering(self._uri):
            return connect(self._uri)


def load_curves(
    records: Sequence[Record], names: Sequence[str], uri: str | None = None, home: Path | None = None
) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return the history of some metrics: run id -> name -> (step, value), in the order of the steps.

    What was joined of several runs has the curves of each, under its own id.
    """
    uri = tracking_uri(uri, home)
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    with answering(uri):
        client = connect(uri)
        for record in parts_of(records):
            curves[record.run_id] = {
                name: sorted((point.step, point.value) for point in client.get_metric_history(record.run_id, name))
                for name in names
                if name in record.metrics
            }
    return curves


def load_record(run_id: str, uri: str | None = None, home: Path | None = None) -> Record:
    """Return one run, of any experiment, or raise ConfigurationError."""
    uri = tracking_uri(uri, home)
    with answering(uri):
        return to_record(existing_run(connect_existing(uri, run_id), run_id))


def to_record(run: Run) -> Record:
    """Turn MLflow's run into a record."""
    return Record(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        deleted=run.info.lifecycle_stage == "deleted",
        start_time=run.info.start_time or 0,
        key=run.data.tags.get(Tag.RUN_KEY, ""),
        params=whole_params(run),
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
        artifacts=run.info.artifact_uri or "",
        experiment_id=run.info.experiment_id,
    )
