"""The measures of a split, computed from what a network says of its images."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score, recall_score

from tlft.evaluation.predictions import Predictions
from tlft.names import escape_all


def compute_metrics(predictions: Predictions, labels: np.ndarray, prefix: str = "eval") -> dict[str, float]:
    """Return the measures of a split.

    `accuracy` is open-set, `closed_set_accuracy` and `loss` are closed-set; in `macro_f1` and `recall/<class>` a
    prediction outside the data's classes is a miss.

    Args:
        predictions: of the split's images.
        labels: their classes, int64 [n].
        prefix: begins the measures' names.
    """
    predicted, log_closed = predictions.predicted, predictions.log_closed
    classes = predictions.label_space.classes
    indices = list(range(len(classes)))
    recalls = recall_score(labels, predicted, labels=indices, average=None, zero_division=0)
    metrics = {
        f"{prefix}/accuracy": float(predictions.correct(labels).mean()),
        f"{prefix}/closed_set_accuracy": float((log_closed.argmax(axis=1) == labels).mean()),
        f"{prefix}/loss": float(-log_closed[np.arange(len(labels)), labels].mean()),
        f"{prefix}/macro_f1": float(f1_score(labels, predicted, labels=indices, average="macro", zero_division=0)),
    }
    return metrics | {f"{prefix}/recall/{name}": float(v) for name, v in zip(escape_all(classes), recalls, strict=True)}
