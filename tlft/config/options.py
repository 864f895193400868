"""Keep labels honest: what names an option of a group is set by the group alone, or it would name what is not done."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tlft.errors import nearest

_LABELS = {
    "arch": ("library", "name"),
    "model": ("name",),
    "head": ("name",),
    "optimizer": ("name",),
    "schedule": ("name",),
    "augment": ("name",),
    "data": ("name",),
}

SET_BY_GROUPS = {f"{group}.{name}" for group, names in _LABELS.items() for name in names} - {"arch.name"}
"""Keys that nobody types; the name of a network is, where a group has no file for it."""


def find_problems(
    cfg: DictConfig, choices: Mapping[str, Any] | None, loader: ConfigLoader
) -> tuple[list[str], dict[str, str]]:
    """Look for labels that are not those of the options that were chosen, nor of the keys that these have.

    `choices` is which option of each group was chosen; None for a job that Hydra itself has composed.

    Returns:
        A line for each, and dotted key -> what it should be.
    """
    problems, labels = [], {}
    choices = choices or HydraConfig.get().runtime.choices
    for group, names in _LABELS.items():
        option = str(choices[group])
        for name in names:
            value = OmegaConf.select(cfg, f"{group}.{name}", throw_on_missing=False)
            # What an optimizer is built of are its keys, so that these have the last word.
            is_typed = group == "optimizer"
            if is_typed and not _has_schema(cast(Any, OmegaConf.get_type(cfg[group])), name):
                schemas = ", ".join(loader.get_group_options(f"hydra/schema/{group}"))
                mend = f"begin it with defaults: [/hydra/schema/{group}@_here_: NAME, _self_], NAME one of {schemas}"
                problems.append(f"{group}={option}: its file has no schema; {mend}")
                continue
            label = getattr(OmegaConf.get_type(cfg[group]), name) if is_typed else _label(loader, group, option, name)
            if label is not None and label != value:
                mend = _mend(loader, cfg, group, name, value)
                problems.append(f"{group}.{name}={value}: {group}={option} sets it to {label}; {mend}")
                labels[f"{group}.{name}"] = label
    return problems, labels


def find_missing(cfg: DictConfig, choices: Mapping[str, Any] | None, loader: ConfigLoader) -> list[str]:
    """Return a line for each key that an option asks for (`???` in its file) and nobody gave; `choices` as above."""
    choices = choices or HydraConfig.get().runtime.choices
    required = [f"{group}.{key}" for group in _LABELS for key in _required(loader, group, str(choices[group]))]
    missing = [key for key in required if OmegaConf.select(cfg, key, throw_on_missing=False) is None]
    return [say_missing(key) for key in missing]


def say_missing(key: str) -> str:
    """Return the line of a key that has no value and must have one."""
    return f"{key}: a value is missing; set {key}=... on the command line"


def _mend(loader: ConfigLoader, cfg: DictConfig, group: str, name: str, value: Any) -> str:
    if group == "arch" and name == "name":
        return f"write arch={cfg.arch.library} arch.name={value}"
    options = list(loader.get_group_options(group))
    if str(value) in options:
        return f"write {group}={value}"
    return f"choose an option of the group{nearest(str(value), options)} (there are {', '.join(options)})"


@cache
def _has_schema(kind: Any, name: str) -> bool:
    """Tell whether the type of a group's node says what the option is called."""
    return not OmegaConf.is_missing(OmegaConf.structured(kind), name)


@cache
def _label(loader: ConfigLoader, group: str, option: str, name: str) -> str | None:
    """Return what the file of an option calls it; None if it leaves that to others."""
    loaded = loader.repository.load_config(f"{group}/{option}")  # type: ignore[attr-defined]
    if loaded is None or OmegaConf.is_missing(loaded.config, name):
        return None
    label = loaded.config.get(name)
    return None if label is None else str(label)


@cache
def _required(loader: ConfigLoader, group: str, option: str) -> list[str]:
    """Return the keys that the file of an option leaves to the user."""
    loaded = loader.repository.load_config(f"{group}/{option}")  # type: ignore[attr-defined]
    return [] if loaded is None else [key for key in loaded.config if OmegaConf.is_missing(loaded.config, key)]
