"""An epoch of training, beside the tutorial's loop, other libraries, and the bare arithmetic."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import cache, partial
from pathlib import Path

import torch

from bench.pairs import Comparison, Figure, Side, Sizes
from bench.photographs import copy_photographs, count_training
from bench.processes import peers_python, run, side, tlft, told_time
from tlft.runtime.device import available_threads, resolve_precision

OVER_TUTORIAL = {"resnet50": 3.9, "efficientnet_lite0": 2.3}
"""Goals; that of ResNet-50 is for hardware that multiplies in bfloat16, and 3 in float32."""

_PEERS = {
    "over_tutorial": "the loop of PyTorch's tutorial: a DataLoader with the best of a few numbers of workers",
    "over_fastai": "fastai's Learner, with its defaults",
    "over_timm": "timm's loader with its prefetcher, with its defaults",
    "over_lightning": "Lightning's Trainer, with its defaults",
}
_BARE = "forward, backward and optimizer alone, in the same precision, on batches in memory"
_EPOCHS = 2  # of which the first warms up
_LAST_EPOCH = """
    select max(timestamp) - min(timestamp) from metrics where key = 'train/loss' and run_uuid =
    (select run_uuid from runs order by start_time desc limit 1)
"""


def comparisons() -> Iterator[Comparison]:
    """Yield one of each network; ours is measured in float32 too, in which the peers compute."""
    for arch, goal in OVER_TUTORIAL.items():
        name = f"epoch/{arch}"
        figures = [
            Figure(f"{name}/{peer}", peer, "tlft", f"an epoch of {arch}: {meaning}", goal if "tutorial" in peer else 1)
            for peer, meaning in _PEERS.items()
        ]
        figures.append(Figure(f"{name}/share_of_bare_step", "bare_step", "tlft", f"an epoch of {arch}: {_BARE}", 0.95))
        if arch == "resnet50":
            figures += _in_float32(name, f"an epoch of {arch} in float32")
        yield Comparison(figures, partial(_prepare, arch))


def _in_float32(name: str, meaning: str) -> list[Figure]:
    same = resolve_precision("auto", torch.device("cpu")) == "float32"  # then nothing is measured twice
    ours, bare = ("tlft", "bare_step") if same else ("tlft_float32", "bare_step_float32")
    return [
        Figure(f"{name}/float32/over_tutorial", "over_tutorial", ours, f"{meaning}: the tutorial's loop", 3),
        Figure(f"{name}/float32/share_of_bare_step", bare, ours, f"{meaning}: {_BARE}", 0.95),
    ]


def _prepare(arch: str, folder: Path, sizes: Sizes) -> Mapping[str, Side]:
    photographs = copy_photographs(folder / "photographs", sizes.photographs)
    images = count_training(photographs)
    peers = cache(peers_python)
    workers = cache(partial(best_workers, arch, photographs, images))

    def peer(name: str, *more: object) -> float:
        return told_time(side(name, photographs, arch, *more, python=peers()), folder)

    def bare(precision: str) -> float:
        return told_time(side("bare_step", arch, precision, images), folder)

    return {
        "tlft": partial(_epoch_of_tlft, arch, "auto", photographs, folder / "home"),
        "over_tutorial": lambda _: told_time(side("tutorial", photographs, arch, workers()), folder),
        "over_fastai": lambda _: peer("with_fastai"),
        "over_timm": lambda _: peer("with_timm"),
        "over_lightning": lambda _: peer("with_lightning", workers()),
        "bare_step": lambda _: bare("auto"),
        "tlft_float32": partial(_epoch_of_tlft, arch, "float32", photographs, folder / "home32"),
        "bare_step_float32": lambda _: bare("float32"),
    }


def best_workers(arch: str, photographs: Path, images: int) -> int:
    """Return with how many workers the tutorial's loop is fastest on half of the images: none, one a core, or four."""

    def seconds(workers: int) -> float:
        return told_time(side("tutorial", photographs, arch, workers, max(images // 2, 1)), photographs)

    return min(sorted({0, available_threads(), 4}), key=seconds)


def _epoch_of_tlft(arch: str, precision: str, photographs: Path, home: Path, number: int) -> float:
    """Do a whole run, and return the seconds between the ends of its epochs, as MLflow has them.

    So whatever a run does between its steps counts, and a checkpoint too.
    """
    data = ("data=imagefolder", f"data.root={photographs}")
    recipe = (f"arch={arch}", "model=scratch", f"training.epochs={_EPOCHS}", f"precision={precision}")
    run(*tlft(home, *data, *recipe, f"seed={number}", "tracking.weights=false"))
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        (milliseconds,) = database.execute(_LAST_EPOCH).fetchone()
    return float(milliseconds) / 1000 / (_EPOCHS - 1)
