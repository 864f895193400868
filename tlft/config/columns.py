"""Which column of the comparison a run stands in, by what it was asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tlft.names import Param


@dataclass(frozen=True)
class Column:
    """One way to use a network: where its weights are from, which head it has, what is trained.

    Attributes:
        key: its name in JSON and CSV.
        title: three phrases, separated by commas.
    """

    key: str
    title: str


THREE = (
    Column("zero_shot", "pretrained, 1000-class head, no fine-tuning"),
    Column("fine_tune", "pretrained, new head, fine-tuned"),
    Column("from_scratch", "from scratch, new head, trained"),
)

COLUMN_PARAMS = (Param.MODEL, Param.HEAD, Param.TRAINABLE, Param.STAGES, Param.KEPT_HEAD)
"""The params that make a column, the first three in the order of a title; the others are seldom there."""

_KEYS = {
    ("pretrained", "imagenet1k", "none"): "zero_shot",
    ("pretrained", "task", "all"): "fine_tune",
    ("scratch", "task", "all"): "from_scratch",
    ("pretrained", "task", "head"): "linear_probe",
    ("moments", "task", "all"): "moments",
    ("shuffled", "task", "all"): "shuffled",
}

_WEIGHTS = {
    "scratch": "from scratch",
    "moments": "random with the pretrained scale",
    "shuffled": "pretrained values shuffled",
}

_RUNGS = ("from_scratch", "moments", "shuffled", "stages", "fine_tune")

RUNGS = len(_RUNGS)
"""How many kinds of rungs `rung_of` tells apart."""


def rung_of(key: str) -> tuple[int, int] | None:
    """Return where a column stands between random and pretrained weights, higher with more of them; None: nowhere."""
    name, _, number = key.partition("_")
    if name == "stages" and number.isdecimal():
        return _RUNGS.index(name), int(number)
    return (_RUNGS.index(key), 0) if key in _RUNGS and key != "stages" else None


def column_of(params: Mapping[str, str]) -> Column | None:
    """Return the column of a run with these params, or None if they do not say enough."""
    parts = tuple(params.get(name, "") for name in COLUMN_PARAMS[:3])
    if not all(parts):
        return None
    model, head, trainable = parts
    stages = params.get(Param.STAGES)
    if trainable == "none" and Param.KEPT_HEAD in params:
        return Column("evaluated", "as a run has trained it, its own head, nothing trained")
    outputs = {"imagenet1k": "1000-class head", "task": "new head"}.get(head, head)
    if stages is not None:
        key = f"stages_{stages}" if (head, trainable) == ("task", "all") else "_".join((*parts, "stages", stages))
        weights = "first stage pretrained" if stages == "1" else f"first {stages} stages pretrained"
        return Column(key, f"{weights}, {outputs}, {_training('stages', trainable)}")
    key = _KEYS.get((model, head, trainable), "")
    if not key:
        in_part = (model, head) == ("pretrained", "task") and trainable.isdecimal()
        key = f"partial_{trainable}" if in_part else "_".join(parts)
    return Column(key, f"{_WEIGHTS.get(model, model)}, {outputs}, {_training(model, trainable)}")


def _training(model: str, trainable: str) -> str:
    if trainable == "all":
        return "fine-tuned" if model == "pretrained" else "trained"
    if trainable == "none":
        return "no fine-tuning" if model == "pretrained" else "not trained"
    if trainable == "head":
        return "only the head trained"
    return "last stage trained" if trainable == "1" else f"last {trainable} stages trained"
