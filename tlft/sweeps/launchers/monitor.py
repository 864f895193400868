"""Show the jobs that run in other processes: a moving line for each on a terminal, plain lines in a log.

Each job says in its folder how far it has come; see `tlft.runtime.progress.report_to`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlft.runtime.progress import bars, describe_duration, on_terminal
from tlft.sweeps.launchers.worker import PROGRESS_FILE

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 60.0


class Monitor:
    """The lines of the jobs that run."""

    def __init__(self, display: Progress | None) -> None:
        self._display = display
        self._lines: dict[int, TaskID] = {}
        self._last_line = time.monotonic()

    def look(self, folders: Mapping[int, Path]) -> None:
        """Look how far the running jobs have come; `folders` has that of each, by its number."""
        if self._display is not None:
            self._move(self._display, folders)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            for number, state in _read(folders):
                log.info("job %d: %s", number, _describe(state))

    def _move(self, display: Progress, folders: Mapping[int, Path]) -> None:
        for number in [number for number in self._lines if number not in folders]:
            display.remove_task(self._lines.pop(number))
        for number, state in _read(folders):
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
def monitoring() -> Iterator[Monitor]:
    """Yield what shows the running jobs, within the block."""
    with bars() if on_terminal() else nullcontext() as display:
        yield Monitor(display)


def _read(folders: Mapping[int, Path]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, folder in sorted(folders.items()):
        try:
            yield number, json.loads((folder / PROGRESS_FILE).read_text())
        except (OSError, ValueError):
            continue  # it has not begun, or its folder is shared and lags behind


def _describe(state: Mapping[str, Any]) -> str:
    done, total, unit, rate = state["done"], state["total"], state["unit"], state["rate"]
    amount = f"{done}" + (f" of {total}" if total else "") + (f" {unit}" if unit else "")
    left = f"{describe_duration((total - done) / rate)} left" if total and rate else ""
    parts = [f"{state['description']}: {amount}", state["note"], f"{rate:.1f} {unit or 'units'}/s", left]
    return ", ".join(filter(None, parts))
