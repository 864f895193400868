"""Compose the jobs of a sweep: each choice of groups once, by Hydra, and on copies of that the keys of each job.

A thousand jobs that differ in plain keys cost one composition and a thousand copies. Only what the result is certain to
be Hydra's own of is done here; of the rest Hydra composes each job, and says what is wrong with it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from tlft.config.addresses import hide_passwords
from tlft.config.hydra_internals import ChosenGroups, GroupComposer
from tlft.config.schema import Config
from tlft.config.typed import task_to_config

_PLAIN_KEY = re.compile(r"\w+(\.\w+)*")


class Composition:
    """The whole configuration of a job, composed when it is asked for; as it was composed it comes to other processes.

    Thousands of them take hardly any memory until then.
    """

    def __init__(self, compose: Callable[[], DictConfig] = lambda: DictConfig({})) -> None:
        self._compose = compose

    def __call__(self) -> DictConfig:
        """Return the configuration, with Hydra's own node; whoever asks owns it."""
        return self._compose()

    def __reduce__(self) -> tuple[Callable[[DictConfig], Composition], tuple[DictConfig]]:
        return composed_already, (self(),)


def composed_already(cfg: DictConfig) -> Composition:
    """Return the composition of what Hydra has composed."""
    return Composition(lambda: cfg)


class Choice:
    """A choice of groups that Hydra has composed, and those parts of it that are the same in every job.

    Attributes:
        groups: to set keys on copies of.
        options: that were chosen, of each group.
        mode: of Hydra.
        parts: values of the parts (`optimizer`, `seed`) in which nothing hangs on anything else.
    """

    def __init__(self, groups: ChosenGroups) -> None:
        self.groups = groups
        self.options: Any = OmegaConf.to_container(groups.hydra.runtime.choices)
        self.mode: RunMode | None = groups.hydra.mode
        self.parts: dict[str, Any] = {}
        hidden = hide_passwords(copy.deepcopy(groups.task))
        if {str(name) for name in hidden} == {field.name for field in fields(Config)}:
            for name in map(str, hidden):
                with suppress(Exception):  # such as a value that is missing, and has to be given by a key
                    if not _has_interpolation(hidden._get_node(name)):
                        self.parts[name] = _value(hidden, name)

    def changed_by(self, keys: Sequence[Override]) -> set[str] | None:
        """Return the parts in which some keys are; None if one may reach further, or give a part other keys."""
        changed = set()
        for override in keys:
            is_plain = override.type == OverrideType.CHANGE and _PLAIN_KEY.fullmatch(override.key_or_group)
            if not is_plain or isinstance(override.value(), dict | list):
                return None
            node: Any = self.groups.task
            above = ""
            for name in override.key_or_group.split(".")[:-1]:
                node = node._get_node(name) if isinstance(node, DictConfig) else None
                above = f"{above}.{name}".lstrip(".")
                if node is None or node._is_interpolation() or any(other.key_or_group == above for other in keys):
                    return None
            changed.add(override.key_or_group.partition(".")[0])
        return changed


def _has_interpolation(node: Any) -> bool:
    if node._is_interpolation():
        return True
    if not isinstance(node, DictConfig | ListConfig) or node._is_none() or node._is_missing():
        return False
    names: Any = node if isinstance(node, DictConfig) else range(len(node))
    return any(_has_interpolation(node._get_node(name)) for name in names)


def _value(task: DictConfig, name: str) -> Any:
    """Return the value of a part, in plain dataclasses if it is a node."""
    value = task[name]
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


@dataclass(frozen=True)
class JobKeys:
    """A job whose groups are composed, and whose keys can be set.

    Attributes:
        overrides: all that was typed of the job, in its order.
        keys: those of them that choose no group.
    """

    choice: Choice
    overrides: tuple[Override, ...]
    keys: tuple[Override, ...]

    def task(self) -> tuple[Config, DictConfig]:
        """Return the configuration without Hydra's own node, typed and as it is composed; until the next job's.

        Raises:
            Exception: whatever Hydra and OmegaConf raise.
        """
        groups, parts = self.choice.groups, self.choice.parts
        changed = self.choice.changed_by(self.keys)
        if changed is None or not parts:
            task = hide_passwords(groups.compose_task(self.keys))
            return task_to_config(task), task
        shared = parts.keys() - changed
        task = groups.compose_task(self.keys, shared)
        names = [str(name) for name in task]
        hide_passwords(task, [name for name in names if name not in shared])
        return Config(**{name: parts[name] if name in shared else _value(task, name) for name in names}), task

    def composition(self, task: DictConfig) -> Composition:
        """Return the configuration with Hydra's own node, in which `${now:...}` comes to what it came to in `task`."""
        cached, of_all = OmegaConf.get_cache(task), OmegaConf.get_cache(self.choice.groups.task)
        return Composition(partial(self._compose, of_all if cached == of_all else cached))

    def _compose(self, cached: dict[str, Any]) -> DictConfig:
        whole = self.choice.groups.compose(self.overrides, self.keys)
        OmegaConf.set_cache(whole, cached)
        return hide_passwords(whole)


class SweepComposer:
    """Compose the jobs of one sweep, whose own configuration, `master`, Hydra has composed."""

    def __init__(self, master: DictConfig, loader: ConfigLoader) -> None:
        self._composer: GroupComposer | None = None
        with suppress(Exception):  # another loader, or folders that are gone meanwhile: Hydra will say which
            self._composer = GroupComposer(master, loader)
        self._parser = OverridesParser.create()
        self._parsed: dict[str, tuple[Override, bool] | None] = {}
        self._chosen: dict[tuple[str, ...], Choice | None] = {}

    def find(self, texts: Sequence[str]) -> JobKeys | None:
        """Return a job as its groups and its keys; None for one that Hydra has to compose, or to refuse."""
        overrides: list[Override] = []
        keys: list[Override] = []
        choices: list[str] = []
        for text in texts:
            if text not in self._parsed:
                self._parsed[text] = self._parse(text)
            if (parsed := self._parsed[text]) is None:
                return None
            override, chooses = parsed
            overrides.append(override)
            if chooses:
                choices.append(text)
            else:
                keys.append(override)
        groups = tuple(choices)
        if groups not in self._chosen:
            self._chosen[groups] = self._compose(groups)
        chosen = self._chosen[groups]
        return None if chosen is None else JobKeys(chosen, tuple(overrides), tuple(keys))

    def _parse(self, text: str) -> tuple[Override, bool] | None:
        """Return an override as Hydra reads it, and whether it chooses an option of a group.

        None for what is wrong, has several values, deletes something, or is about Hydra itself.
        """
        if self._composer is None:
            return None
        try:
            (override,) = self._parser.parse_overrides([text])
            is_of_hydra = re.split(r"[./\[]", override.key_or_group)[0] == "hydra"
            if override.is_sweep_override() or override.is_delete() or is_of_hydra:
                return None
            return override, self._composer.chooses(override)
        except Exception:  # whatever it is: Hydra will say it
            return None

    def _compose(self, groups: Sequence[str]) -> Choice | None:
        with suppress(Exception):  # whatever it is: Hydra will say it
            return None if self._composer is None else Choice(self._composer.compose(groups))
        return None
