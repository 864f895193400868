"""Show how far long work has come, whatever it is: a bar on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tlft.errors import TlftError, without_passwords
from tlft.storage.files import atomic_write
from tlft.terminal.line_breaks import MARGIN, fitting

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

log = logging.getLogger(__name__)

Advance = Callable[..., None]
"""`advance(n=1, note="")`: n more units are done; `note` replaces the text behind the bar."""

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_REPORTS = 0.5


def on_terminal() -> bool:
    """Tell whether a moving bar can be shown: standard error is a terminal that understands one.

    `NO_COLOR` takes its colours alone.
    """
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Log what goes well to standard output, so that `> log` has it, and warnings and errors to standard error.

    The streams are looked up anew: while a bar is shown, lines go above it. On a terminal they break between words.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self._goes_well = True

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Where the record goes that is being written."""
        return sys.stdout if self._goes_well else sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; called with the handler's lock held."""
        self._goes_well = record.levelno < logging.WARNING
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record as its stream shows it."""
        return fitting(super().format(record), self.stream)


_QUIET_BELOW = {
    **dict.fromkeys(("torch", "mlflow", "alembic", "timm", "matplotlib", "hydra"), logging.WARNING),
    "huggingface_hub": logging.ERROR,
}


class LibraryFilter(logging.Filter):
    """Leave out what libraries tell of their own affairs, such as PyTorch of its caches as it ends.

    At the door, and not by their loggers' levels: these are hundreds, which each job of a sweep would set anew.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is shown."""
        return record.levelno >= _QUIET_BELOW.get(record.name.partition(".")[0], 0)


class Formatter(logging.Formatter):
    """Format what is logged, tracebacks too, without the passwords that stand in addresses."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return without_passwords(super().format(record))


Left = Callable[[float | None], str]
"""What is left of a whole, in words, where its part that is at work will take so many seconds more; None: unknown."""

_overall: tuple[str, int, int, str, Left] | None = None


@contextmanager
def overall_progress(description: str, total: int, unit: str) -> Iterator[Callable[[int, Left], None]]:
    """Yield what is called as `show(done, left)` to have a line above every bar, of the whole that they are part of.

    A log has a line each time.
    """

    def show(done: int, left: Left) -> None:
        global _overall
        _overall = (description, done, total, unit, left)
        if not on_terminal():
            note = left(None)
            log.info("%s: %d of %d %s%s", description, done, total, unit, f", {note}" if note else "")

    global _overall
    try:
        yield show
    finally:
        _overall = None


_progress_file: Path | None = None


def report_to(path: Path) -> None:
    """From now on write into a file (JSON) how far this process has come, for the process that watches it."""
    global _progress_file
    _progress_file = path


@contextmanager
def progress(
    description: str, total: int, unit: str = "", done: int = 0, *, is_main: bool = False
) -> Iterator[Advance]:
    """Yield a function that is called as `advance(n, note=...)` while the work goes on.

    Args:
        description: a few words, such as `decoding images`.
        total: how many units there are; 0 where nobody knows.
        unit: name of a unit in plural, or `bytes`, which is shown as MB.
        done: units that were done before.
        is_main: whether it is nearly all that its job does, so that its rate tells when the job is over.
    """
    shown = _bar(description, total, unit, done, is_main) if on_terminal() else _lines(description, total, unit, done)
    with shown as advance:
        if _progress_file is None:
            yield advance
            return
        try:
            task = {"description": description, "total": total, "unit": unit} | ({"is_main": True} if is_main else {})
            yield _reporting(_progress_file, advance, task, done)
        finally:
            _progress_file.unlink(missing_ok=True)


def _reporting(path: Path, advance: Advance, task: dict[str, Any], done: int) -> Advance:
    started, before, last = time.monotonic(), done, 0.0

    def advance_and_report(n: int = 1, note: str = "") -> None:
        nonlocal done, last
        advance(n, note)
        done += n
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_REPORTS:
            return
        last = now
        report = {**task, "done": done, "note": note, "rate": (done - before) / max(now - started, 1e-9)}
        if path.parent.is_dir():  # else somebody took it away, and it is not made again
            with suppress(TlftError):  # nothing that is shown may stop a job
                atomic_write(path, json.dumps(report).encode(), durable=False)

    return advance_and_report


_moving: Progress | None = None


def above_bars(line: str) -> str:
    """Return what writes a line past rich, at any moment: it erases bars that move, and they go on below the line."""
    if _moving is None:
        return f"{line}\n"
    height = max(len(_moving.tasks), 1)
    erase = "\r" + "\x1b[1A".join(height * ["\x1b[2K"])
    return erase + line + height * "\n"  # as far down as rich believes to be


def _columns() -> list[ProgressColumn]:
    """Return what a line has of its task, from left to right."""
    from rich import progress as rich_progress
    from rich.table import Column
    from rich.text import Text

    class Amount(rich_progress.ProgressColumn):
        def render(self, task: rich_progress.Task) -> Text:
            columns = (rich_progress.DownloadColumn(), rich_progress.TransferSpeedColumn())
            if task.fields["unit"] == "bytes":
                return Text(" ").join(column.render(task) for column in columns)
            total = f"/{task.total:.0f}" if task.total else ""
            speed = f", {task.speed:.1f}/s" if task.speed and not task.fields.get("is_whole") else ""
            return Text(f"{task.completed:.0f}{total} {task.fields['unit']}{speed}")

    class TimeLeft(rich_progress.TimeRemainingColumn):
        def render(self, task: rich_progress.Task) -> Text:
            return (
                Text() if task.fields.get("is_whole") else super().render(task)
            )  # whose note says it, by what is known

    class Name(rich_progress.ProgressColumn):
        def render(self, task: rich_progress.Task) -> Text:
            return Text(task.description, no_wrap=True, overflow="ellipsis")

    def whole() -> Column:
        return Column(no_wrap=True)

    return [
        Name(table_column=Column(no_wrap=False, min_width=8)),  # which alone may be cut where the terminal is narrow
        rich_progress.BarColumn(bar_width=12),
        Amount(table_column=whole()),
        TimeLeft(compact=True, table_column=whole()),
        rich_progress.TextColumn("{task.fields[note]}", table_column=whole()),
    ]


def bars() -> Progress:
    """Return moving lines for a terminal; tasks have fields: `unit`, `note`, and `is_whole` one that others are of."""
    from rich import progress as rich_progress
    from rich.console import Console, ConsoleDimensions
    from rich.text import Text

    class NarrowConsole(Console):
        """Leaves the margin free, and breaks no line that is printed above the bars: whoever logs it has done so."""

        @property  # type: ignore[misc]
        def size(self) -> ConsoleDimensions:
            columns, lines = super().size
            return ConsoleDimensions(max(columns - MARGIN, 1), lines)

        def print(self, *objects: Any, **options: Any) -> None:
            is_line = bool(objects) and isinstance(objects[0], Text)
            super().print(*objects, **{"soft_wrap": is_line, **options})

    class Bars(rich_progress.Progress):
        def start(self) -> None:
            global _moving
            super().start()
            _moving = self

        def stop(self) -> None:
            global _moving
            _moving = None
            super().stop()

    return Bars(
        *_columns(),
        console=NarrowConsole(stderr=True),
        redirect_stdout=sys.stdout.isatty(),  # what goes into a file is not shown in its place
        transient=True,
        speed_estimate_period=120,
    )


@contextmanager
def _bar(description: str, total: int, unit: str, done: int, is_main: bool) -> Iterator[Advance]:
    with bars() as lines:
        whole: TaskID | None = None
        left: Left | None = None
        if _overall is not None:
            name, done_of_all, all_of_it, units, left = _overall
            note = left(None)
            whole = lines.add_task(name, total=all_of_it, completed=done_of_all, note=note, unit=units, is_whole=True)
        task = lines.add_task(description, total=total or None, completed=done, note="", unit=unit)
        started, before = time.monotonic(), done

        def advance(n: int = 1, note: str = "") -> None:
            nonlocal done
            done += n
            lines.update(task, advance=n, note=note)
            if whole is not None and left is not None and is_main and done > before:
                seconds = (total - done) * (time.monotonic() - started) / (done - before)
                lines.update(whole, note=left(seconds))

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


def describe_duration(seconds: float) -> str:
    """Say a time in one unit, such as `14 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def describe_space(size: int) -> str:
    """Say a number of bytes, such as `1.2 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 0.1):.1f} MB"
