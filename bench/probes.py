"""A hundred linear probes, end to end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from bench.epochs import best_workers
from bench.pairs import Comparison, Figure, Side, Sizes
from bench.photographs import copy_photographs, count_training
from bench.processes import run, side, tlft, told_time, whole_time

ARCH = "efficientnet_lite0"
_HOLDOUT, _EPOCHS, _PROBES_OF_A_SEED = 0.2, 50, 20  # of `sweep=probes`


def comparisons() -> Iterator[Comparison]:
    """Yield the one that there is."""
    yield Comparison(
        (
            Figure(
                "probes100/over_tutorial",
                "over_tutorial",
                "probes",
                f"100 probes of {ARCH}, each with its run in MLflow, whole process: the tutorial's loop "
                "with a frozen network, an epoch of one probe measured and scaled to 50 epochs of 100 probes",
            ),
            Figure(
                "probes100/over_zero_shot",
                "over_zero_shot",
                "probes",
                f"the same 100 probes: one run of {ARCH} with experiment=zero_shot force=true, whole process; "
                "neither finds features",
                round(1 / 6, 3),
            ),
        ),
        _prepare,
    )


def _prepare(folder: Path, sizes: Sizes) -> Mapping[str, Side]:
    photographs = copy_photographs(folder / "photographs", sizes.photographs)
    data = (f"arch={ARCH}", "data=imagefolder", f"data.root={photographs}")
    trained = round((1 - _HOLDOUT) * count_training(photographs))
    probes = _PROBES_OF_A_SEED * sizes.probe_seeds

    @cache
    def home_of(number: int) -> Path:
        """Return a home that has a database and decoded images."""
        shutil.rmtree(folder / f"home{number - 1}", ignore_errors=True)
        home = folder / f"home{number}"
        run(*tlft(home, *data, "experiment=zero_shot"))
        return home

    def without_features(number: int) -> Path:
        """Return it as each side finds it: what the other has computed is no gain of its own."""
        shutil.rmtree(home_of(number) / "cache" / "features", ignore_errors=True)
        return home_of(number)

    def tlft_probes(number: int) -> float:
        seeds = ",".join(map(str, range(sizes.probe_seeds)))
        return whole_time(*tlft(without_features(number), *data, "sweep=probes", f"seed={seeds}"))

    def zero_shot(number: int) -> float:
        return whole_time(*tlft(without_features(number), *data, "experiment=zero_shot", "force=true"))

    workers = cache(lambda: best_workers(ARCH, photographs, count_training(photographs)))

    def tutorial(_: int) -> float:
        return probes * _EPOCHS * told_time(side("tutorial", photographs, ARCH, workers(), trained, "probe"), folder)

    return {"probes": tlft_probes, "over_zero_shot": zero_shot, "over_tutorial": tutorial}
