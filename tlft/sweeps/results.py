"""What became of the jobs of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tlft.sweeps.jobs import PlannedJob
from tlft.tracking.outcome import Outcome


@dataclass(frozen=True)
class Result:
    """What became of a job; `folder` has its output, if it was begun."""

    planned: PlannedJob
    outcome: Outcome
    folder: Path | None = None
