"""Show how far long work has come: a bar on a terminal, plain log lines elsewhere.

What the work is, is the caller's business; nothing here computes.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

log = logging.getLogger(__name__)

Advance = Callable[..., None]
"""`advance(n=1, note="")`: n more units are done; `note` replaces the text behind the bar."""

_SECONDS_BETWEEN_LINES = 10.0


def on_terminal() -> bool:
    """Tell whether a moving bar can be shown: standard error is a terminal that understands one."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Log to whatever standard error is at that moment: while a bar is shown, lines go above it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        """Standard error, looked up anew."""
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError("a console handler has no stream of its own")


@contextmanager
def progress(description: str, total: int, unit: str = "", done: int = 0) -> Iterator[Advance]:
    """Yield a function that is called as `advance(n, note=...)` while the work goes on.

    Args:
        description: a few words, such as `decoding images`.
        total: how many units there are; 0 where nobody knows.
        unit: name of a unit in plural, or `bytes`, which is shown as MB.
        done: units that were done before.
    """
    with _bar(description, total, unit, done) if on_terminal() else _lines(description, total, unit, done) as advance:
        yield advance


@contextmanager
def _bar(description: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    from rich import progress as rich_progress
    from rich.console import Console

    count = (
        [rich_progress.DownloadColumn(), rich_progress.TransferSpeedColumn()]
        if unit == "bytes"
        else [rich_progress.MofNCompleteColumn(), rich_progress.TextColumn(unit)]
    )
    columns = [
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        *count,
        rich_progress.TimeRemainingColumn(compact=True),
        rich_progress.TextColumn("{task.fields[note]}"),
    ]
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(description, total=total or None, completed=done, note="")

        def advance(n: int = 1, note: str = "") -> None:
            bars.update(task, advance=n, note=note)

        yield advance


@contextmanager
def _lines(description: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    last = time.monotonic()

    def amount(n: int) -> str:
        return f"{n / 1e6:.1f} MB" if unit == "bytes" else f"{n}"

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal last, done
        done += n
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            of = f" of {amount(total)}" if total else ""
            tail = f" {unit}" if unit and unit != "bytes" else ""
            log.info("%s: %s%s%s%s", description, amount(done), of, tail, f", {note}" if note else "")

    yield advance
