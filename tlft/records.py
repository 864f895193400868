"""What is read back of a run, as plain data that knows nothing of MLflow.

What the figures mean, and how runs are compared, is the business of `analysis`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Record:
    """One run as it stands in the tracking store.

    Attributes:
        status: `FINISHED`, `FAILED`, `KILLED`, `RUNNING` or `SCHEDULED`.
        start_time: milliseconds since 1970.
        key: the run key; empty for a run that tlft did not make.
        params: the scientific configuration, flattened, every value as text.
        metrics: the last value of each.
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Record:
        """Build from what `to_dict` gave."""
        return cls(**values)
