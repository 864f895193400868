"""What the outputs of a head stand for: one for each of the data's classes, or some of ImageNet's 1000 for each.

What a network predicts for them is the business of `tlft.evaluation`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from tlft.config.class_map_file import read_class_map
from tlft.errors import ConfigurationError, nearest

BUILT_IN: Mapping[str, tuple[int, ...]] = {"ants": (310,), "bees": (309,)}
"""Class maps of the reference data set: `ant` and `bee` in the order of the ILSVRC-2012 challenge."""

ClassMap = dict[str, list[int]]


@cache
def class_names() -> tuple[str, ...]:
    """Return the 1000 names in the order of a network's outputs (those of torchvision's weights)."""
    return tuple((Path(__file__).parent / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines())


@dataclass(frozen=True)
class LabelSpace:
    """The meaning of a head's outputs.

    Attributes:
        classes: the data's classes; without a class map an output each, in their order.
        class_map: the outputs of the 1000-class head that stand for each class, or None.
    """

    classes: tuple[str, ...]
    class_map: ClassMap | None = None

    @property
    def outputs(self) -> list[list[int]]:
        """The outputs that stand for each class."""
        return [[index] if self.class_map is None else self.class_map[name] for index, name in enumerate(self.classes)]

    @cached_property
    def class_of_output(self) -> dict[int, int]:
        """The index of the class that an output stands for; outputs that stand for none are not in it."""
        return {output: index for index, outputs in enumerate(self.outputs) for output in outputs}

    def name_of(self, output: int) -> str:
        """Return what people call an output: the class that it stands for, else ImageNet's name for it."""
        if output in self.class_of_output:
            return self.classes[self.class_of_output[output]]
        name = class_names()[output]
        return f"{name} (ImageNet {output})" if name in self.classes else name


def resolve_class_map(configured: Mapping[Any, Any] | str | None, classes: Sequence[str]) -> ClassMap:
    """Map each class of the data to its ImageNet outputs, as sorted indices.

    Args:
        configured: `data.class_map`: for each class an output or a list of outputs, by index or by name, or the file
            that says so (`tlft.config.class_map_file`); classes that it leaves out are looked up in the built-in map.
        classes: of the data.

    Raises:
        ConfigurationError: with every class that has no map, every output that is unknown, ambiguous, outside
            0..999 or claimed twice.
    """
    configured = _by_name(read_class_map(configured) if isinstance(configured, str) else configured or {}, classes)
    problems = [
        f"data.class_map.{name}: the data has no such class{nearest(name, classes)} (it has {', '.join(classes)})"
        for name in configured
        if name not in classes
    ]
    resolved: ClassMap = {}
    for name in classes:
        outputs = configured.get(name, BUILT_IN.get(name))
        if outputs is None:
            problems.append(
                f"head=imagenet1k: no ImageNet output stands for class {name}; give its outputs by index or name, "
                f"{_example(name, classes)}{_candidates(name)}"
            )
            continue
        resolved[name] = _resolve_outputs(f"data.class_map.{name}", outputs, problems)
    owners: dict[int, list[str]] = {}
    for name, indices in resolved.items():
        for index in indices:
            owners.setdefault(index, []).append(name)
    problems += [
        f"data.class_map: output {index} ({class_names()[index]}) stands for {' and '.join(names)}; "
        "give it to one class"
        for index, names in owners.items()
        if len(names) > 1
    ]
    if problems:
        raise ConfigurationError(problems)
    return resolved


def _by_name(configured: Mapping[Any, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Return a map whose keys are the classes' names, whatever Hydra and YAML read them as (0, true, 1e3)."""
    spellings = {_as_read(name): name for name in classes}

    def name_of(key: Any) -> str:
        if isinstance(key, str):
            return unicodedata.normalize("NFC", key)
        return str(key) if str(key) in classes else spellings.get(key, str(key))

    by_name: dict[str, Any] = {}
    for key, outputs in configured.items():
        if by_name.setdefault(name_of(key), outputs) is not outputs:
            raise ConfigurationError(f"data.class_map: class {name_of(key)} is there twice; give it once")
    return by_name


def _as_read(name: str) -> Any:
    """Return what Hydra or YAML take a name for, such as the number 0 or true; the name itself for most."""
    with suppress(yaml.YAMLError, ValueError):
        value = yaml.safe_load(name)
        if isinstance(value, int | float | None):
            return value
    with suppress(ValueError):
        return float(name)
    return name


def _example(name: str, classes: Sequence[str]) -> str:
    is_word = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name) is not None
    read = _as_read(name)
    if is_word and read is not None and [read] == [other for other in map(_as_read, classes) if other == read]:
        return f"such as 'data.class_map={{{name}:[310]}}'"
    return f"such as data.class_map=FILE.yaml with the line {json.dumps(name, ensure_ascii=False)}: [310]"


def describe(class_map: ClassMap, most: int = 8) -> str:
    """Return which outputs stand for the classes, with ImageNet's names for them, in a line."""
    names = class_names()
    parts = [
        f"{name} -> {', '.join(f'{index} {names[index]}' for index in indices)}"
        for name, indices in list(class_map.items())[:most]
    ]
    more = f"; and {len(class_map) - most} more classes" if len(class_map) > most else ""
    return "; ".join(parts) + more


def to_json(class_map: ClassMap) -> str:
    """Return the map as JSON, with ImageNet's name for each output; `resolve_class_map` takes a file of it."""
    named = {name: {str(index): class_names()[index] for index in indices} for name, indices in class_map.items()}
    return json.dumps(named, indent=1, ensure_ascii=False)


def find_problems(configured: Mapping[Any, Any] | str | None, classes: Sequence[str] | None) -> list[str]:
    """Return what is wrong with the map, a line each; outputs are checked even where the classes are unknown."""
    try:
        if isinstance(configured, str):
            configured = read_class_map(configured)
        resolve_class_map(configured, list(map(str, configured or {})) if classes is None else classes)
    except ConfigurationError as error:
        return error.problems
    return []


def _resolve_outputs(key: str, outputs: Any, problems: list[str]) -> list[int]:
    """Return the indices, sorted and each once; what is wrong with the outputs joins the problems."""
    if isinstance(outputs, Mapping):  # as it is kept with a run: index -> ImageNet's name
        outputs = list(outputs)
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    if not outputs:
        problems.append(f"{key}: is empty; give at least one output by index or name")
    indices = set()
    for output in outputs:
        try:
            indices.add(_find_output(output))
        except ValueError as error:
            problems.append(f"{key}: {error}")
    return sorted(indices)


def _find_output(output: Any) -> int:
    """Return the index of an output that is given by index or by name.

    Raises:
        ValueError: says why there is none.
    """
    if isinstance(output, bool) or not isinstance(output, int | str):
        raise ValueError(f"{output!r} is neither an index nor a name")
    if isinstance(output, int) or output.isdecimal():
        if not 0 <= int(output) <= 999:
            raise ValueError(f"output {int(output)} is outside 0..999")
        return int(output)
    query, names = _normalize(output), [_normalize(name) for name in class_names()]
    exact = [index for index, name in enumerate(names) if name == query]
    if len(exact) == 1:
        return exact[0]
    if exact:
        raise ValueError(f"{output} names several ImageNet classes; give an index: {_list_outputs(exact)}")
    if similar := [index for index, name in enumerate(names) if query in name.split()]:
        raise ValueError(f"ImageNet has no class {output} by that full name; give an index: {_list_outputs(similar)}")
    raise ValueError(f"ImageNet has no class {output}{nearest(query, names)}")


def _candidates(name: str) -> str:
    queries = {_normalize(name), _normalize(name).removesuffix("s")}
    indices = [index for index, candidate in enumerate(class_names()) if queries & set(_normalize(candidate).split())]
    return f" (perhaps {_list_outputs(indices)})" if indices else ""


def _list_outputs(indices: Sequence[int], limit: int = 8) -> str:
    text = ", ".join(f"{index} ({class_names()[index]})" for index in indices[:limit])
    return text + (f" and {len(indices) - limit} more" if len(indices) > limit else "")


def _normalize(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
