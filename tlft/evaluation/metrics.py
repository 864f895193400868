"""The measures of a split, computed from what a network says of its images."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score, recall_score

from tlft.evaluation.predictions import Predictions
from tlft.names import Metric, escape_all


def compute_metrics(predictions: Predictions, labels: np.ndarray) -> dict[str, float]:
    """Return the measures of a split's predictions against the labels, int64 [n].

    `accuracy` is open-set, `closed_set_accuracy` and `loss` are closed-set; in `macro_f1` and `recall/<class>` a
    prediction outside the data's classes is a miss.
    """
    predicted, log_closed, classes = predictions.predicted, predictions.log_closed, predictions.label_space.classes
    indices = list(range(len(classes)))
    recalls = recall_score(labels, predicted, labels=indices, average=None, zero_division=0)
    metrics = {
        Metric.ACCURACY: float(predictions.correct(labels).mean()),
        Metric.CLOSED_SET_ACCURACY: float((log_closed.argmax(axis=1) == labels).mean()),
        Metric.LOSS: float(-log_closed[np.arange(len(labels)), labels].mean()),
        Metric.MACRO_F1: float(f1_score(labels, predicted, labels=indices, average="macro", zero_division=0)),
    }
    names = [f"{Metric.RECALL}{name}" for name in escape_all(classes)]
    return metrics | dict(zip(names, recalls.tolist(), strict=True))
