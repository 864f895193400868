"""The 1000 ImageNet classes, and which of them stand for which class of a data set.

What a network predicts for them is the business of `tlft.evaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tlft.errors import ConfigurationError, nearest

BUILT_IN: Mapping[str, tuple[int, ...]] = {"ants": (310,), "bees": (309,)}
"""Class maps of the reference data set: `ant` and `bee` in the order of the ILSVRC-2012 challenge."""

ClassMap = dict[str, list[int]]


@cache
def class_names() -> tuple[str, ...]:
    """Return the 1000 names in the order of a network's outputs (those of torchvision's weights)."""
    return tuple((Path(__file__).parent / "imagenet_classes.txt").read_text().splitlines())


def resolve_class_map(configured: Mapping[str, Any] | None, classes: Sequence[str]) -> ClassMap:
    """Map each class of the data to its ImageNet outputs, as sorted indices.

    Args:
        configured: `data.class_map`: for each class an output or a list of outputs, by index or by name; classes
            that it leaves out are looked up in the built-in map.
        classes: the data's classes.

    Raises:
        ConfigurationError: with every class that has no map, every output that is unknown, ambiguous, outside
            0..999 or claimed twice.
    """
    configured = configured or {}
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
                f"such as data.class_map={{{name}:[310]}}{_candidates(name)}"
            )
            continue
        resolved[name], problems_of_class = _resolve_outputs(name, outputs)
        problems += problems_of_class
    problems += _claimed_twice(resolved)
    if problems:
        raise ConfigurationError(problems)
    return resolved


def find_problems(configured: Mapping[str, Any] | None, classes: Sequence[str] | None) -> list[str]:
    """Return what is wrong with the map, a line each; outputs are checked even where the classes are unknown."""
    try:
        resolve_class_map(configured, list(configured or {}) if classes is None else classes)
    except ConfigurationError as error:
        return error.problems
    return []


def _resolve_outputs(name: str, outputs: Any) -> tuple[list[int], list[str]]:
    """Return the indices, sorted and each once, and what is wrong with the outputs, a line each."""
    key = f"data.class_map.{name}"
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    if not outputs:
        return [], [f"{key}: is empty; give at least one output by index or name"]
    indices, problems = set(), []
    for output in outputs:
        if isinstance(output, str) and not output.isdecimal():
            index, problem = _find_by_name(key, output)
        elif isinstance(output, bool) or not isinstance(output, int | str):
            index, problem = None, f"{key}: {output!r} is neither an index nor a name"
        else:
            index = int(output)
            problem = "" if 0 <= index <= 999 else f"{key}: output {index} is outside 0..999"
        if problem:
            problems.append(problem)
        elif index is not None:
            indices.add(index)
    return sorted(indices), problems


def _find_by_name(key: str, name: str) -> tuple[int | None, str]:
    """Return the index of the output with this name, or None and what is wrong."""
    query, names = _normalize(name), [_normalize(imagenet_class) for imagenet_class in class_names()]
    exact = [index for index, candidate in enumerate(names) if candidate == query]
    if len(exact) == 1:
        return exact[0], ""
    if exact:
        return None, f"{key}: {name} names several ImageNet classes; give an index: {_list_outputs(exact)}"
    similar = [index for index, candidate in enumerate(names) if query in candidate.split()]
    if similar:
        return None, f"{key}: ImageNet has no class {name} by that full name; give an index: {_list_outputs(similar)}"
    return None, f"{key}: ImageNet has no class {name}{nearest(query, names)}"


def _candidates(name: str) -> str:
    queries = {_normalize(name), _normalize(name).removesuffix("s")}
    indices = [index for index, candidate in enumerate(class_names()) if queries & set(_normalize(candidate).split())]
    return f" (perhaps {_list_outputs(indices)})" if indices else ""


def _list_outputs(indices: Sequence[int], limit: int = 8) -> str:
    text = ", ".join(f"{index} ({class_names()[index]})" for index in indices[:limit])
    return text + (f" and {len(indices) - limit} more" if len(indices) > limit else "")


def _normalize(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _claimed_twice(resolved: ClassMap) -> list[str]:
    owners: dict[int, list[str]] = {}
    for name, outputs in resolved.items():
        for output in outputs:
            owners.setdefault(output, []).append(name)
    return [
        f"data.class_map: output {output} ({class_names()[output]}) stands for {' and '.join(names)}; "
        "give it to one class"
        for output, names in owners.items()
        if len(names) > 1
    ]
