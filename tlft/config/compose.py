"""Compose the configuration as Hydra will, and put what Hydra says of a mistake into one line with its mend.

Composing only: what a composed configuration must satisfy is in validate.py.
"""

from __future__ import annotations

import difflib
import itertools
import re
import shlex
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tlft.commands import invocation
from tlft.config.addresses import hide_passwords
from tlft.config.hydra_internals import make_loader
from tlft.config.options import say_missing
from tlft.config.overrides import single_values, write_value
from tlft.config.paths import CONF, config_folder
from tlft.config.typed import register
from tlft.errors import ConfigurationError, nearest, one_line

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, ValueError, AssertionError, YAMLError, OSError)
"""For mistakes of a user's; ValueError: an option that is a number, AssertionError: a key of a part set to one."""

_OPEN = ("data.class_map.", "tracking.tags.", "hydra.")
_OF_LAUNCHER = "hydra.launcher."
_KEYS_OF_OPTIONS = {"optimizer": ("sgd", "adamw"), "data": ("synthetic",)}
_NO_KEY = ("is not in struct", "not in '", "does not exist", "Could not override", "Could not append")
_KINDS = {
    "could not be converted to Integer": "a whole number",
    "could not be converted to Float": "a number",
    "is not a valid bool": "true or false",
    "Cannot convert '(list|dict|ListConfig|DictConfig)' to string": "one word, or quote it",
    "not Optional": "a value; null is none",
    "(type assigned|not a subclass|type for root)": "one of its keys, such as optimizer.lr, or an option of the group",
}


class Composer:
    """Compose `conf/` with overrides, as `hydra.main` does, and explain what cannot be composed."""

    def __init__(self, loader: ConfigLoader | None = None, config_name: str = "config") -> None:
        register()
        self.loader = loader or make_loader()
        self.parser = OverridesParser.create(config_loader=self.loader)
        self.config_name = config_name

    @classmethod
    def of(cls, args: Namespace) -> Composer:
        """Return the composer that Hydra's own flags ask for.

        Raises:
            ConfigurationError: if they name a folder or a file that is not there.
        """
        for flag, given in (("--config-path", args.config_path), ("--config-dir", args.config_dir)):
            if given is not None and not (config_folder(given) if flag == "--config-path" else Path(given)).is_dir():
                raise ConfigurationError(f"{flag} {given}: no such folder; name one that is there")
        folder = CONF if args.config_path is None else config_folder(args.config_path)
        loader = make_loader(folder, None if args.config_dir is None else Path(args.config_dir).absolute())
        name = args.config_name or "config"
        if not loader.repository.config_exists(name):
            raise ConfigurationError(f"--config-name {name}: no such file; leave it out for conf/config.yaml")
        return cls(loader, name)

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Parse each override alone.

        Raises:
            ConfigurationError: with a line for every override that cannot be read.
        """
        parsed, problems = [], []
        for text in overrides:
            try:
                parsed.append(self.parser.parse_override(text))
                parsed[-1].config_loader = self.loader  # what glob(...) chooses from
                if not parsed[-1].key_or_group:
                    raise HydraException("no key")
            except HydraException:
                problems.append(f"{_shorten(text)}: {self._mend_of_form(text)}")
        if problems:
            raise ConfigurationError(problems)
        return parsed

    def _mend_of_form(self, text: str) -> str:
        """Say how to write an override that cannot be read: with its value in quotes, if that is all it needs."""
        if unprintable := sorted({letter for letter in text if not letter.isprintable()}):
            windows = " (a script with Windows line ends; convert it with dos2unix)" if "\r" in text else ""
            return f"has {', '.join(map(ascii, unprintable))} in it{windows}; take it out"
        key, _, value = text.partition("=")
        quoted = f"{key}={write_value(value)}"
        try:
            if key and value and self.parser.parse_override(quoted).value() == value:
                return f"cannot be read; write {shlex.quote(quoted)}"
        except HydraException:
            pass
        return "cannot be read; write key=value, and quote what holds , ( ) { } or ="

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Compose one configuration; overrides that are swept over are left out.

        Raises:
            HydraException, OmegaConfBaseException: as Hydra would.
        """
        composed = self.loader.load_configuration(
            config_name=self.config_name,
            overrides=list(overrides),
            run_mode=RunMode.MULTIRUN,
            validate_sweep_overrides=False,
        )
        return hide_passwords(composed)

    def explain(self, overrides: Sequence[str], error: Exception) -> tuple[list[str], list[list[str]]]:
        """Find every override that is wrong by itself, given that `overrides` together raised `error`.

        Group choices are tried alone; the rest is tried on top of the choices that are right, because which keys
        there are depends on them. Returns the problems, a line each; and lists of overrides that can be composed, each
        with one value of what was given and with all else that is right, for whoever wants to look at the values too.
        """
        parsed = self.parse(overrides)
        problems: list[str] = []
        groups: list[str] = []
        keys: list[str] = []  # that are right, with the one value that they were given
        composable: list[list[str]] = []
        for override in sorted(parsed, key=lambda override: not self.is_group(override)):
            for text in single_values(override):
                if problem := self._try([*groups, text], override):
                    problems.append(problem)
                else:
                    composable.append([*groups, text])
            if composable and composable[-1][-1] in single_values(override):
                (groups if self.is_group(override) else keys).append(composable[-1][-1])
        composable = [self._with_all(texts, [*groups, *keys]) for texts in composable] or [[]]
        return list(dict.fromkeys(problems)) or [self.translate(" ".join(overrides) or "conf", error)], composable

    def _with_all(self, texts: list[str], others: list[str]) -> list[str]:
        """Return overrides with all others that are right, or alone if they do not go together."""
        keys = {text.partition("=")[0] for text in texts}
        whole = [*texts, *(text for text in others if text.partition("=")[0] not in keys)]
        try:
            self.compose(whole)
            return whole
        except COMPOSITION_ERRORS:
            return texts

    def _try(self, overrides: Sequence[str], blamed: Override) -> str:
        try:
            self.compose(overrides)
            return ""
        except COMPOSITION_ERRORS as error:
            return self.translate(overrides[-1], error, blamed.key_or_group, overrides[:-1])

    def is_group(self, override: Override) -> bool:
        """Tell whether an override chooses an option of a group."""
        return override.key_or_group.lstrip("+~") in self.groups()

    def groups(self) -> list[str]:
        """Return the config groups of the project and those of Hydra that a user may choose."""
        ours = [path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"]
        return [*ours, "hydra/launcher", "hydra/sweeper", "hydra/job_logging", "hydra/hydra_logging"]

    def options(self, group: str) -> list[str]:
        """Return the options of a group."""
        return list(self.loader.get_group_options(group))

    def keys(self) -> list[str]:
        """Return every dotted key of the base configuration."""
        return list(_dotted(self.compose([])))

    def wrong_forms(self, parsed: Sequence[Override]) -> list[str]:
        """Refuse `+key` and `~key`, which would get around the schema, and a group without an option.

        Tags and class maps alone may grow.
        """
        problems = []
        for override in parsed:
            text, key = str(override.input_line), override.key_or_group
            if self.is_group(override) and not _names_options(override):
                problems.append(f"{text}: choose one of {', '.join(self.options(key))}, or leave {key} out")
            elif isinstance(value := override.value(), dict) and value and _count_pairs(text) > len(value):
                problems.append(
                    f"{_shorten(text)}: a key is there twice, of which only the last would count; give it once"
                )
            elif override.is_delete():
                problems.append(f"{text}: a key cannot be taken out; set it to another value")
            elif override.is_add() and key.startswith(_OF_LAUNCHER):
                launcher = [str(other.input_line) for other in parsed if other.key_or_group == "hydra/launcher"]
                problems.append(f"{_shorten(text, 120)}: leave the + out{self._nearest_key(key.lstrip('+'), launcher)}")
            elif override.is_add() and not key.startswith(_OPEN) and not self.is_group(override):
                exists = key in self.keys()
                mend = "is there already; leave the + out" if exists else f"no such key{self._nearest_key(key)}"
                problems.append(f"{_shorten(text, 120)}: {mend}")
        return problems

    def translate(self, text: str, error: Exception, key: str = "", groups: Sequence[str] = ()) -> str:
        """Say in one line what Hydra or OmegaConf says in several; `groups` were chosen beside."""
        message = one_line(f"{error} {error.__cause__ or ''}")
        key, value = (key or text.partition("=")[0]).lstrip("+~"), text.partition("=")[2]
        if key in self.groups() and ("Could not find" in message or "Could not load" in message):
            options = self.options(key)
            hint = " or, for any other network, arch=torchvision arch.name=NAME (or arch=timm)" if key == "arch" else ""
            return f"{key}={value}: no such option{nearest(value, options)} (there are {', '.join(options)}{hint})"
        if any(sign in message for sign in _NO_KEY):
            return f"{text}: no such key{self._nearest_key(key, groups)}"
        for pattern, kind in _KINDS.items():
            if re.search(pattern, message):
                return f"{_shorten(text, 120)}: give {kind}"
        return f"{_shorten(text, 120)}: {_shorten(message.removeprefix(f'Error merging override {text}').strip())}"

    def _nearest_key(self, key: str, groups: Sequence[str] = ()) -> str:
        if key.startswith(_OF_LAUNCHER):
            return self._nearest_of_launcher(key, groups)
        if key.startswith(_OPEN):
            return f" yet; write +{key}=..."
        names = [*self.keys(), *self.groups()]
        if key in names:  # a key whose part was misspelt
            return f"; did you mean {key}?"
        for group, options in _KEYS_OF_OPTIONS.items():
            for option in options:
                if key not in names and key in _dotted(self.compose([f"{group}={option}"])):
                    return f" here; it belongs to {group}={option}"
        node = key.partition(".")[0]
        if beside := [name for name in names if node != key and name.startswith(f"{node}.")]:
            return nearest(key, beside) or f"; {node} has {', '.join(beside)}"
        if "." in key and node not in (nodes := {name.partition(".")[0] for name in names}):
            for near in difflib.get_close_matches(node, nodes, n=1, cutoff=0.75):
                return self._nearest_key(near + key.removeprefix(node))
        last = key.rpartition(".")[2]
        by_last = {name.rpartition(".")[2]: name for name in reversed(names)}
        if last in by_last:
            return f"; did you mean {by_last[last]}?"
        if hint := nearest(key, names):
            return hint
        match = re.search(r"did you mean (.+)\?", nearest(last, by_last))
        return f"; did you mean {by_last[match[1]]}?" if match else f"; `{invocation('run')} --help` lists them"

    def _nearest_of_launcher(self, key: str, groups: Sequence[str]) -> str:
        keys = self._keys_of_launcher(groups)
        if key in keys:
            return ""
        others = [f"hydra/launcher={name}" for name in self.options("hydra/launcher")]
        if owners := [other for other in others if key in self._keys_of_launcher([other])]:
            return f"; it belongs to {' and '.join(owners)}"
        return nearest(key, keys) or f"; there are {', '.join(keys) or 'none with this launcher'}"

    def _keys_of_launcher(self, groups: Sequence[str]) -> list[str]:
        return [f"{_OF_LAUNCHER}{name}" for name in self.compose(groups).hydra.launcher if name != "_target_"]


def _names_options(override: Override) -> bool:
    """Tell whether every value is a word, as an option of a group must be."""
    value = override.value()
    if override.is_sweep_override():
        is_no_name = re.compile(r"null|true|false|[\d.+-]+|[{\[].*").fullmatch
        return override.is_discrete_sweep() and not any(map(is_no_name, override.sweep_string_iterator()))
    return override.is_delete() or isinstance(value, str | QuotedString)


def _count_pairs(text: str) -> int:
    """Return how many keys the outermost map of an override has, those too that another of the same name replaces."""
    unquoted = re.sub(r"""\\.|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""", "", text.partition("=")[2])
    depths = itertools.accumulate(
        {**dict.fromkeys("{[(", 1), **dict.fromkeys("}])", -1)}.get(sign, 0) for sign in unquoted
    )
    # By the commas between them, since a value may hold a colon, as an address does.
    return 1 + sum(sign == "," and depth == 1 for sign, depth in zip(unquoted, depths, strict=True))


def missing_keys(cfg: DictConfig) -> list[str]:
    """Return a problem for each mandatory value (`???`) that nobody gave."""
    groups = [str(name) for name in cfg if name != "hydra" and isinstance(cfg._get_node(name), DictConfig)]
    missing = [key for group in groups for key in sorted(OmegaConf.missing_keys(cfg[group]))]
    return [say_missing(key) for key in missing]


def _dotted(cfg: DictConfig) -> Iterable[str]:
    pending: list[tuple[str, object]] = [(str(k), cfg._get_node(k)) for k in cfg if k != "hydra"]
    while pending:
        name, node = pending.pop(0)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            pending += [(f"{name}.{k!s}", node._get_node(k)) for k in node]
        else:
            yield name


def _shorten(text: str, length: int = 300) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
