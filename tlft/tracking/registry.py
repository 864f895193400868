"""Find the logged model of a run, by the run or by a registered name; and put it into MLflow's registry."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tlft.database.places import local_folder, tracking_uri
from tlft.errors import ConfigurationError, TlftError
from tlft.names import Artifact, Tag
from tlft.tracking.client import connect_existing, existing_run, logged_models, quiet
from tlft.tracking.server import answering

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run


def find_model(name: str, uri: str | None = None) -> tuple[dict[str, Any], Path]:
    """Return the description and the weights of a logged model; what a server keeps is fetched.

    It is named by a run's id, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        TlftError: if there is none, or the store does not answer.
    """
    uri = tracking_uri(uri)
    with answering(uri), quiet:
        client = connect_existing(uri, name)
        run = existing_run(client, _run_of(client, name))
        model = _model_of(client, run)
        place = f"artifacts/{Artifact.MODEL_DESCRIPTION}"
        description = _fetch(model.artifact_location, f"models:/{model.model_id}", place)
        weights = _fetch(run.info.artifact_uri, f"runs:/{run.info.run_id}", Artifact.WEIGHTS)
    return json.loads(description.read_text(encoding="utf-8")), weights


def _model_of(client: MlflowClient, run: Run) -> LoggedModel:
    logged = logged_models(client, run.info.experiment_id, run.info.run_id)
    ready = [model for model in logged if model.status.value == "READY"]
    if Tag.SWEEP_KEY in run.data.tags:
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
        if alias:
            return str(client.get_model_version_by_alias(model, alias).run_id)
        return str(client.get_model_version(model, version).run_id)
    except MlflowException as error:
        raise ConfigurationError(f"{name}: no such registered model ({error.message}); register one first") from None


def _fetch(artifact_uri: str, name: str, file: str) -> Path:
    folder = local_folder(artifact_uri)
    if folder is None:
        from mlflow.artifacts import download_artifacts

        return Path(download_artifacts(f"{name}/{file}"))
    if not (folder / file).is_file():
        raise TlftError(f"{folder / file}: is missing; put it back, or repeat the run with force=true")
    return folder / file


_ABOUT = (
    "Networks of image classification that tlft has trained. An alias names the version that is in use: "
    '`mlflow.pyfunc.load_model("models:/{name}@{alias}")` loads it, and each version says what it is.'
)


class Card(NamedTuple):
    """What is said of a version: in Markdown, and in tags to filter by."""

    text: str
    tags: Mapping[str, str]


def register_model(run_id: str, name: str, alias: str, card: Card, uri: str | None = None) -> str:
    """Put the logged model of a run into the registry, and give it an alias; returns its version.

    A run that is registered under the name already keeps its version, whose card is written anew.

    Raises:
        TlftError: if there is no such run, or no model of it, or the store does not answer.
    """
    uri = tracking_uri(uri)
    with answering(uri), quiet:
        client = connect_existing(uri, run_id)
        run = existing_run(client, run_id)
        model = _model_of(client, run)
        if not client.search_registered_models(filter_string=f"name = '{name}'"):
            client.create_registered_model(name, description=_ABOUT.format(name=name, alias=alias))
        registered = client.search_model_versions(f"name = '{name}'")
        version = next((str(version.version) for version in registered if version.run_id == run_id), None)
        if version is None:
            source = f"models:/{model.model_id}"
            version = str(client.create_model_version(name, source, run_id, model_id=model.model_id).version)
        client.update_model_version(name, version, description=card.text)
        for key, value in card.tags.items():
            client.set_model_version_tag(name, version, key, value)
        client.set_registered_model_alias(name, alias, version)
    return version
