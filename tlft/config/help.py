"""What `--help` shows: the groups with their options, and each key with its default, its values and its meaning.

Meanings are those of the docstrings of the schema, values those that are checked, options the files of the groups.
"""

from __future__ import annotations

import inspect
import re
import textwrap
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from tlft.commands import as_typed, invocation
from tlft.config.paths import CONF
from tlft.config.validate import describe_values

GROUPS = {
    "model": "where the weights come from",
    "head": "ImageNet's 1000 outputs, or a new classifier",
    "arch": "the network",
    "optimizer": "what minimises the loss",
    "schedule": "the learning rate over time",
    "augment": "what is done to training images",
    "recipe": "presets of optimizer, schedule, augmentation and training",
    "data": "the images",
    "experiment": "presets of one run",
    "sweep": "presets of a whole sweep",
    "tracking": "where MLflow keeps the runs",
    "hydra/launcher": "how the jobs of a sweep are run",
}
"""Every group, in the order of a run, and what it decides."""

_LAUNCHERS = {
    "basic": "one job after the other, in one process",
    "parallel": "a process for each job, on every core or GPU of this machine",
    "slurm": "jobs of a Slurm cluster (extra slurm)",
}

_QUESTION = "tlft: does a pretrained image network, fine-tuned or not, beat one trained from scratch?"

_EXAMPLES = (
    ("", "one run with the defaults: the reference recipe"),
    ("model=scratch optimizer=adamw seed=3", "groups and keys"),
    ("experiment=zero_shot", "one column of the table"),
    ("-m model=pretrained,scratch seed=0,1", "a sweep"),
    ("sweep=comparison", "all three columns over five seeds"),
    ("sweep=comparison plan=true", "what would run, what is done"),
)
_FOOT = """\
Other options have other keys: give one to see them, such as optimizer=adamw or hydra/launcher=slurm.
On the command line a key beats a preset. Exit status: 0 done, or done already; 1 failed; 2 the configuration is wrong;
3 left to another process that works on it; 130 Ctrl-C; 143 told to stop. --cfg job shows a composed configuration;
--hydra-help tells Hydra's own flags."""


@dataclass(frozen=True)
class Key:
    """A key of the configuration: its dotted name, its default as it is typed, the values it takes, what it means."""

    name: str
    default: str
    values: str
    meaning: str


@dataclass(frozen=True)
class Section:
    """The keys below one name, such as `training`; those of the top have none."""

    name: str
    meaning: str
    keys: tuple[Key, ...]


def options_of(group: str, loader: ConfigLoader) -> dict[str, str]:
    """Return the options of a group, each with what its file says of it below the command that uses it."""
    if group == "hydra/launcher":
        return dict(_LAUNCHERS)
    return {name: _comment(group, name) for name in loader.get_group_options(group, ObjectType.CONFIG)}


def _comment(group: str, option: str) -> str:
    path = CONF / group / f"{option}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    opening = [line for line in lines if line != "# @package _global_"]
    comment = [line.removeprefix("#").strip() for line in opening[: _length_of_comment(opening)]]
    return " ".join(comment[1:])  # the first line is the command


def _length_of_comment(lines: Sequence[str]) -> int:
    return next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))


def describe_keys(cfg: DictConfig, *, resolve: bool = True) -> list[Section]:
    """Describe every key that can be set, of the options that were chosen; what a group alone sets is left out.

    Args:
        cfg: what Hydra composed.
        resolve: show what the defaults come to here; else what stands in the files.
    """
    sections = [_section("", cfg, resolve)]
    names = [str(name) for name in cfg if name != "hydra" and isinstance(cfg._get_node(name), DictConfig)]
    sections += [_section(name, cfg[name], resolve) for name in names]
    launcher = OmegaConf.select(cfg, "hydra.launcher")
    if isinstance(launcher, DictConfig) and _documented(OmegaConf.get_type(launcher) or dict):
        sections.append(_section("hydra.launcher", launcher, resolve))
    order = ["", "training", *GROUPS]
    ranks = {name: rank for rank, name in enumerate(order)}
    return sorted((section for section in sections if section.keys), key=lambda one: ranks.get(one.name, len(order)))


def _section(name: str, node: DictConfig, resolve: bool) -> Section:
    schema = OmegaConf.get_type(node)
    assert schema is not None
    meanings, hints = _documented(schema), get_type_hints(schema)
    keys = []
    for field, meaning in meanings.items():
        key = f"{name}.{field}" if name else field
        is_optional, kind = _kind(hints[field])
        keys.append(Key(key, _default(node, field, resolve), describe_values(key, kind, is_optional), meaning))
    opening = inspect.cleandoc(schema.__doc__ or "").partition("\n\n")[0]
    return Section(name, _plain(opening), tuple(keys))


def _documented(schema: Any) -> dict[str, str]:
    """Return what the docstrings of a dataclass, and of those that it extends, say of its attributes."""
    meanings: dict[str, str] = {}
    for base in reversed(inspect.getmro(schema)):
        _, _, section = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        for item in re.split(r"\n(?= {4}\w)", section.rstrip()):
            field, _, text = item.strip().partition(": ")
            if text and field in get_type_hints(schema):
                meanings[field] = _plain(text)
    return meanings


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("`", "").removesuffix(".")


def _kind(hint: Any) -> tuple[bool, Any]:
    """Return whether a type takes None, and what it is beside that."""
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        return len(kinds) < len(get_args(hint)), kinds[0]
    return False, hint


def _default(node: DictConfig, field: str, resolve: bool) -> str:
    if OmegaConf.is_missing(node, field):
        return "???"
    if not resolve and OmegaConf.is_interpolation(node, field):
        return str(OmegaConf.to_container(node, resolve=False)[field])  # type: ignore[index,call-overload]
    value = node[field]
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")
    return text.strip("'") if isinstance(plain, str) else text


def render_help(cfg: DictConfig, loader: ConfigLoader, width: int) -> str:
    """Return the help of `run`, at most so many columns wide."""
    width = max(min(width, 120), 60)
    run = invocation("run")
    lines = [*textwrap.wrap(_QUESTION, width), ""]
    lines += _beside([(f"{run} {given}".rstrip(), purpose) for given, purpose in _EXAMPLES], width)
    lines += ["", "Groups (group=option; * is chosen)", *_beside(_groups(cfg, loader), width)]
    for section in describe_keys(cfg):
        title = f"{section.name}: {section.meaning}" if section.name else "Keys (key=value)"
        lines += ["", *textwrap.wrap(title, width)]
        lines += _beside([(f"{key.name}={_short(key.default)}", _meaning(key)) for key in section.keys], width)
    return "\n".join([*lines, "", *textwrap.wrap(" ".join(_FOOT.split()), width)])


def _groups(cfg: DictConfig, loader: ConfigLoader) -> Iterator[tuple[str, str]]:
    choices = cfg.hydra.runtime.choices
    for group, meaning in GROUPS.items():
        options = [f"{name}*" if choices.get(group) == name else name for name in options_of(group, loader)]
        yield f"{group}=", f"{meaning}: {', '.join(options)}"


def _meaning(key: Key) -> str:
    return as_typed(f"{key.meaning} ({key.values})" if key.values else key.meaning)


def _short(text: str, longest: int = 40) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


_INDENT = 2


def _beside(pairs: Iterable[tuple[str, str]], width: int) -> list[str]:
    """Set meanings beside what they are of, in two columns; below it where that is longer than half of the width."""
    lines, pairs = [], list(pairs)
    left = min(max(len(name) for name, _ in pairs) + _INDENT, width // 2)
    for name, meaning in pairs:
        wrapped = textwrap.wrap(meaning, width - left - _INDENT) or [""]
        first = f"{'':{_INDENT}}{name}"
        if len(first) > left + _INDENT - 2:
            lines.append(first)
        else:
            lines.append(f"{first:{left + _INDENT}}{wrapped.pop(0)}".rstrip())
        lines += [f"{'':{left + _INDENT}}{line}" for line in wrapped if line]
    return lines
