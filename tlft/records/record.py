"""A run as the tracking store remembers it, in plain types, so that tables and reports are made without MLflow."""

from __future__ import annotations

from dataclasses import dataclass


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
