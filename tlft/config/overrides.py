"""Overrides as they are typed: how a value is written, and which single ones a sweep stands for."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override


def write_value(value: Any) -> str:
    """Write a value as Hydra's command line takes it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{write_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(write_value, value)) + "]"
    if isinstance(value, str):
        quoted = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), value)  # Hydra's own rule
        return f'"{quoted}"'
    return json.dumps(value)


def single_values(override: Override, most: int | None = None) -> list[str]:
    """Return the override as one text per value that it sweeps over, at most so many, or as it stands."""
    if override.is_sweep_override() and override.is_discrete_sweep():
        key = override.get_key_element()
        return [f"{key}={value}" for value in itertools.islice(override.sweep_string_iterator(), most)]
    return [str(override.input_line)]
