"""The measures of a split, computed from what a network says of its images."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score, recall_score

from tlft.evaluation.predictions import Predictions
from tlft.names import escape_all


def compute_metrics(predictions: Predictions, prefix: str = "eval") -> dict[str, float]:
    """Return the measures of a split.

    `accuracy` is open-set, `closed_set_accuracy` and `loss` are closed-set; in `macro_f1` and `recall/<class>` a
    prediction outside the data's classes is a miss.
    """
    labels, predicted = predictions.labels, predictions.predicted
    indices = list(range(len(predictions.classes)))
    recalls = recall_score(labels, predicted, labels=indices, average=None, zero_division=0)
    closed = predictions.log_closed.argmax(axis=1)
    metrics = {
        f"{prefix}/accuracy": float(predictions.correct.mean()),
        f"{prefix}/closed_set_accuracy": float((closed == labels).mean()),
        f"{prefix}/loss": float(-predictions.log_closed[np.arange(len(labels)), labels].mean()),
        f"{prefix}/macro_f1": float(f1_score(labels, predicted, labels=indices, average="macro", zero_division=0)),
    }
    names = escape_all(predictions.classes)
    return metrics | {f"{prefix}/recall/{name}": float(value) for name, value in zip(names, recalls, strict=True)}
