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

from tlft.commands import invocation
from tlft.data.class_map_file import read_class_map
from tlft.data.wordnet import is_wordnet_id, search, synsets
from tlft.errors import ConfigurationError, UnmappedError, nearest

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


def resolve_class_map(
    configured: Mapping[Any, Any] | str | None, classes: Sequence[str], *, leave_out: bool = False
) -> ClassMap:
    """Map each class of the data to its ImageNet outputs, as sorted indices.

    Args:
        configured: `data.class_map`: for each class an output or a list of outputs, by index, by name or by a WordNet
            id (which stands for all outputs that are kinds of it), or the file that says so
            (`tlft.data.class_map_file`); classes that it leaves out are looked up in the built-in map, and are
            their own map where their names are WordNet ids of which ImageNet has kinds.
        classes: of the data.
        leave_out: those that have no map, if two others have.

    Raises:
        UnmappedError: if some class has no map, and none is configured.
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
    unmapped: list[str] = []
    for name in classes:
        outputs = configured.get(name, _built_in(name))
        if outputs is None:
            unmapped.append(name)
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
    if leave_out and len(resolved) > 1:  # closed-set, one class would always be right
        unmapped = []
    if unmapped and not problems and not configured:
        raise UnmappedError(_say_unmapped(unmapped, classes))
    problems += _say_unmapped(unmapped, classes)
    if problems:
        raise ConfigurationError(problems)
    return resolved


def unmapped_classes(
    configured: Mapping[Any, Any] | str | None, classes: Sequence[str], *, leave_out: bool = False
) -> str:
    """Name the classes for want of whose outputs no untouched network is asked, in a few words; nothing if it is."""
    unmapped = [name for name in classes if _built_in(name) is None]
    is_asked = bool(configured) or (leave_out and len(unmapped) < len(classes) - 1)
    return "" if is_asked else list_classes(unmapped)


def _built_in(name: str) -> tuple[int, ...] | str | None:
    """Return the outputs of a class that need not be configured, if it has any."""
    return BUILT_IN.get(name, name if is_wordnet_id(name) and name in synsets() else None)


def _say_unmapped(names: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return a line for each class without a map, or one for all where they are many."""
    begins, mend = "head=imagenet1k: no ImageNet output stands for", "by index, name or WordNet id, "
    mapped = len(classes) - len(names)
    leave_out = "scores the other classes alone" if mapped > 1 else "needs two classes that have outputs"
    partly = f"; data.unmapped=leave_out {leave_out}" if mapped else ""
    if len(names) > _MOST_NAMED:
        line = f"{json.dumps(names[0], ensure_ascii=False)}: [310]"
        mend += f"such as data.class_map=FILE.yaml with a line {line} for each"
        return [f"{begins} classes {list_classes(names)}; give their outputs {mend}{partly}"]
    return [
        f"{begins} class {name}; give its outputs {mend}{_example(name, classes)}{_candidates(name)}{partly}"
        for name in names
    ]


def list_classes(names: Sequence[str]) -> str:
    """Name classes, the first few of them."""
    listed = ", ".join(names[:_MOST_NAMED])
    return f"{listed} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else listed


_MOST_NAMED = 5


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
        f"{name} -> {', '.join(f'{index} {names[index]}' for index in indices[:_MOST_OUTPUTS])}"
        f"{f' and {len(indices) - _MOST_OUTPUTS} more' if len(indices) > _MOST_OUTPUTS else ''}"
        for name, indices in list(class_map.items())[:most]
    ]
    more = f"; and {len(class_map) - most} more classes" if len(class_map) > most else ""
    return "; ".join(parts) + more


_MOST_OUTPUTS = 8


def to_json(class_map: ClassMap) -> str:
    """Return the map as JSON, with ImageNet's name for each output; `resolve_class_map` takes a file of it."""
    named = {name: {str(index): class_names()[index] for index in indices} for name, indices in class_map.items()}
    return json.dumps(named, indent=1, ensure_ascii=False)


def find_error(
    configured: Mapping[Any, Any] | str | None, classes: Sequence[str] | None, *, leave_out: bool = False
) -> ConfigurationError | None:
    """Return what is wrong with the map, if anything is; outputs are checked even where the classes are unknown."""
    try:
        if isinstance(configured, str):
            configured = read_class_map(configured)
        names = list(map(str, configured or {})) if classes is None else classes
        resolve_class_map(configured, names, leave_out=leave_out)
    except ConfigurationError as error:
        return error
    return None


def _resolve_outputs(key: str, outputs: Any, problems: list[str]) -> list[int]:
    """Return the indices, sorted and each once; what is wrong with the outputs joins the problems."""
    if isinstance(outputs, Mapping):  # as it is kept with a run: index -> ImageNet's name
        outputs = list(outputs)
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    if not outputs:
        problems.append(f"{key}: is empty; give at least one output by index or name")
    indices = set[int]()
    for output in outputs:
        try:
            indices.update(_find_outputs(output))
        except ValueError as error:
            problems.append(f"{key}: {error}")
    return sorted(indices)


def _find_outputs(output: Any) -> tuple[int, ...]:
    """Return the indices of what is given by an index, a name or a WordNet id.

    Raises:
        ValueError: says why there is none.
    """
    if isinstance(output, bool) or not isinstance(output, int | str):
        raise ValueError(f"{output!r} is neither an index nor a name")
    if isinstance(output, int) or output.isdecimal():
        if not 0 <= int(output) <= 999:
            raise ValueError(f"output {int(output)} is outside 0..999")
        return (int(output),)
    if is_wordnet_id(output):
        if output in synsets():
            return synsets()[output].outputs
        raise ValueError(
            f"none of ImageNet's 1000 classes is a kind of {output}; `{invocation('imagenet')} WORD` finds ids"
        )
    query, names = _normalize(output), [_normalize(name) for name in class_names()]
    exact = [index for index, name in enumerate(names) if name == query]
    if len(exact) == 1:
        return (exact[0],)
    if exact:
        raise ValueError(f"{output} names several ImageNet classes; give an index: {list_outputs(exact)}")
    if similar := [index for index, name in enumerate(names) if query in name.split()]:
        mend = f"give an index: {list_outputs(similar)}{_wider(output)}"
        raise ValueError(f"ImageNet has no class {output} by that full name; {mend}")
    raise ValueError(f"ImageNet has no class {output}{_wider(output) or nearest(query, names)}")


def _candidates(name: str) -> str:
    queries = {_normalize(name), _normalize(name).removesuffix("s")}
    indices = [index for index, candidate in enumerate(class_names()) if queries & set(_normalize(candidate).split())]
    if not indices:
        return _wider(name)
    return f" (perhaps {list_outputs(indices)}{_wider(name)})"


def _wider(name: str) -> str:
    """Return what WordNet has of that very name, if more than one output is a kind of it."""
    queries = {_normalize(name), _normalize(name).removesuffix("s")}
    for synset in search(name):
        if len(synset.outputs) > 1 and queries & set(map(_normalize, synset.words)):
            return f"; or all {len(synset.outputs)} of {synset.id}, {synset.words[0]}"
    return ""


def list_outputs(indices: Sequence[int], limit: int = 8) -> str:
    """Name outputs by their indices and ImageNet's names for them, so many at most."""
    text = ", ".join(f"{index} ({class_names()[index]})" for index in indices[:limit])
    return text + (f" and {len(indices) - limit} more" if len(indices) > limit else "")


def _normalize(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
