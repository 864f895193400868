"""Names under which a run's figures and files are kept, and how such names are spelled."""

from __future__ import annotations

import re
from collections.abc import Sequence

NEAR_DUPLICATES_FILE = "near_duplicates.json"
"""Kept with a run; empty where it found none."""


def escape_all(names: Sequence[str]) -> list[str]:
    """Spell names as MLflow takes them in a metric's name; those that would collide get their index."""
    escaped = [re.sub(r"[^\w\-. ]", "_", name) for name in names]
    return [f"{name}_{index}" if escaped.count(name) > 1 else name for index, name in enumerate(escaped)]
