"""Log a model that MLflow loads and serves anywhere: it holds its weights, and what it needs of tlft."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tlft.database.places import local_folder
from tlft.names import LONGEST_NAME, PROBABILITY, Artifact
from tlft.tracking.client import logged_models, quiet
from tlft.tracking.run_folder import RunFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

_PACKAGE = Path(__file__).parents[1]
_ENTRY = _PACKAGE / "tracking" / "served_model.py"

_ROOMS = (
    "config",
    "storage",
    "terminal",
    "runtime",
    "pixels",
    "data",
    "synthetic",
    "models",
    "evaluation",
    "inference",
)
CARRIED = ("__init__.py", "commands.py", "errors.py", "names.py", *_ROOMS)
"""What a model takes with it of the package `tlft`: all that `tlft.inference.classifier` imports, directly or not."""

REQUIRED = (
    *("mlflow", "torch", "numpy", "pandas", "pillow", "safetensors", "scikit-learn"),
    *("omegaconf", "pyyaml", "filelock", "psutil", "requests", "urllib3", "rich"),
)
"""Libraries that this needs, by their names on PyPI, beside the one that the network is of: torchvision or timm."""


def log_model(client: MlflowClient, run: Run, folder: RunFolder, description: Mapping[str, Any]) -> None:
    """Log a model that `mlflow.pyfunc.load_model` loads, also where neither tlft nor the run's files are.

    A run has one: where it is there already, nothing is done, and what is left of an attempt is deleted.

    Args:
        client: of the store that has the run, and its files.
        run: the run.
        folder: holds the run's files until the store has everything.
        description: what it takes to build the network again, as plain JSON types.
    """
    from mlflow import pyfunc, set_experiment
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    _trust_pins()
    run_id, experiment_id = run.info.run_id, run.info.experiment_id
    probabilities = [ColSpec("float", f"{PROBABILITY}{name}") for name in description["classes"]]
    outputs = [ColSpec("string", "predicted"), ColSpec("float", "confidence"), *probabilities]
    for logged in logged_models(client, experiment_id, run_id):
        if logged.status.value == "READY":
            return
        client.delete_logged_model(logged.model_id)
    with TemporaryDirectory() as temporary, quiet:
        set_experiment(experiment_id=experiment_id)  # else it goes to the experiment Default
        file, code = Path(temporary) / Artifact.MODEL_DESCRIPTION, Path(temporary) / "code"
        file.write_text(json.dumps({**description, "run_id": run_id}, indent=1), encoding="utf-8")
        _copy_code(code / _PACKAGE.name)
        info = Model.log(
            artifact_path=None,
            name=model_name(run.info.run_name or ""),
            flavor=pyfunc,
            run_id=run_id,
            python_model=str(_ENTRY),
            artifacts={  # as addresses, since MLflow takes a path with %2F for one
                "description": file.as_uri(),
                "weights": (folder.files / Artifact.WEIGHTS).resolve().as_uri(),
                "code": code.as_uri(),  # not MLflow's `code_paths`, which would go before a tlft that is installed
            },
            signature=ModelSignature(Schema([ColSpec("string", "image")]), Schema([*outputs])),
            pip_requirements=[_pin(name) for name in (*REQUIRED, description["library"])],
        )
    _share_weights(client.get_logged_model(info.model_id), run, folder)


def _trust_pins() -> None:
    """Have MLflow not compare what a model requires with what is installed: it is what is installed, see `_pin`.

    It would ask every package which modules it has, which takes a second or two.
    """
    from mlflow.utils import environment

    environment.warn_dependency_requirement_mismatches = lambda _: None  # type: ignore[attr-defined,assignment]


def model_name(run_name: str) -> str:
    """Return the name of a run as MLflow takes it for its model, so that a list of models tells them apart."""
    return re.sub(r"""[/:.%"'\x00-\x1f]+""", "_", run_name)[:LONGEST_NAME].strip() or "model"


def _copy_code(to: Path) -> None:
    for path in _PACKAGE.rglob("*"):
        name = path.relative_to(_PACKAGE)
        if name.parts[0] in CARRIED and path.suffix in (".py", ".txt"):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to / name)


def _pin(name: str) -> str:
    """Require a library in the version in use; a local one (`2.9.0+cu126`) is on no index under that name."""
    return f"{name}=={metadata.version(name).partition('+')[0]}"


def _share_weights(model: LoggedModel, run: Run, folder: RunFolder) -> None:
    """Let the model's weights be those of the run under a second name, where both are on one file system."""
    place, artifacts = local_folder(model.artifact_location), local_folder(run.info.artifact_uri)
    if place is None or artifacts is None:
        return
    link = folder.path / "weights.tmp"  # a process that is killed here leaves it in a folder that is deleted
    with suppress(OSError):  # the model keeps its copy
        link.unlink(missing_ok=True)
        os.link(artifacts / Artifact.WEIGHTS, link)
        link.replace(place / "artifacts" / Path(Artifact.WEIGHTS).name)


def set_referring_model() -> None:
    """Let MLflow load a model of former versions, which refers to the weights that its run has logged."""
    from mlflow.artifacts import download_artifacts
    from mlflow.models import set_model
    from mlflow.pyfunc.model import PythonModelContext

    with quiet:
        from tlft.tracking.served_model import ServedModel

        class ReferringModel(ServedModel):
            def find_weights(self, context: PythonModelContext, description: Mapping[str, Any]) -> Path:
                weights = local_folder(description["weights"])
                if weights is not None and weights.is_file():
                    return weights
                return Path(download_artifacts(f"runs:/{description['run_id']}/{Artifact.WEIGHTS}"))

    set_model(ReferringModel())
