"""Read `data.class_map` from a file, for classes whose names no command line takes: YAML, JSON or CSV."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tlft.errors import ConfigurationError, one_line

_KINDS = ".yaml, .yml, .json or .csv"


def read_class_map(name: str) -> Mapping[Any, Any]:
    """Return what the file says: for each class an output, or a list of outputs, by index or by name.

    YAML and JSON hold a mapping; CSV a line for each class, `class,output,...`, also several of one class, perhaps
    below a line `class,output`.

    Raises:
        ConfigurationError: if there is no such file, or it holds anything else.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        hint = "" if path.suffix else f"; write {{class:[output,...],...}}, or name a {_KINDS} file"
        raise ConfigurationError(f"data.class_map={name}: no such file{hint}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            return _read_csv(name, text)
        if path.suffix.lower() not in (".yaml", ".yml", ".json"):
            raise ConfigurationError(f"data.class_map={name}: is of no kind that is known here; name a {_KINDS} file")
        is_json = path.suffix.lower() == ".json"
        content = json.loads(text, object_pairs_hook=_each_once) if is_json else yaml.load(text, _Loader)
    except OSError as error:
        raise ConfigurationError(f"data.class_map={name}: cannot be read ({error.strerror}); mend that") from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        mend = "write class: [output, ...]"
        raise ConfigurationError(f"data.class_map={name}: cannot be read ({one_line(error, 200)}); {mend}") from None
    if not isinstance(content, Mapping) or not content:
        raise ConfigurationError(f"data.class_map={name}: holds no map of classes; write class: [output, ...]")
    return content


class _Loader(yaml.BaseLoader):
    """Reads every scalar as text, and refuses a mapping that has a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _each_once([(self.construct_object(key), None) for key, _ in node.value])
        return super().construct_mapping(node, deep)


def _each_once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return pairs as a mapping; ValueError if a key is there twice, of which only the last would count."""
    for key, count in Counter(str(key) for key, _ in pairs).items():
        if count > 1:
            raise ValueError(f"{key} is there {count} times; give it once")
    return dict(pairs)


def _read_csv(name: str, text: str) -> dict[str, list[str]]:
    outputs: dict[str, list[str]] = {}
    for number, row in enumerate(csv.reader(text.splitlines(), skipinitialspace=True), 1):
        cells = [cell.strip() for cell in row]
        is_heading = number == 1 and " ".join(cells[:2]).lower() in ("class output", "class outputs")
        if is_heading or not any(cells):
            continue
        if len(cells) < 2 or not all(cells[:2]):
            raise ConfigurationError(f"data.class_map={name}: line {number} is no class,output[,output...]; mend it")
        outputs.setdefault(cells[0], []).extend(filter(None, cells[1:]))
    if not outputs:
        raise ConfigurationError(f"data.class_map={name}: holds no map of classes; write class,output[,output...]")
    return outputs
