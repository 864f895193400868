"""The label of a recipe: short for people, and naming everything in which two rows of a table differ.

A recipe is what a run's params say beyond its column and its seed; which runs share one is decided in rows.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

from tlft.names import Param

Params = Mapping[str, str]

_OF_AN_ARCH = ("arch.", "transform.", "model.", Param.CLASS_MAP)
"""What differs between architectures by nature; between the rows of one it is worth a word."""

_PHRASES: dict[str, Callable[[str], str]] = {
    Param.OPTIMIZER: lambda v: "" if v == "torch" else v,  # whose algorithm says which
    Param.ALGORITHM: lambda v: v,
    Param.LR: lambda v: f" lr {v}",
    Param.MOMENTUM: lambda v: "" if v == "0.0" else f" momentum {v}",
    Param.NESTEROV: lambda v: " nesterov" if v == "true" else "",
    Param.BETA1: lambda v: "" if v == "0.9" else f" beta1 {v}",
    Param.BETA2: lambda v: "" if v == "0.999" else f" beta2 {v}",
    Param.EPS: lambda v: "" if v == "1e-08" else f" eps {v}",
    Param.WEIGHT_DECAY: lambda v: "" if v == "0.0" else f" weight decay {v}",
    Param.SCHEDULE: lambda v: "" if v == "constant" else f", {v}",
    Param.STEP_EPOCHS: lambda v: f" of {v} epochs",
    Param.GAMMA: lambda v: "" if v == "0.1" else f" by {v}",
    Param.WARMUP_EPOCHS: lambda v: "" if v == "0.0" else f", warm-up {v} epochs",
    Param.BATCH_SIZE: lambda v: f", batch {v}",
    Param.ACCUMULATE: lambda v: f" x {v}",
    Param.EPOCHS: lambda v: f", {v} epoch" if v == "1" else f", {v} epochs",
    Param.FLIP: lambda v: "" if v == "true" else ", no flips",
    Param.AUGMENT: lambda v: f", {v.replace('_', ' ')}",
    Param.OPERATIONS: lambda v: "" if v == "2" else f" of {v}",
    Param.MAGNITUDE: lambda v: "" if v == "9" else f" magnitude {v}",
    Param.ALPHA: lambda v: f" alpha {v}",
    Param.MIN_SCALE: lambda v: "" if v == "0.08" else f" from {v} of the area",
    Param.LABEL_SMOOTHING: lambda v: f", label smoothing {v}",
    Param.CLIP_NORM: lambda v: f", gradients cut at {v}",
    Param.DECAY_NORMS: lambda _: ", no decay of norms and biases",
    Param.BACKBONE_LR: lambda v: f", backbone at {v} of the rate",
    Param.LAYER_DECAY: lambda v: f", {v} of the rate a stage",
    Param.HEAD_EPOCHS: lambda v: f", the head alone for {v}",
    Param.UNFREEZE_EPOCHS: lambda v: f", a stage more every {v}",
    Param.DROPOUT: lambda v: f", dropout {v}",
    Param.STOCHASTIC_DEPTH: lambda v: f", stochastic depth {v}",
    Param.IMAGE_SIZE: lambda v: f", trained at {v} pixels",
    Param.CLASS_WEIGHTS: lambda v: f", {v} class weights",
    Param.SAMPLER: lambda v: f", {v} sampler",
    Param.EMA: lambda v: f", averaged weights {v}",
    Param.PATIENCE: lambda v: f", stopped after {v} without a gain",
    Param.SAM: lambda v: f", SAM {v}",
    Param.KEEP: lambda v: "" if v == "last" else f", keep {v}",
    Param.DATA_HOLDOUT: lambda v: ", with a hold-out",
}
"""In the order of a label. Each value but one default has words of its own, so these are always told apart."""

_TOLD_APART = _PHRASES.keys() - {Param.DATA_HOLDOUT}  # whose words do not say which images

_NAMES = {
    Param.WEIGHTS: "weights",
    Param.BN_MOMENTUM: "batch-norm momentum",
    Param.CLASS_MAP: "class map",
    Param.DATA_TRAIN: "training images",
    Param.DATA_EVAL: "evaluation images",
    Param.DATA_HOLDOUT: "hold-out",
}


def _describe(params: Params) -> str:
    """Return a recipe in a few words, such as `sgd lr 0.01 momentum 0.5, batch 64, 50 epochs`."""
    if Param.OPTIMIZER not in params:
        return "no training"
    return "".join(phrase(params[name]) for name, phrase in _PHRASES.items() if name in params)


def describe_all(rows: Sequence[tuple[str, str, Params]]) -> list[str]:
    """Return the labels of all rows of a table, given as data set, architecture and params.

    A param that differs between rows of a data set is named in each of them, unless its words in `_describe` tell.
    What one row has and the other lacks is named where two rows would read the same otherwise.
    """
    labels = [_describe(params) for _, _, params in rows]
    for of_an_arch in (False, True):
        for name, values in _values_by_group(rows, [(data, arch if of_an_arch else "") for data, arch, _ in rows]):
            if name.startswith(_OF_AN_ARCH) != of_an_arch or name in _TOLD_APART:
                continue
            if len(set(values.values()) - {None}) > 1:
                for index, value in values.items():
                    labels[index] += "" if value is None else f", {_name_and_value(name, value)}"
    places = [(data, arch, label) for (data, arch, _), label in zip(rows, labels, strict=True)]
    for name, values in _values_by_group(rows, places):
        if len(set(values.values())) > 1:
            for index, value in values.items():
                labels[index] += f", {_name_and_value(name, value)}"
    return labels


def _values_by_group(
    rows: Sequence[tuple[str, str, Params]], keys: Sequence[Hashable]
) -> Iterator[tuple[str, dict[int, str | None]]]:
    """Yield each param of each group of rows that share a key: its name, and index of a row -> its value."""
    for key in dict.fromkeys(keys):
        group = {index: params for index, (_, _, params) in enumerate(rows) if keys[index] == key}
        for name in sorted(set().union(*group.values())):
            yield name, {index: params.get(name) for index, params in group.items()}


def _name_and_value(name: str, value: str | None) -> str:
    title = _NAMES.get(name, name.rpartition(".")[2].replace("_", " "))
    return f"no {title}" if value is None else f"{title} {shorten(value)}"


def shorten(value: str) -> str:
    """Return the first eight digits of a digest, and anything else as it is."""
    return value[:8] if re.fullmatch(r"[0-9a-f]{16,}", value) else value
