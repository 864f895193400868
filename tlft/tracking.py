"""Keep runs in MLflow and find them again; the only module that knows MLflow.

What a run computes is not known here: it arrives as names, numbers and files.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from filelock import FileLock, Timeout

from tlft import store_schema
from tlft.config import Config, home_folder
from tlft.errors import ConfigurationError, TlftError
from tlft.records import Outcome, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

KEY_TAG = "tlft.run_key"
FILES_TAG = "tlft.files"
SECONDS_TAG = "tlft.seconds"
NOTE_TAG = "mlflow.note.content"
_SERVING = ("mlflow", "torch", "torchvision", "timm", "numpy", "pandas", "pillow", "safetensors", "scikit-learn")
WEIGHTS_FILE = "weights/model.safetensors"


def tracking_uri(uri: str | None = None, home: Path | None = None) -> str:
    """Return the store's address: the one given, or the SQLite database in `paths.home`."""
    return uri or f"sqlite:///{(home or home_folder()) / 'mlflow.db'}"


def find_problems(config: Config) -> list[str]:
    """Return what is wrong with the store's address or a local database, a line each, without opening it."""
    return store_schema.find_problems(tracking_uri(config.tracking.uri, config.home))


class Store:
    """One experiment of one tracking store."""

    def __init__(self, config: Config) -> None:
        self.home = config.home
        self.uri = tracking_uri(config.tracking.uri, config.home)
        (self.home / "cache").mkdir(parents=True, exist_ok=True)
        # Of several processes that create database and experiment together most would fail (hydraflow#245).
        with FileLock(self.home / "cache" / "tracking.lock"), _quiet():
            self.client, self.experiment_id = self._open(config.experiment)

    def _open(self, name: str) -> tuple[MlflowClient, str]:
        from mlflow.exceptions import MlflowException

        try:
            if self.uri.startswith("sqlite:///"):
                store_schema.prepare(Path(self.uri.removeprefix("sqlite:///")))
            client = _client(self.uri)
            found = client.get_experiment_by_name(name)
            if found is None:
                where = (self.home / "mlruns" / name).as_uri() if self.uri.startswith("sqlite") else None
                return client, str(client.create_experiment(name, artifact_location=where))
        except MlflowException as error:
            raise _cannot_open(self.uri, error) from None
        if found.lifecycle_stage == "deleted":
            raise ConfigurationError(
                f"tracking.experiment={name}: was deleted; restore it (mlflow experiments restore --experiment-id "
                f"{found.experiment_id}) or choose another name"
            )
        return client, str(found.experiment_id)

    @property
    def link(self) -> str:
        """Address of the runs table in the user interface that `mlflow ui` starts."""
        server = self.uri if self.uri.startswith("http") else "http://127.0.0.1:5000"
        return f"{server}/#/experiments/{self.experiment_id}/runs?workflowType=machine_learning"

    def runs_with(self, key: str) -> list[Run]:
        """Return the runs of a key that were not deleted, the newest first."""
        found = self.client.search_runs(
            [self.experiment_id], f"tags.`{KEY_TAG}` = '{key}'", order_by=["attributes.start_time DESC"]
        )
        return list(found)

    def finished(self, key: str) -> Outcome | None:
        """Return the outcome of the newest finished run of a key whose files are all there, or None."""
        for run in self.runs_with(key):
            if run.info.status != "FINISHED":
                continue
            if damage := self._damage(run):
                log.warning("run %s is finished but %s: it is run again", run.info.run_id, damage)
                continue
            tags = run.data.tags
            return Outcome(
                "skipped",
                run.info.run_id,
                run.info.run_name,
                dict(run.data.metrics),
                float(tags.get(SECONDS_TAG, 0)),
                tags.get("commit", ""),
                tags.get("dirty") == "true",
            )
        return None

    def _damage(self, run: Run) -> str:
        folder = _local_folder(run.info.artifact_uri)
        if folder is None:
            return ""
        for name, size in json.loads(run.data.tags.get(FILES_TAG, "{}")).items():
            path = folder / name
            if not path.is_file():
                return f"its {name} is missing"
            if path.stat().st_size != size:
                return f"its {name} is damaged"
        return ""

    @contextmanager
    def claim(self, key: str, *, force: bool = False) -> Iterator[Claim]:
        """Hold the run of a key for this process, so that nobody else computes it meanwhile."""
        lock = self._lock(key)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield Claim(self, key, Outcome("elsewhere"))
            return
        try:
            self._end_orphans(key)
            yield Claim(self, key, None if force else self.finished(key))
        finally:
            lock.release()

    def being_worked_on(self, key: str) -> bool:
        """Tell whether another process of this machine holds the run of a key."""
        try:
            with self._lock(key).acquire(blocking=False):
                return False
        except Timeout:
            return True

    def _lock(self, key: str) -> FileLock:
        folder = self.home / "cache" / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{self.experiment_id}-{key}.lock")

    def _end_orphans(self, key: str) -> None:
        """Mark runs of this machine KILLED that still say RUNNING although nobody holds their key any more."""
        for run in self.runs_with(key):
            if run.info.status == "RUNNING" and run.data.tags.get("host") == socket.gethostname():
                self.client.set_terminated(run.info.run_id, "KILLED")

    def set_note(self, text: str) -> None:
        """Write the experiment's note (Markdown), which the user interface shows above its runs."""
        self.client.set_experiment_tag(self.experiment_id, NOTE_TAG, text)


@dataclass(frozen=True)
class Claim:
    """A key that this process holds, or what is known of its run if there is nothing to do."""

    store: Store
    key: str
    outcome: Outcome | None

    @contextmanager
    def start(self, name: str, params: Mapping[str, str], tags: Mapping[str, str]) -> Iterator[ActiveRun]:
        """Open a new run; it is FINISHED, FAILED (with its traceback) or KILLED when the block is left."""
        client = self.store.client
        all_tags = {KEY_TAG: self.key, "host": socket.gethostname(), "mlflow.source.name": "run.py", **tags}
        if "commit" in tags:
            all_tags["mlflow.source.git.commit"] = tags["commit"]
        created = client.create_run(self.store.experiment_id, run_name=name, tags=all_tags)
        run = ActiveRun(self.store, created.info.run_id, created.info.artifact_uri, name)
        try:
            run.log_params(params)
            yield run
            run.end("FINISHED")
        except Exception:
            run.log_text("traceback.txt", traceback.format_exc())
            run.end("FAILED")
            raise
        except BaseException:  # Ctrl-C, or a signal that became SystemExit
            run.end("KILLED")
            raise


class ActiveRun:
    """A run that is being computed."""

    def __init__(self, store: Store, run_id: str, artifact_uri: str, name: str) -> None:
        self.store = store
        self.run_id = run_id
        self.artifact_uri = artifact_uri
        self.name = name
        self.started = time.monotonic()
        self._client = store.client
        self._files: dict[str, int] = {}
        self._monitors = _system_monitors()

    def log_params(self, params: Mapping[str, str]) -> None:
        """Log the scientific configuration; it never changes during a run."""
        from mlflow.entities import Param

        self._client.log_batch(self.run_id, params=[Param(name, text) for name, text in params.items()])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0, *, with_system: bool = False) -> None:
        """Log figures under one step; with those of the machine at this moment if asked for."""
        from mlflow.entities import Metric

        figures = dict(metrics)
        if with_system:
            for monitor in self._monitors:
                monitor.collect_metrics()
                figures |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
                monitor.clear_metrics()
        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(name, v, now, step) for name, v in figures.items()])

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Log facts about the machine, or words of the user's."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(name, text) for name, text in tags.items()])

    def log_folder(self, folder: Path) -> None:
        """Log every file of a folder under its relative name."""
        files = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        self._client.log_artifacts(self.run_id, str(folder))
        self._files |= files

    def log_text(self, name: str, text: str) -> None:
        """Log a small text file; a failure to do so is said and not raised, since it may itself tell of one."""
        try:
            self._client.log_text(self.run_id, text, name)
        except Exception as error:
            log.warning("%s could not be kept: %s", name, error)

    def log_model(self, description: Mapping[str, Any]) -> None:
        """Log a model that `mlflow.pyfunc.load_model` loads; it refers to the weights that the run has logged."""
        from mlflow import pyfunc, set_experiment
        from mlflow.models import Model

        with TemporaryDirectory() as folder, _quiet():
            set_experiment(experiment_id=self.store.experiment_id)  # else it goes to the experiment Default
            told = Path(folder) / "model.json"
            weights = f"{self.artifact_uri}/{WEIGHTS_FILE}"
            told.write_text(json.dumps({**description, "run_id": self.run_id, "weights": weights}, indent=1))
            Model.log(
                artifact_path=None,
                name="model",
                flavor=pyfunc,
                run_id=self.run_id,
                python_model=str(Path(__file__).with_name("served_model.py")),
                artifacts={"description": str(told)},
                signature=_signature(description["classes"]),
                pip_requirements=[f"{name}=={metadata.version(name)}" for name in _SERVING],
            )

    def end(self, status: str) -> None:
        """Give the run its final status and remember which files it must have."""
        try:
            if status == "FINISHED":
                seconds = f"{time.monotonic() - self.started:.3f}"
                self.log_tags({FILES_TAG: json.dumps(self._files), SECONDS_TAG: seconds})
            self._client.set_terminated(self.run_id, status)
        except Exception as error:
            if status == "FINISHED":
                raise
            log.warning("run %s could not be marked %s: %s", self.run_id, status, error)


def load_records(experiment: str, uri: str | None = None, home: Path | None = None) -> list[Record]:
    """Return every run of an experiment, deleted ones too, the oldest first; none if there is no such experiment.

    Raises:
        ConfigurationError: if the database is none, or of another version.
        TlftError: if the store does not answer.
    """
    uri = tracking_uri(uri, home)
    if problems := store_schema.find_problems(uri):
        raise ConfigurationError(problems)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return []
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException

    runs: list[Run] = []
    try:
        client = _client(uri)
        found = client.get_experiment_by_name(experiment)
        token: str | None = None
        while found is not None and (token is None or token):
            page = client.search_runs([found.experiment_id], run_view_type=ViewType.ALL, page_token=token or None)
            runs += page
            token = page.token or ""
    except MlflowException as error:
        raise _cannot_open(uri, error) from None
    return sorted((_to_record(run) for run in runs), key=lambda record: (record.start_time, record.run_id))


def _to_record(run: Run) -> Record:
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


def _cannot_open(uri: str, error: Exception) -> TlftError:
    said = " ".join(str(error).split())[:200]
    return TlftError(f"tracking.uri={uri}: cannot be opened ({said}); start the server, or set tracking.uri")


def _client(uri: str) -> MlflowClient:
    # A dead server would otherwise be four minutes of silence for each call.
    for name, value in (("MAX_RETRIES", "3"), ("BACKOFF_FACTOR", "1"), ("TIMEOUT", "10")):
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
    os.environ["MLFLOW_TRUNCATE_LONG_VALUES"] = "false"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow

    mlflow.set_tracking_uri(uri)  # logged models are written through the global address
    return mlflow.MlflowClient(tracking_uri=uri)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's announcements (a line for each database migration, hints at type hints) off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(record=True):  # not a filter: MLflow puts its own in front
            yield
    finally:
        logging.disable(before)


def _system_monitors() -> list[Any]:
    """Return MLflow's own monitors; they are asked at the end of each epoch, so that their figures have its step."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor()]  # type: ignore[no-untyped-call]
    if shutil.which("nvidia-smi"):
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        try:
            monitors.append(GPUMonitor())  # type: ignore[no-untyped-call]
        except Exception as error:
            log.debug("no figures of the GPU: %s", error)
    return monitors


def set_served_model() -> None:
    """Tell MLflow which object answers when it loads a logged model from its code."""
    from mlflow.artifacts import download_artifacts
    from mlflow.models import set_model
    from mlflow.pyfunc.model import PythonModel, PythonModelContext

    with _quiet():  # it would have type hints that it can check; bytes, text and paths are more than they can say

        class ServedModel(PythonModel):
            """Classify images in a column `image`: bytes, base64 text, or paths."""

            def load_context(self, context: PythonModelContext) -> None:
                """Load the weights that the run has logged."""
                from tlft.classifier import Classifier

                description = json.loads(Path(context.artifacts["description"]).read_text())
                folder = _local_folder(description["weights"])
                if folder is None or not folder.is_file():
                    folder = Path(download_artifacts(f"runs:/{description['run_id']}/{WEIGHTS_FILE}"))
                self.classifier = Classifier.load(description, folder)

            def predict(self, context: PythonModelContext, model_input: Any, params: Any = None) -> Any:
                """Return a data frame with a row for each image."""
                images = model_input["image"] if hasattr(model_input, "columns") else model_input
                return self.classifier.classify(list(images))

    set_model(ServedModel())


def _signature(classes: Sequence[str]) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    probabilities = [ColSpec("float", f"p/{name}") for name in classes]
    outputs = [ColSpec("string", "predicted"), ColSpec("float", "confidence"), *probabilities]
    return ModelSignature(Schema([ColSpec("string", "image")]), Schema([*outputs]))


def _local_folder(artifact_uri: str) -> Path | None:
    parsed = urlparse(artifact_uri)
    return Path(url2pathname(parsed.path)) if parsed.scheme in ("", "file") else None
