"""The run that another one starts from (`model=run`): its weights, and whether they are of the network asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tlft.config.schema import Config
from tlft.data.dataset import Dataset
from tlft.errors import ConfigurationError
from tlft.pixels.decode import FULL_WHITE
from tlft.pixels.transforms import Transform


@dataclass(frozen=True)
class Parent:
    """A logged run whose weights are taken: what its `model.json` tells, and the file."""

    description: Mapping[str, Any]
    weights: Path

    @property
    def run_id(self) -> str:
        """Of the run, whole."""
        return str(self.description["run_id"])


def find_parent(config: Config) -> Parent | None:
    """Return the run that `model.run_id` names in the store of the configuration; None if it names none.

    Raises:
        TlftError: if there is no such run, or it has no weights, or the store does not answer.
    """
    if config.model.run_id is None:
        return None
    from tlft.database.places import tracking_uri

    return _find(config.model.run_id, tracking_uri(config.tracking.uri, config.home))


@lru_cache(maxsize=64)
def _find(run_id: str, uri: str) -> Parent:
    from tlft.tracking.registry import find_model

    try:
        return Parent(*find_model(run_id, uri))
    except ConfigurationError as error:
        raise ConfigurationError([f"model.run_id={problem}" for problem in error.problems]) from None


def refuse_other_network(config: Config, parent: Parent, dataset: Dataset, transform: Transform) -> None:
    """Raise ConfigurationError, a line for each, if the weights of a run are not those of the network asked for."""
    said, arch, problems = parent.description, config.arch, []
    name = f"model.run_id={config.model.run_id}"
    if (said["library"], said["arch"]) != (arch.library, arch.name):
        problems.append(
            f"{name}: is of {said['arch']}, not {arch.name}; set arch={said['library']} arch.name={said['arch']}"
        )
    elif differences := _differences(Transform.from_dict(said["transform"]), transform):
        problems.append(f"{name}: saw its images in another way: {'; '.join(differences)}")
    if config.model.keep_head and said["head"] != "task":
        problems.append(f"{name} model.keep_head=true: it has no head of its own; set model.keep_head=false")
    elif config.model.keep_head and tuple(said["classes"]) != dataset.classes:
        theirs, ours = (", ".join(classes[:4]) for classes in (said["classes"], dataset.classes))
        problems.append(
            f"{name} model.keep_head=true: its classes ({theirs}) are not those of {dataset.name} ({ours}); "
            "set model.keep_head=false for a new head"
        )
    if problems:
        raise ConfigurationError(problems)


def _differences(there: Transform, here: Transform) -> list[str]:
    """Return in what a parent's transform differs from that of the run, each with the key that sets it."""
    parts = []
    if there.crop != here.crop:
        parts.append(f"{there.crop} pixels a side, here {here.crop} (set data.image_size={there.crop})")
    if (there.white, there.white_tags) != (here.white, here.white_tags):
        level = "auto" if there.white_tags else there.white or FULL_WHITE
        parts.append(f"white {_white(there)}, here {_white(here)} (set data.white_level={level})")
    if there.decode != here.decode:
        decoded = [transform.decode or "full" for transform in (there, here)]
        parts.append(f"decoded {decoded[0]}, here {decoded[1]} (set data.decode={decoded[0]})")
    begun = [
        f"{name} {_spell(getattr(there, name))}, here {_spell(getattr(here, name))}"
        for name in ("interpolation", "mean", "std", "squash")
        if getattr(there, name) != getattr(here, name)
    ]
    if abs(here.resize * there.crop - there.resize * here.crop) > max(there.crop, here.crop):  # more than rounding
        begun.append(f"scaled to {there.resize} for {there.crop} pixels, here to {here.resize} for {here.crop}")
    if not parts and not begun and there != here:
        begun.append(f"scaled to {there.resize} pixels, here to {here.resize}")
    if begun:
        parts.append(f"{', '.join(begun)} (set model.weights to those that it began with)")
    return parts


def _white(transform: Transform) -> str:
    return f"{transform.white or FULL_WHITE}{' but for tags of files' if transform.white_tags else ''}"


def _spell(value: object) -> str:
    return " ".join(f"{number:g}" for number in value) if isinstance(value, tuple) else str(value or "not")
