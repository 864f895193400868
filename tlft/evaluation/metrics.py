"""The measures of a split, computed from what a network says of its images."""

from __future__ import annotations

import numpy as np

from tlft.evaluation.predictions import Predictions
from tlft.names import Metric, escape_all

FEW_CLASSES = 10
"""More are worth a look at the five that a network holds most likely."""

MOST_RECALLS = 100
"""Classes whose recalls are figures of a run; those of more are a file, since MLflow's pages draw a chart for each."""


def compute_metrics(predictions: Predictions, labels: np.ndarray) -> dict[str, float]:
    """Return the measures of a split's predictions against the labels, int64 [n].

    `accuracy` is open-set, `closed_set_accuracy` and `loss` are closed-set; in `macro_f1` and `recall/<class>` a
    prediction outside the data's classes is a miss. With more than `FEW_CLASSES` there is `top5_accuracy` too, all
    outputs competing; with more than `MOST_RECALLS` the recalls are left to `recalls_of`.
    """
    log_closed, classes = predictions.log_closed, predictions.label_space.classes
    metrics = {
        Metric.ACCURACY: float(predictions.correct(labels).mean()),
        Metric.CLOSED_SET_ACCURACY: float((log_closed.argmax(axis=1) == labels).mean()),
        Metric.LOSS: float(-log_closed[np.arange(len(labels)), labels].mean()),
        Metric.MACRO_F1: float(_f1_of(predictions, labels).mean()),
    }
    if len(classes) > FEW_CLASSES:
        metrics[Metric.TOP5_ACCURACY] = float(predictions.among_first(labels, 5).mean())
    if len(classes) > MOST_RECALLS:
        return metrics
    names = [f"{Metric.RECALL}{name}" for name in escape_all(classes)]
    return metrics | dict(zip(names, recalls_of(predictions, labels).tolist(), strict=True))


def recalls_of(predictions: Predictions, labels: np.ndarray) -> np.ndarray:
    """Return the share of each class's images that are predicted as it, float64 [classes]; 0 of one without images."""
    matrix, _ = predictions.confusion(labels)
    return np.asarray(matrix.diagonal() / np.maximum(matrix.sum(axis=1), 1))


def _f1_of(predictions: Predictions, labels: np.ndarray) -> np.ndarray:
    """Return of each class the harmonic mean of recall and precision, float64 [classes]; 0 of one without images."""
    matrix, _ = predictions.confusion(labels)
    hits, classes = matrix.diagonal(), len(matrix)
    return np.asarray(2 * hits / np.maximum(matrix.sum(axis=1) + matrix[:, :classes].sum(axis=0), 1))
