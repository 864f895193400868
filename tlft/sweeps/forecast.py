"""How far a sweep has come and how long it still takes, corrected by what its jobs have taken."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence

from tlft.sweeps.launchers.worker import JobOrder
from tlft.terminal.progress import describe_duration


class Forecast:
    """The jobs that a sweep has to do, each with the seconds that earlier runs let expect; None where nobody knows.

    `kinds` says which jobs are alike, so that what one has taken tells of another.
    """

    def __init__(self, expected: Mapping[int, float | None], kinds: Mapping[int, Hashable]) -> None:
        self._expected, self._kinds = dict(expected), dict(kinds)
        self._taken: dict[int, float] = {}
        self._running: dict[int, tuple[float, float]] = {}

    @classmethod
    def of(cls, orders: Sequence[JobOrder]) -> Forecast:
        """Return that of what a launcher was ordered to do."""
        configs = {order.job.number: order.job.config for order in orders}
        kinds = {number: (str(config.arch), str(config.training)) for number, config in configs.items()}
        return cls({order.job.number: order.expected for order in orders}, kinds)

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return len(self._expected)

    @property
    def done(self) -> int:
        """How many are over."""
        return len(self._taken)

    def finish(self, number: int, seconds: float) -> None:
        """Hear that a job is over, and what it took of the machine; in a share of it, that part of its time."""
        self._taken[number] = seconds
        self._running.pop(number, None)

    def advance(self, number: int, seconds: float, left: float) -> None:
        """Hear what a job that runs has taken until now, and what it will still take at the rate that it has now.

        Both are seconds of the machine, as those of `finish`.
        """
        self._running[number] = seconds, left

    def seconds_left(self) -> float | None:
        """Return what the jobs that are not over will take; None if nobody knows.

        One that runs tells of others as one that is over does, by what it will have taken.
        """
        measured = self._taken | {number: taken + left for number, (taken, left) in self._running.items()}
        pairs = [(taken, expected) for number, taken in measured.items() if (expected := self._expected[number])]
        factor = sum(taken for taken, _ in pairs) / sum(expected for _, expected in pairs) if pairs else 1.0
        left = 0.0
        for number, expected in self._expected.items():
            if number in self._taken:
                continue
            if number in self._running:
                left += self._running[number][1]
            elif expected:
                left += factor * expected
            elif alike := [taken for done, taken in measured.items() if self._kinds[done] == self._kinds[number]]:
                left += statistics.fmean(alike)
            else:
                return None
        return left

    def describe_left(self) -> str:
        """Return `about 12 min left`, or nothing if nobody knows."""
        seconds = self.seconds_left()
        return "" if seconds is None else f"about {describe_duration(seconds)} left"
