"""Show the jobs that run in other processes: a moving line for each on a terminal, plain lines in a log.

Each job says in its folder how far it has come; see `tlft.terminal.progress.report_to`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlft.sweeps.forecast import Forecast
from tlft.sweeps.launchers.worker import PROGRESS_FILE, JobOrder
from tlft.terminal.progress import bars, describe_duration, on_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 60.0


class Monitor:
    """The line of the sweep, and those of the jobs that run."""

    def __init__(self, display: Progress | None, orders: Sequence[JobOrder] = ()) -> None:
        self._display = display
        self._forecast = Forecast.of(orders)
        self._started: dict[int, float] = {}
        self._busy = 1
        self._sweep: TaskID | None = None
        self._lines: dict[int, TaskID] = {}
        self._last_line = time.monotonic()

    def look(self, folders: Mapping[int, Path]) -> None:
        """Look how far the running jobs have come; `folders` has that of each, by its number."""
        states = dict(_read(folders))
        self._count(folders, states)
        if self._display is not None:
            self._move(self._display, folders, states)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            if self._forecast.total > 1:
                left = self._forecast.describe_left()
                amount = f"{self._forecast.done} of {self._forecast.total} jobs"
                log.info("sweep: %s", ", ".join(filter(None, [amount, left])))
            for number, state in states.items():
                log.info("job %d: %s", number, _describe(state))

    def _count(self, folders: Mapping[int, Path], states: Mapping[int, dict[str, Any]]) -> None:
        """Notice which jobs have begun and which are over; those beside each other share the machine."""
        now = time.monotonic()
        for number in [number for number in self._started if number not in folders]:
            self._forecast.finish(number, (now - self._started.pop(number)) / self._busy)
        self._started = {number: self._started.get(number, now) for number in folders}
        self._busy = max(self._busy, len(folders))
        for number, state in states.items():
            if state.get("is_main") and (left := _seconds_left(state)) is not None:
                self._forecast.advance(number, (now - self._started[number]) / self._busy, left / self._busy)

    def _move(self, display: Progress, folders: Mapping[int, Path], states: Mapping[int, dict[str, Any]]) -> None:
        forecast = self._forecast
        if forecast.total > 1:
            if self._sweep is None:
                self._sweep = display.add_task("sweep", total=forecast.total, note="", unit="jobs", is_whole=True)
            display.update(self._sweep, completed=forecast.done, note=forecast.describe_left())
        for number in [number for number in self._lines if number not in folders]:
            display.remove_task(self._lines.pop(number))
        for number, state in states.items():
            description = f"job {number}: {state['description']}"
            if number not in self._lines:
                self._lines[number] = display.add_task(description, total=None, note="", unit="")
            display.update(
                self._lines[number],
                description=description,
                total=state["total"] or None,
                completed=state["done"],
                note=state["note"],
                unit=state["unit"],
            )


@contextmanager
def monitoring(orders: Sequence[JobOrder]) -> Iterator[Monitor]:
    """Yield what shows the running jobs of some, within the block."""
    with bars() if on_terminal() else nullcontext() as display:
        yield Monitor(display, orders)


def _read(folders: Mapping[int, Path]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, folder in sorted(folders.items()):
        try:
            yield number, json.loads((folder / PROGRESS_FILE).read_text())
        except (OSError, ValueError):
            continue  # it has not begun, or its folder is shared and lags behind


def _seconds_left(state: Mapping[str, Any]) -> float | None:
    return (state["total"] - state["done"]) / state["rate"] if state["total"] and state["rate"] else None


def _describe(state: Mapping[str, Any]) -> str:
    done, total, unit, rate = state["done"], state["total"], state["unit"], state["rate"]
    amount = f"{done}" + (f" of {total}" if total else "") + (f" {unit}" if unit else "")
    seconds = _seconds_left(state)
    left = f"{describe_duration(seconds)} left" if seconds is not None else ""
    parts = [f"{state['description']}: {amount}", state["note"], f"{rate:.1f} {unit or 'units'}/s", left]
    return ", ".join(filter(None, parts))
