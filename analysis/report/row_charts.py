"""What is drawn of one row: training curves, what is taken for what, how sure the networks are and how often right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.narrative import percent, short_title
from analysis.report.material import Material
from analysis.rows import Row
from analysis.svg_charts import Curve, Frame, column_class, draw_confusion, draw_curves, draw_reliability
from tlft.config.columns import Column
from tlft.evaluation.metrics import MOST_RECALLS
from tlft.names import Artifact, Metric, natural_order
from tlft.records.folds import part_ids

_MAX_CLASSES = 24
_MAX_CONFUSIONS = 12  # and classes, in a list

_CAPTIONS = {
    Metric.TRAIN_LOSS: "loss on the training images",
    Metric.CURVE_LOSS: "loss on the evaluation images, for looking only",
    Metric.TRAIN_ACCURACY: "accuracy on the training images, %",
    Metric.CURVE_ACCURACY: "accuracy on the evaluation images, %, for looking only",
}
_NEIGHBOURS = ((Metric.TRAIN_LOSS, Metric.CURVE_LOSS, 1.0), (Metric.TRAIN_ACCURACY, Metric.CURVE_ACCURACY, 100.0))
"""Curves that share their axes, and the factor of what is written at them."""


def draw_row(material: Material, row: Row) -> dict[str, Any]:
    """Return the pictures of a row, of each column that it has."""
    columns = [column for column in material.table.columns if column.key in row.cells]
    return {**_draw_training(material, row, columns), **_draw_classes(material, row, columns)}


def _draw_training(material: Material, row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    names = {column.key: short_title(column) for column in columns}
    charts, longest = [], 0
    for first, second, unit in _NEIGHBOURS:
        by_metric = {metric: _curves(material, row, metric) for metric in (first, second)}
        drawn = {metric: curves for metric, curves in by_metric.items() if curves}
        if not drawn:
            continue
        frame = Frame.around([curve for curves in drawn.values() for curve in curves])
        for metric, curves in drawn.items():
            longest = max(longest, *(len(curve.points) for curve in curves))
            picture = draw_curves(_CAPTIONS[metric], curves, frame, names, unit)
            charts.append({"caption": _CAPTIONS[metric], "picture": picture})
    return {"curves": charts, "mark": "thin line" if longest > 1 else "dot"}


def _curves(material: Material, row: Row, metric: str) -> list[Curve]:
    curves = [
        Curve(key, tuple((float(step), value) for step, value in material.curves.get(run_id, {}).get(metric, ())))
        for key, cell in row.cells.items()
        for joined in cell.run_ids
        for run_id in part_ids(joined)
    ]
    return [curve for curve in curves if curve.points]


def _draw_classes(material: Material, row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    """Draw the confusion matrix, or of many classes the worst confusions, and the reliability of each column."""
    confusions, reliabilities = [], []
    for column in columns:
        evidence = material.table.evidence_of(row, column.key)
        frames = [material.frames[run] for run in row.cells[column.key].run_ids if run in material.frames]
        if evidence is None or not frames:
            continue
        title, colour = short_title(column), column_class(column.key)
        runs = f"{len(frames)} runs" if len(frames) > 1 else "one run"
        confusions.append({"caption": f"{title}, {runs}", "colour": colour, **_confusion(frames, title)})
        bins = evidence.reliability
        caption = f"{title}: expected calibration error {percent(bins.error)}\u00a0%"
        caption += f" ({percent(bins.error_by_chance)}\u00a0% by chance, were it perfectly calibrated)"
        picture = draw_reliability(f"Reliability, {title}", column.key, bins)
        reliabilities.append({"caption": caption, "colour": colour, "picture": picture})
    return {"confusions": confusions, "reliabilities": reliabilities}


def _confusion(frames: Sequence[pd.DataFrame], title: str) -> dict[str, Any]:
    """Return a picture of the matrix, or lists of what is worst in it where there are too many classes for one."""
    labels, predicted = (pd.concat([frame[name] for frame in frames]).astype(str) for name in ("label", "predicted"))
    classes = sorted(labels.unique(), key=natural_order)
    if len(classes) > _MAX_CLASSES:
        worst = {"worst": _worst(labels, predicted), "least": _least_found(labels, predicted)}
        file = Artifact.RECALLS if len(classes) > MOST_RECALLS else ""
        return {"picture": None, **worst, "classes": len(classes), "file": file}
    names, shares = confusion_shares(labels, predicted)
    return {"picture": draw_confusion(f"Confusion matrix, {title}", classes, names, shares), "worst": []}


def confusion_shares(labels: pd.Series, predicted: pd.Series) -> tuple[list[str], list[list[float]]]:
    """Return the columns' names, and the share of each true class that is predicted as each of them."""
    classes = sorted(labels.unique(), key=natural_order)
    other = "other" if "other" not in classes else "none of these"
    predicted = predicted.where(predicted.isin(classes), other)
    names = [*classes, other] if other in set(predicted) else classes
    shares = pd.crosstab(labels.to_numpy(), predicted.to_numpy(), normalize="index")
    return names, shares.reindex(index=classes, columns=names, fill_value=0.0).to_numpy().tolist()


def _worst(labels: pd.Series, predicted: pd.Series) -> list[dict[str, Any]]:
    """Return the commonest mistakes: which class is taken for which, of how many of its images."""
    wrong = (labels != predicted).to_numpy()
    pairs = pd.DataFrame({"label": labels[wrong].to_numpy(), "predicted": predicted[wrong].to_numpy()}).value_counts()
    of_class = labels.value_counts()
    counted = pairs.reset_index().sort_values(["count", "label", "predicted"], ascending=[False, True, True])
    return [
        {"label": label, "predicted": name, "count": count, "images": int(of_class[label])}
        for label, name, count in counted.head(_MAX_CONFUSIONS).itertuples(index=False)
    ]


def _least_found(labels: pd.Series, predicted: pd.Series) -> list[dict[str, Any]]:
    """Return the classes of which the smallest share of images is found, and how many those are."""
    found = (labels == predicted).groupby(labels.to_numpy()).agg(["sum", "count"])
    found["share"] = found["sum"] / found["count"]
    found = found.loc[sorted(found.index, key=natural_order)].sort_values(["share", "count"], ascending=[True, False])
    return [
        {"label": label, "count": int(count), "images": int(images)}
        for label, count, images, _ in found.head(_MAX_CONFUSIONS).itertuples()
    ]
