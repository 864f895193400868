"""A run as the tracking store remembers it, in plain types, so that tables and reports are made without MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tlft.names import Tag


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        status: FINISHED, FAILED, KILLED, RUNNING or SCHEDULED.
        deleted: whether somebody deleted it in the user interface.
        start_time: milliseconds since 1970 (UTC).
        key: SHA-256 that says which run it is (see tlft/runs/run_key.py); empty if tlft did not make it.
        params: the scientific configuration, flattened: dotted names and texts.
        metrics: the last value of each.
        artifacts: the address of its files.
        parts: the runs that were joined into this record, one for each fold (see folds.py); None of a run itself.
    """

    run_id: str
    name: str
    status: str
    deleted: bool
    start_time: int
    key: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    artifacts: str = ""
    experiment_id: str = ""
    parts: tuple[Record, ...] | None = None

    @property
    def files(self) -> dict[str, tuple[int, str]]:
        """Name -> bytes and SHA-256 of every file that the run must have."""
        return files_of(self.tags)


def files_of(tags: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    """Return what tags of a run tell of its files, those of an earlier version too: name -> bytes and SHA-256."""
    listed: dict[str, tuple[int, str]] = json.loads(tags.get(Tag.FILES) or tags.get(Tag.FORMER_FILES) or "{}")
    return {name: (size, sha256) for name, (size, sha256) in listed.items()}
