"""The label of a recipe: short for people, and naming everything in which two rows of a table differ.

A recipe is what a run's params say beyond its column and its seed; which runs share one is decided in rows.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from tlft.names import Param

Params = Mapping[str, str]

_OF_AN_ARCH = ("arch.", "transform.", "model.", "class_map")
"""What differs between architectures by nature; between the rows of one it is worth a word."""

_PHRASES: dict[str, Callable[[str], str]] = {
    Param.OPTIMIZER: lambda v: v,
    Param.LR: lambda v: f" lr {v}",
    Param.MOMENTUM: lambda v: "" if v == "0.0" else f" momentum {v}",
    Param.NESTEROV: lambda v: " nesterov" if v == "true" else "",
    "optimizer.beta1": lambda v: "" if v == "0.9" else f" beta1 {v}",
    "optimizer.beta2": lambda v: "" if v == "0.999" else f" beta2 {v}",
    Param.EPS: lambda v: "" if v == "1e-08" else f" eps {v}",
    Param.WEIGHT_DECAY: lambda v: "" if v == "0.0" else f" weight decay {v}",
    Param.SCHEDULE: lambda v: "" if v == "constant" else f", {v}",
    Param.WARMUP_EPOCHS: lambda v: "" if v == "0.0" else f", warm-up {v} epochs",
    Param.BATCH_SIZE: lambda v: f", batch {v}",
    Param.EPOCHS: lambda v: f", {v} epoch" if v == "1" else f", {v} epochs",
    Param.FLIP: lambda v: "" if v == "true" else ", no flips",
    Param.KEEP: lambda v: "" if v == "last" else f", keep {v}",
    Param.DATA_HOLDOUT: lambda v: ", with a hold-out",
}
"""In the order of a label. Each value but one default has words of its own, so these are always told apart."""

_TOLD_APART = _PHRASES.keys() - {Param.DATA_HOLDOUT}  # whose words do not say which images

_NAMES = {
    Param.WEIGHTS: "weights",
    Param.BN_MOMENTUM: "batch-norm momentum",
    "class_map": "class map",
    Param.DATA_TRAIN: "training images",
    Param.DATA_EVAL: "evaluation images",
    Param.DATA_HOLDOUT: "hold-out",
}


def describe(params: Params) -> str:
    """Return a recipe in a few words, such as `sgd lr 0.01 momentum 0.5, batch 64, 50 epochs`."""
    if Param.OPTIMIZER not in params:
        return "no training"
    return "".join(phrase(params[name]) for name, phrase in _PHRASES.items() if name in params)


def describe_all(rows: Sequence[tuple[str, str, Params]]) -> list[str]:
    """Return the labels of all rows of a table, given as data set, architecture and params.

    A param that differs between rows of a data set is named in each of them, unless its words in `describe` tell.
    What one row has and the other lacks is named where two rows would read the same otherwise.
    """
    labels = [describe(params) for _, _, params in rows]
    for of_an_arch in (False, True):
        for indices in _indices((data, arch if of_an_arch else "") for data, arch, _ in rows):
            for name in _names(rows[i][2] for i in indices):
                values = {rows[i][2][name] for i in indices if name in rows[i][2]}
                if len(values) < 2 or name.startswith(_OF_AN_ARCH) != of_an_arch or name in _TOLD_APART:
                    continue
                for i in indices:
                    if name in rows[i][2]:
                        labels[i] += f", {_name_and_value(name, rows[i][2][name])}"
    for indices in _indices((data, arch, label) for (data, arch, _), label in zip(rows, labels, strict=True)):
        for name in _names(rows[i][2] for i in indices):
            if len({rows[i][2].get(name) for i in indices}) > 1:
                for i in indices:
                    labels[i] += f", {_name_and_value(name, rows[i][2].get(name))}"
    return labels


def _names(all_params: Iterable[Params]) -> list[str]:
    return sorted({name for params in all_params for name in params})


def _indices(keys: Iterable[Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _name_and_value(name: str, value: str | None) -> str:
    title = _NAMES.get(name, name.rpartition(".")[2].replace("_", " "))
    return f"no {title}" if value is None else f"{title} {shorten(value)}"


def shorten(value: str) -> str:
    """Return the first eight digits of a digest, and anything else as it is."""
    return value[:8] if re.fullmatch(r"[0-9a-f]{16,}", value) else value
