"""What became of a run or will become of it, from the plan to the summary: one set of words, and one record of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from tlft.names import Metric, Tag


class RunStatus(StrEnum):
    """Where a run stands, as a plan, a job's outcome, a summary and its files say it.

    MLflow's own words (RUNNING, FINISHED, FAILED, KILLED) stand in records alone.
    """

    NEW = "new"
    UNFINISHED = "unfinished"  # begun, by a process that is gone
    RUNNING = "running"  # computed by this very job
    ELSEWHERE = "elsewhere"  # computed by another process
    SKIPPED = "skipped"  # it was done before
    DONE = "done"  # it was computed now
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    NOT_STARTED = "not started"

    @property
    def label(self) -> str:
        """What people read."""
        labels = {self.UNFINISHED: "to resume", self.ELSEWHERE: "running elsewhere", self.SKIPPED: "done before"}
        return labels.get(self, self.value)

    @property
    def is_complete(self) -> bool:
        """Whether the run has its figures, whenever it was computed."""
        return self in (RunStatus.DONE, RunStatus.SKIPPED)


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        metrics: name -> last value; empty as long as there are none.
        seconds: what the run took when it was computed, or the job until now.
        error: why it failed, in a line.
        tags: of the run, where it was looked up in its store.
    """

    status: RunStatus
    run_id: str = ""
    name: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """The figure that a run returns: the hold-out's accuracy if there is one, else the evaluation's."""
        return self.metrics.get(Metric.HOLDOUT_ACCURACY, self.metrics.get(Metric.ACCURACY))

    def is_of(self, commit: str) -> bool:
        """Whether the code of a commit, and nothing else, computed the run."""
        return self.tags.get(Tag.COMMIT) == commit and self.tags.get(Tag.DIRTY) != "true"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without what there is none of; `from_dict` builds the same but for the tags."""
        values = {**asdict(self), "status": self.status.value, "score": self.score}
        always = ("status", "run_id", "seconds")
        kept = {name: value for name, value in values.items() if name in always or value not in (None, "", {})}
        return {name: value for name, value in kept.items() if name != "tags"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Outcome:
        """Build from what `to_dict` gave; KeyError, TypeError or ValueError say that it is something else."""
        fields = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**fields | {"status": RunStatus(values["status"])})
