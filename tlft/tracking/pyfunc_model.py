"""Log a model that MLflow loads and serves, and answer when it does; what it computes is known to `tlft.inference`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tlft.errors import TlftError, one_line
from tlft.names import PROBABILITY, Artifact
from tlft.tracking.client import local_folder, logged_models, quiet

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SERVED = "__pyfunc_model_path__"  # stands in the environment of MLflow's scoring server
_CODE = Path(__file__).with_name("served_model.py")
_PACKAGES = ("mlflow", "torch", "torchvision", "timm", "numpy", "pandas", "pillow", "safetensors", "scikit-learn")


def log_model(client: MlflowClient, experiment_id: str, run_id: str, description: Mapping[str, Any]) -> None:
    """Log a model that `mlflow.pyfunc.load_model` loads; it refers to the weights that the run has logged.

    A run has one: where it is there already, nothing is done, and what is left of an attempt is deleted.
    """
    from mlflow import pyfunc, set_experiment
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    probabilities = [ColSpec("float", f"{PROBABILITY}{name}") for name in description["classes"]]
    outputs = [ColSpec("string", "predicted"), ColSpec("float", "confidence"), *probabilities]
    for logged in logged_models(client, experiment_id, run_id):
        if logged.status.value == "READY":
            return
        client.delete_logged_model(logged.model_id)
    with TemporaryDirectory() as folder, quiet():
        set_experiment(experiment_id=experiment_id)  # else it goes to the experiment Default
        file = Path(folder) / Artifact.MODEL_DESCRIPTION
        file.write_text(json.dumps({**description, "run_id": run_id}, indent=1))
        Model.log(
            artifact_path=None,
            name="model",
            flavor=pyfunc,
            run_id=run_id,
            python_model=str(_CODE),
            artifacts={"description": str(file)},
            signature=ModelSignature(Schema([ColSpec("string", "image")]), Schema([*outputs])),
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in _PACKAGES],
        )


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
                    weights = Path(download_artifacts(f"runs:/{description['run_id']}/{Artifact.WEIGHTS}"))
                self.classifier = Classifier.load(description, weights)

            def predict(self, context: PythonModelContext, model_input: Any, params: Any = None) -> Any:
                """Return a data frame with a row for each image."""
                images = model_input["image"] if hasattr(model_input, "columns") else model_input
                if _SERVED not in os.environ:
                    return self.classifier.classify(list(images))
                try:
                    return self.classifier.classify(list(images), paths=False)
                except TlftError as error:
                    raise MlflowException(one_line(error), BAD_REQUEST) from None

    set_model(ServedModel())
