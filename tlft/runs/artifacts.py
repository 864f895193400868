"""Write the files that are kept of a run."""

from __future__ import annotations

import json
import threading
import zlib
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlft.config.columns import column_of
from tlft.config.data_schema import NEAR_DUPLICATES
from tlft.data.class_map import to_json as class_map_to_json
from tlft.names import CURVES, Artifact, flatten
from tlft.runs.context import RunContext
from tlft.runtime.environment import describe_environment, source_state

if TYPE_CHECKING:
    from tlft.data.batches import Split
    from tlft.evaluation.predictions import Predictions


def write_artifacts(context: RunContext, predictions: Predictions, folder: Path) -> None:
    """Write every file that is kept of a run into `folder`."""
    import pandas as pd

    from tlft.duplicates.near_duplicates import group_by_likeness, to_json
    from tlft.evaluation.metrics import MOST_RECALLS, recalls_of
    from tlft.evaluation.predictions import predictions_frame
    from tlft.runs.seen_before import write_training_images
    from tlft.training.checkpoint import save_tensors

    identity, split = context.identity, context.images.eval
    groups = None
    if context.config.data.group == NEAR_DUPLICATES:
        groups = group_by_likeness(split.files, context.near_duplicates or [])
    frame = predictions_frame(split.files, predictions, identity.dataset.root, groups)
    frame.to_parquet(folder / Artifact.PREDICTIONS, index=False)
    if len(identity.dataset.classes) > MOST_RECALLS:
        recalls = recalls_of(predictions.confusion(split.labels)[0])
        pd.DataFrame({"class": identity.dataset.classes, "recall": recalls}).to_csv(
            folder / Artifact.RECALLS, index=False
        )
    _draw(folder, split, predictions, context.run.name)
    _draw_curves(folder, context)
    class_map, near_duplicates = identity.label_space.class_map, context.near_duplicates
    texts = {
        Artifact.LAYERS: _describe_layers(context),
        Artifact.CONFIG: context.composed,
        Artifact.ENVIRONMENT: json.dumps(describe_environment(context.machine), indent=1),
        Artifact.RUN_KEY: json.dumps(identity.science, indent=1, sort_keys=True),
        Artifact.DIFF: source_state().diff if context.config.tracking.source else "",
        Artifact.CLASS_MAP: class_map_to_json(class_map) if class_map else "",
        Artifact.NEAR_DUPLICATES: "" if near_duplicates is None else to_json(near_duplicates),
    }
    if context.profile is not None and context.profile.table:
        texts[Artifact.PROFILE] = context.profile.table
        (folder / Artifact.TRACE).write_bytes(context.profile.trace)
    for name, text in texts.items():
        if text:
            (folder / name).write_text(text, encoding="utf-8")
    if context.config.tracking.weights:
        path = folder / Artifact.WEIGHTS
        path.parent.mkdir()
        save_tensors(context.model.state_dict(), path)
        write_training_images(context, folder / Artifact.TRAINING_IMAGES)  # for runs that start from those weights


def import_ahead() -> None:
    """Have a thread import what `write_artifacts` needs, while another computes: a second that no run waits for."""

    def imports() -> None:
        with suppress(Exception):  # it is raised again where it is needed
            for name in ("pyarrow.parquet", "tlft.evaluation.plots", "tlft.evaluation.curve_plots"):
                import_module(name)

    threading.Thread(target=imports, name="imports").start()


_layers: dict[tuple[object, ...], str] = {}


def _describe_layers(context: RunContext) -> str:
    """Return the table of layers, made once in a process for runs of one network: it takes a forward pass."""
    from tlft.models.describe import summarize

    config, crop = context.config, context.identity.weights.transform.crop
    outputs = len(context.identity.dataset.classes) if config.head.name == "task" else None
    key = (config.arch.library, config.arch.name, outputs, config.training.trainable, crop)
    if key not in _layers:
        _layers[key] = summarize(context.model, crop)
    return _layers[key]


def _draw(folder: Path, split: Split, predictions: Predictions, title: str) -> None:
    import numpy as np

    from tlft.evaluation.plots import GalleryItem, draw_confusion, draw_gallery, select_for_gallery

    classes, confidence, names = predictions.label_space.classes, predictions.confidence, predictions.names
    correct = predictions.correct(split.labels)
    of_label = predictions.probabilities[np.arange(len(split.labels)), split.labels]
    chosen = select_for_gallery(correct, confidence, split.labels)
    items = [
        GalleryItem(
            pixels=pixels,
            label=classes[split.labels[index]],
            predicted=names[index],
            confidence=float(confidence[index]),
            label_probability=float(of_label[index]),
            correct=bool(correct[index]),
        )
        for index, pixels in zip(chosen, split.pixels[np.array(chosen, dtype=np.int64)], strict=True)
    ]
    gallery = draw_gallery(items, int((~correct).sum()), len(correct))
    gallery.save(folder / Artifact.GALLERY, compress_type=zlib.Z_RLE)  # of photographs as small, and faster
    matrix, columns = predictions.confusion(split.labels)
    (folder / Artifact.CONFUSION).write_bytes(draw_confusion(matrix, classes, columns, title))


def _draw_curves(folder: Path, context: RunContext) -> None:
    from tlft.evaluation.curve_plots import History, draw_training

    column = column_of(flatten(context.identity.science))
    key, name = column.key if column is not None else "", context.run.name
    picture = draw_training([History(key, name, {metric: context.run.history(metric) for metric in CURVES})], name)
    if picture is not None:
        (folder / Artifact.CURVES).write_bytes(picture)


def describe_model(context: RunContext) -> dict[str, Any]:
    """Return what it takes to build the network again, as plain JSON types."""
    from tlft.features.cache import describe_frozen
    from tlft.models.network import options_of

    arch, identity = context.config.arch, context.identity
    options = options_of(context.config, identity.weights.spec.transform.crop)
    return {
        "library": arch.library,
        "arch": arch.name,
        "head": context.config.head.name,
        "classes": list(identity.dataset.classes),
        "class_map": identity.label_space.class_map,
        "transform": identity.weights.transform.to_dict(),
        "precision": context.machine.precision,
        **({"any_size": True} if options.any_size else {}),
        "frozen": describe_frozen(context.model, context.config, identity.weights),
        "run_key": identity.key,
    }
