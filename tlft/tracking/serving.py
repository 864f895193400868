"""Log a model that MLflow loads and serves, answer when it does, find and register it.

What the model computes is in classifier.py.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import tlft
from tlft.errors import ConfigurationError, TlftError
from tlft.tracking.client import SWEEP_TAG, WEIGHTS_FILE, local_folder, quiet, tracking_uri
from tlft.tracking.reading import connect_existing, existing_run
from tlft.tracking.server import answering

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

_SERVED = "__pyfunc_model_path__"
"""Stands in the environment of MLflow's scoring server."""

_CODE = Path(tlft.__file__).with_name("served_model.py")
_PACKAGES = ("mlflow", "torch", "torchvision", "timm", "numpy", "pandas", "pillow", "safetensors", "scikit-learn")


def log_model(client: MlflowClient, experiment_id: str, run_id: str, description: Mapping[str, Any]) -> None:
    """Log a model that `mlflow.pyfunc.load_model` loads; it refers to the weights that the run has logged.

    A run has one: where it is there already, nothing is done, and what is left of an attempt is deleted.
    """
    from mlflow import pyfunc, set_experiment
    from mlflow.models import Model

    for found in client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'"):
        if found.status.value == "READY":
            return
        client.delete_logged_model(found.model_id)
    with TemporaryDirectory() as folder, quiet():
        set_experiment(experiment_id=experiment_id)  # else it goes to the experiment Default
        told = Path(folder) / "model.json"
        told.write_text(json.dumps({**description, "run_id": run_id}, indent=1))
        Model.log(
            artifact_path=None,
            name="model",
            flavor=pyfunc,
            run_id=run_id,
            python_model=str(_CODE),
            artifacts={"description": str(told)},
            signature=_signature(description["classes"]),
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in _PACKAGES],
        )


def _signature(classes: Sequence[str]) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    probabilities = [ColSpec("float", f"p/{name}") for name in classes]
    outputs = [ColSpec("string", "predicted"), ColSpec("float", "confidence"), *probabilities]
    return ModelSignature(Schema([ColSpec("string", "image")]), Schema([*outputs]))


def find_model(name: str, uri: str | None = None, home: Path | None = None) -> tuple[dict[str, Any], Path]:
    """Return the description and the weights of a logged model; what a server keeps is fetched.

    Args:
        name: a run's id, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        uri: of the tracking store.
        home: whose database is meant, if `uri` is not given.

    Raises:
        TlftError: if there is none, or the store does not answer.
    """
    uri = tracking_uri(uri, home)
    with answering(uri), quiet():
        client = connect_existing(uri, name)
        run = existing_run(client, _run_of(client, name))
        model = _model_of(client, run)
        told = _fetch(model.artifact_location, f"models:/{model.model_id}", _DESCRIPTION)
        weights = _fetch(run.info.artifact_uri, f"runs:/{run.info.run_id}", WEIGHTS_FILE)
    return json.loads(told.read_text(encoding="utf-8")), weights


_DESCRIPTION = "artifacts/model.json"


def _model_of(client: MlflowClient, run: Run) -> LoggedModel:
    mine = f"source_run_id = '{run.info.run_id}'"
    logged = client.search_logged_models([run.info.experiment_id], filter_string=mine)
    ready = [model for model in logged if model.status.value == "READY"]
    if SWEEP_TAG in run.data.tags:
        raise ConfigurationError(f"{run.info.run_id}: stands for a sweep; name one of the runs that it holds")
    if not ready:
        raise ConfigurationError(
            f"{run.info.run_id}: no weights were kept of this run; repeat it with tracking.weights=true force=true"
        )
    return ready[0]


def _run_of(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException

    if not name.startswith("models:/"):
        return name
    parts = re.fullmatch(r"models:/([^@/]+)(?:@([^/]+)|/(\d+))", name)
    if parts is None:
        raise ConfigurationError(f"{name}: write models:/NAME@ALIAS or models:/NAME/VERSION")
    model, alias, version = parts.groups()
    try:
        found = client.get_model_version_by_alias(model, alias) if alias else client.get_model_version(model, version)
    except MlflowException as error:
        raise ConfigurationError(f"{name}: no such registered model ({error.message}); register one first") from None
    return str(found.run_id)


def _fetch(artifact_uri: str, name: str, file: str) -> Path:
    folder = local_folder(artifact_uri)
    if folder is not None and (folder / file).is_file():
        return folder / file
    if folder is not None:
        raise TlftError(f"{folder / file}: is missing; put it back, or repeat the run with force=true")
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(f"{name}/{file}"))


def set_served_model() -> None:
    """Tell MLflow which object answers when it loads a logged model from its code."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException
    from mlflow.models import set_model
    from mlflow.protos.databricks_pb2 import BAD_REQUEST
    from mlflow.pyfunc.model import PythonModel, PythonModelContext

    with quiet():  # it would have type hints that it can check; bytes, text and paths are more than they can say

        class ServedModel(PythonModel):
            """Classify images in a column `image`: bytes, base64 text, or paths."""

            def load_context(self, context: PythonModelContext) -> None:
                """Load the weights that the run has logged."""
                from tlft.inference.classifier import Classifier

                description = json.loads(Path(context.artifacts["description"]).read_text())
                weights = local_folder(description["weights"])
                if weights is None or not weights.is_file():
                    weights = Path(download_artifacts(f"runs:/{description['run_id']}/{WEIGHTS_FILE}"))
                self.classifier = Classifier.load(description, weights)

            def predict(self, context: PythonModelContext, model_input: Any, params: Any = None) -> Any:
                """Return a data frame with a row for each image."""
                images = model_input["image"] if hasattr(model_input, "columns") else model_input
                if _SERVED not in os.environ:
                    return self.classifier.classify(list(images))
                try:
                    return self.classifier.classify(list(images), paths=False)
                except TlftError as error:
                    raise MlflowException(" ".join(str(error).split()), BAD_REQUEST) from None

    set_model(ServedModel())


def register_model(run_id: str, name: str, alias: str, card: str, uri: str | None = None) -> str:
    """Put the logged model of a run into the registry, and give it an alias; returns its version.

    A run that is registered under the name already keeps its version, whose card is written anew.

    Raises:
        TlftError: if there is no such run, or no model of it, or the store does not answer.
    """
    uri = tracking_uri(uri)
    with answering(uri), quiet():
        client = connect_existing(uri, run_id)
        run = existing_run(client, run_id)
        model = _model_of(client, run)
        if not client.search_registered_models(filter_string=f"name = '{name}'"):
            client.create_registered_model(name)
        versions = [
            found for found in client.search_model_versions(f"name = '{name}'") if found.run_id == run.info.run_id
        ]
        source = f"models:/{model.model_id}"
        made = versions[0] if versions else client.create_model_version(name, source, run_id, model_id=model.model_id)
        client.update_model_version(name, made.version, description=card)
        client.set_registered_model_alias(name, alias, made.version)
    return str(made.version)
