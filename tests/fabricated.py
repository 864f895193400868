"""Records, predictions, images and configurations that tests make up."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from analysis.comparison_table import Table, add_evidence, build_table
from tlft.config.compose import Composer
from tlft.config.paths import PROJECT
from tlft.config.resolve import resolve
from tlft.config.schema import Config
from tlft.config.typed import to_config
from tlft.planning.jobs import Job, PlannedJob
from tlft.planning.plan import plan_jobs
from tlft.records.record import Record

ZERO_SHOT = ("pretrained", "imagenet1k", "none")
FINE_TUNE = ("pretrained", "task", "all")
FROM_SCRATCH = ("scratch", "task", "all")
LINEAR_PROBE = ("pretrained", "task", "head")
EVAL, MAP, TRAIN = "a1" * 32, "b2" * 32, "c3" * 32


_numbers = itertools.count()


def run(
    column: tuple[str, str, str],
    accuracy: float = 0.9,
    data: str = "photos",
    status: str = "FINISHED",
    changes: dict[str, str] | None = None,
    **more: str,
) -> Record:
    """Make a record, newer than those before; `changes` (and `more`, with `__` for the dot) are params."""
    model, head, trainable = column
    params = {"model.name": model, "head.name": head, "training.trainable": trainable, "precision": "auto"}
    params |= {"format": "1", "arch.library": "torchvision", "arch.name": "resnet50", "data.eval": EVAL}
    params |= {"transform.resize": "256", "transform.crop": "224"}
    params |= {"model.weights": "0676ba61"} if model != "scratch" else {}
    params |= {"class_map": MAP} if head == "imagenet1k" else {}
    if trainable != "none":
        params |= {"data.train": TRAIN, "training.epochs": "50", "training.batch_size": "64", "seed": "0"}
        params |= {"optimizer.name": "sgd", "optimizer.lr": "0.01", "optimizer.momentum": "0.5"}
    params |= changes or {}
    params |= {name.replace("__", "."): text for name, text in more.items()}
    metrics = {"eval/accuracy": accuracy, "eval/closed_set_accuracy": accuracy} if status == "FINISHED" else {}
    key, number = json.dumps(params, sort_keys=True), next(_numbers)
    return Record(f"{number:032x}", "a name", status, False, number, key, params, {"data": data}, metrics)


IMAGES = 153


def predict(right: int, *, spoiled: int = 0, closed: int | None = None, images: int = IMAGES) -> pd.DataFrame:
    """Return predictions that are right about the first images but for a few, and closed-set about other first ones."""
    index = np.arange(images)
    labels = np.where(index % 2, "bees", "ants")
    correct = (index >= spoiled) & (index < right + spoiled)
    other = np.where(labels == "ants", "bees", "ants")
    found_closed = index < closed if closed is not None else correct
    ants = np.where(found_closed == (labels == "ants"), 0.8, 0.1)
    return pd.DataFrame(
        {
            "file": [f"val/{number}.jpg" for number in index],
            "sha256": [f"{number:064x}" for number in index],
            "label": labels,
            "predicted": np.where(correct, labels, other),
            "confidence": np.full(images, 0.8, np.float32),
            "p/ants": ants,
            "p/bees": 0.9 - ants,
        }
    )


CLASSES = ("ants", "bees", "wasps")


def network(seed: int, *, wrong: dict[int, str] | None = None, skill: float = 4.0, images: int = 90) -> pd.DataFrame:
    """Return the predictions of a network that is sure of most labels, and as sure of other classes for some images."""
    random = np.random.default_rng(seed)
    labels = [CLASSES[index % 3] for index in range(images)]
    logits = random.normal(size=(images, 3))
    for index, label in enumerate(labels):
        logits[index, CLASSES.index((wrong or {}).get(index, label))] += skill + (index in (wrong or {})) * 3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) * 0.9  # as of a head with other classes too
    return pd.DataFrame(
        {
            "file": [f"val/{index}.png" for index in range(images)],
            "sha256": [f"{index:064x}" for index in range(images)],
            "label": labels,
            **{f"p/{name}": p[:, place] for place, name in enumerate(CLASSES)},
        }
    )


ENDINGS = {"terminal": "txt", "markdown": "md", "csv": "csv", "json": "json", "latex": "tex"}
"""Of the golden tables, made from records.json; read the difference before a file is replaced."""


def golden_records() -> list[Record]:
    """Return the checked-in records, of which the golden tables are made."""
    records = json.loads((PROJECT / "tests" / "data" / "records.json").read_text())
    return [Record(**values) for values in records]


def table_of(*runs: tuple[Record, pd.DataFrame | None], full: bool = False, all_columns: bool = False) -> Table:
    """Make a table of runs and what they predict, with its evidence."""
    table = build_table([record for record, _ in runs], command="python -m analysis.table", all_columns=all_columns)
    return add_evidence(table, {r.run_id: frame for r, frame in runs if frame is not None}, full=full)


def three_columns() -> Table:
    """Make a table of a run for each of the three columns, with the published figures."""
    return table_of(
        (run(ZERO_SHOT, 133 / IMAGES), predict(133, closed=149)),
        (run(FINE_TUNE, 146 / IMAGES), predict(146, spoiled=1)),
        (run(FROM_SCRATCH, 105 / IMAGES), predict(105)),
    )


def scene(seed: int, size: tuple[int, int] = (200, 160)) -> Image.Image:
    """Draw something smooth, as photographs are, and unlike that of any other seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def folder_of(root: Path, copies: dict[str, Image.Image]) -> Path:
    """Write unlike scenes into every split and class, and what else is asked for."""
    for split in ("train", "val"):
        for label, name in enumerate(("ants", "bees")):
            (root / split / name).mkdir(parents=True)
            for index in range(5):
                scene(1000 * label + 100 * len(split) + index).save(root / split / name / f"{index}.png")
    for file, image in copies.items():
        image.save(root / file, quality=60)
    return root


SMALL = ("data=imagefolder", "arch=efficientnet_lite0", "training.epochs=2", "training.batch_size=6", "threads=1")


def compose(composer: Composer, home: Path, folder: Path, *overrides: str) -> Config:
    return resolve(to_config(composer.compose([f"paths.home={home}", f"data.root={folder}", *SMALL, *overrides])))


def plan_of(configs: Sequence[Config]) -> list[PlannedJob]:
    """Return the plan of a sweep of jobs that Hydra has not composed."""
    return plan_jobs([Job(number, config) for number, config in enumerate(configs)])
