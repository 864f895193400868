"""Write the files that are kept of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlft.config.schema import Config
from tlft.names import Artifact
from tlft.runs.identify import Identity, run_name
from tlft.runtime.device import Machine
from tlft.runtime.environment import describe_environment, source_state

if TYPE_CHECKING:
    from torch import nn

    from tlft.data.batches import Split
    from tlft.evaluation.predictions import Predictions


def write_artifacts(
    folder: Path,
    config: Config,
    known: Identity,
    split: Split,
    model: nn.Module,
    predictions: Predictions,
    machine: Machine,
    composed: str,
    layers: str,
) -> None:
    """Write every file that is kept of a run into `folder`."""
    from tlft.evaluation.predictions import predictions_frame

    frame = predictions_frame(split.files, predictions, known.dataset.root)
    frame.to_parquet(folder / Artifact.PREDICTIONS, index=False)
    _draw(folder, split, predictions, run_name(config))
    environment = json.dumps(describe_environment(machine), indent=1)
    texts = {
        Artifact.LAYERS: layers,
        Artifact.CONFIG: composed,
        Artifact.ENVIRONMENT: environment,
        Artifact.RUN_KEY: json.dumps(known.science, indent=1, sort_keys=True),
        Artifact.DIFF: source_state().diff,
        Artifact.CLASS_MAP: json.dumps(known.class_map, ensure_ascii=False) if known.class_map else "",
    }
    for name, text in texts.items():
        if text:
            (folder / name).write_text(text, encoding="utf-8")
    if config.tracking.weights:
        from tlft.training.checkpoint import save_tensors

        path = folder / Artifact.WEIGHTS
        path.parent.mkdir()
        save_tensors(model.state_dict(), path)


def _draw(folder: Path, split: Split, predictions: Predictions, title: str) -> None:
    from tlft.evaluation.plots import GalleryItem, draw_confusion, draw_gallery, select_for_gallery

    classes, confidence, names = predictions.label_space.classes, predictions.confidence, predictions.names
    correct = predictions.correct(split.labels)
    chosen = select_for_gallery(correct, confidence, split.labels)
    items = [
        GalleryItem(
            pixels=pixels,
            label=classes[split.labels[index]],
            predicted=names[index],
            confidence=float(confidence[index]),
            correct=bool(correct[index]),
        )
        for index, pixels in zip(chosen, split.pixels[np.array(chosen, dtype=np.int64)], strict=True)
    ]
    draw_gallery(items).save(folder / Artifact.GALLERY)
    matrix, columns = predictions.confusion(split.labels)
    (folder / Artifact.CONFUSION).write_bytes(draw_confusion(matrix, classes, columns, title))


def describe_model(config: Config, known: Identity, machine: Machine) -> dict[str, Any]:
    """Return what it takes to build the network again, as plain JSON types."""
    return {
        "library": config.arch.library,
        "arch": config.arch.name,
        "head": config.head.name,
        "classes": list(known.dataset.classes),
        "class_map": known.class_map,
        "transform": known.weights.transform.to_dict(),
        "precision": machine.precision,
        "run_key": known.key,
    }
