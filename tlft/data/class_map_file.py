"""Read `data.class_map` from a file, for classes whose names no command line takes: YAML, JSON or CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
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
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.load(text, yaml.BaseLoader)
    except OSError as error:
        raise ConfigurationError(f"data.class_map={name}: cannot be read ({error.strerror}); mend that") from None
    except (ValueError, yaml.YAMLError) as error:
        mend = "write class: [output, ...]"
        raise ConfigurationError(f"data.class_map={name}: cannot be read ({one_line(error, 200)}); {mend}") from None
    if not isinstance(content, Mapping) or not content:
        raise ConfigurationError(f"data.class_map={name}: holds no map of classes; write class: [output, ...]")
    return content


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
