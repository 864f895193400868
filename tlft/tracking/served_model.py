"""The code that MLflow runs to load a logged model ("models from code"): no pickle is involved.

It is copied into the model, which may be loaded where tlft is not: then the model's own copy of tlft answers.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc.model import PythonModel, PythonModelContext

_SERVED = "__pyfunc_model_path__"  # stands in the environment of MLflow's scoring server

with warnings.catch_warnings(record=True):  # it would have type hints that it can check; these say more than it can

    class ServedModel(PythonModel):
        """Classify images in a column `image`: bytes, base64 text, or paths."""

        def load_context(self, context: PythonModelContext) -> None:
            """Build the network again, with its weights."""
            # Last, so that a process that has a tlft of its own, and the processes that it begins, keep to that.
            if (code := context.artifacts.get("code")) and code not in sys.path:
                sys.path.append(code)
            from tlft.inference.classifier import Classifier

            description = json.loads(Path(context.artifacts["description"]).read_text(encoding="utf-8"))
            self.classifier = Classifier.load(description, self.find_weights(context, description))

        def find_weights(self, context: PythonModelContext, description: Mapping[str, Any]) -> Path:
            """Return the file of the weights, which the model holds."""
            return Path(context.artifacts["weights"])

        def predict(self, context: PythonModelContext, model_input: Any, params: Any = None) -> Any:
            """Return a data frame with a row for each image."""
            from tlft.errors import TlftError, one_line

            images = model_input["image"] if hasattr(model_input, "columns") else model_input
            if _SERVED not in os.environ:
                return self.classifier.classify(list(images))
            try:
                return self.classifier.classify(list(images), paths=False)
            except TlftError as error:
                raise MlflowException(one_line(error), BAD_REQUEST) from None


set_model(ServedModel())
