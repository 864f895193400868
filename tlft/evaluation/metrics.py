"""The measures of a split, computed from what a network says of its images.

Those of `measures_of_classes` need but counts, and no PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tlft.names import Metric, escape_all

if TYPE_CHECKING:
    from tlft.evaluation.predictions import Predictions

FEW_CLASSES = 10
"""More are worth a look at the five that a network holds most likely."""

MOST_RECALLS = 100
"""Classes whose recalls are figures of a run; those of more are a file, since MLflow's pages draw a chart for each."""


def compute_metrics(predictions: Predictions, labels: np.ndarray) -> dict[str, float]:
    """Return the measures of a split's predictions against the labels, int64 [n].

    `accuracy` is open-set, `closed_set_accuracy` and `loss` are closed-set. With more than `FEW_CLASSES` there is
    `top5_accuracy` too, all outputs competing. The others are those of `measures_of_classes`.
    """
    log_closed, classes = predictions.log_closed, predictions.label_space.classes
    metrics = {
        Metric.ACCURACY: float(predictions.correct(labels).mean()),
        Metric.CLOSED_SET_ACCURACY: float((log_closed.argmax(axis=1) == labels).mean()),
        Metric.LOSS: float(-log_closed[np.arange(len(labels)), labels].mean()),
    }
    if len(classes) > FEW_CLASSES:
        metrics[Metric.TOP5_ACCURACY] = float(predictions.among_first(labels, 5).mean())
    return metrics | measures_of_classes(predictions.confusion(labels)[0], classes)


def measures_of_classes(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Return the measures that look at each class by itself, of counts [classes, columns] by label and prediction.

    Columns beyond the classes are predictions outside them, which are misses. `balanced_accuracy` is the mean recall of
    the classes that have images (Brodersen et al. 2010; scikit-learn's `balanced_accuracy_score`), which others call
    macro accuracy: a rare class counts as much as a common one. `macro_f1` is the mean F1 of all classes. With more
    than `MOST_RECALLS` classes `recall/<class>` is left to a file.
    """
    recalls, totals = recalls_of(matrix), matrix.sum(axis=1)
    measures = {
        Metric.BALANCED_ACCURACY: float(recalls[totals > 0].mean()),
        Metric.MACRO_F1: float(_f1_of(matrix).mean()),
    }
    if len(classes) > MOST_RECALLS:
        return measures
    names = [f"{Metric.RECALL}{name}" for name in escape_all(classes)]
    return measures | dict(zip(names, recalls.tolist(), strict=True))


def recalls_of(matrix: np.ndarray) -> np.ndarray:
    """Return the share of each class's images that are predicted as it, float64 [classes]; 0 of one without images."""
    return np.asarray(matrix.diagonal() / np.maximum(matrix.sum(axis=1), 1))


def _f1_of(matrix: np.ndarray) -> np.ndarray:
    """Return of each class the harmonic mean of recall and precision, float64 [classes]; 0 of one without images."""
    hits, classes = matrix.diagonal(), len(matrix)
    return np.asarray(2 * hits / np.maximum(matrix.sum(axis=1) + matrix[:, :classes].sum(axis=0), 1))
