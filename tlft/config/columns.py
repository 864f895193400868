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

COLUMN_PARAMS = (Param.MODEL, Param.HEAD, Param.TRAINABLE)
"""The params that make a column, in the order of a title."""

_KEYS = {
    ("pretrained", "imagenet1k", "none"): "zero_shot",
    ("pretrained", "task", "all"): "fine_tune",
    ("scratch", "task", "all"): "from_scratch",
    ("pretrained", "task", "head"): "linear_probe",
}


def column_of(params: Mapping[str, str]) -> Column | None:
    """Return the column of a run with these params, or None if they do not say enough."""
    parts = tuple(params.get(name, "") for name in COLUMN_PARAMS)
    if not all(parts):
        return None
    model, head, trainable = parts
    key = _KEYS.get((model, head, trainable))
    if key is None:
        in_part = (model, head) == ("pretrained", "task") and trainable.isdecimal()
        key = f"partial_{trainable}" if in_part else "_".join(parts)
    weights = {"scratch": "from scratch"}.get(model, model)
    outputs = {"imagenet1k": "1000-class head", "task": "new head"}.get(head, head)
    return Column(key, f"{weights}, {outputs}, {_training(model, trainable)}")


def _training(model: str, trainable: str) -> str:
    if trainable == "all":
        return "trained" if model == "scratch" else "fine-tuned"
    if trainable == "none":
        return "not trained" if model == "scratch" else "no fine-tuning"
    if trainable == "head":
        return "only the head trained"
    return "last stage trained" if trainable == "1" else f"last {trainable} stages trained"
