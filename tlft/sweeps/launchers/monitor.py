"""Show the jobs that run in other processes: a moving line for each on a terminal, plain lines in a log.

Each job says in its folder how far it has come; see `tlft.runtime.progress.report_to`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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
        """Look how far the running jobs have come.

        Args:
            folders: number of each job that runs -> its folder.
        """
        if self._display is not None:
            self._move(self._display, folders)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            for number, state in _read(folders.items()):
                log.info("job %d: %s", number, _in_words(state))

    def _move(self, display: Progress, folders: Mapping[int, Path]) -> None:
        for number in [number for number in self._lines if number not in folders]:
            display.remove_task(self._lines.pop(number))
        for number, state in _read(folders.items()):
            words = f"job {number}: {state['description']}"
            if number not in self._lines:
                self._lines[number] = display.add_task(words, total=None, note="", unit="")
            display.update(
                self._lines[number],
                description=words,
                total=state["total"] or None,
                completed=state["done"],
                note=state["note"],
                unit=state["unit"],
            )


@contextmanager
def monitoring() -> Iterator[Monitor]:
    """Yield what shows the running jobs, within the block."""
    if not on_terminal():
        yield Monitor(None)
        return
    with bars() as display:
        yield Monitor(display)


def _read(folders: Iterable[tuple[int, Path]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, folder in sorted(folders):
        try:
            yield number, json.loads((folder / PROGRESS_FILE).read_text())
        except (OSError, ValueError):
            continue  # it has not begun, or its folder is shared and lags behind


def _in_words(state: Mapping[str, Any]) -> str:
    parts = [
        f"{state['description']}: {state['done']}",
        f"of {state['total']}" if state["total"] else "",
        state["unit"],
    ]
    note = f", {state['note']}" if state["note"] else ""
    left = (state["total"] - state["done"]) / state["rate"] if state["total"] and state["rate"] else None
    return (
        " ".join(filter(None, parts))
        + note
        + f", {state['rate']:.1f} {state['unit'] or 'units'}/s"
        + (f", {describe_duration(left)} left" if left is not None else "")
    )
