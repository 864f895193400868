"""A table of jobs for the terminal, in which figures and ids stay whole and what all jobs share is said once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from tlft.names import short_id

_WITHOUT_TERMINAL = 100


@dataclass(frozen=True)
class JobLine:
    """What is shown of a job; `words` are its name and its data set."""

    number: int
    words: tuple[str, ...]
    status: str
    accuracy: float | None
    seconds: float
    run_id: str


def render_jobs(lines: Sequence[JobLine], width: int | None = None) -> str:
    """Return the table as text, at most `width` columns wide (those of the terminal) where figures leave room."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shared = _shared([line.words for line in lines])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    timed = any(line.seconds for line in lines)
    for title in ("job", "run", "status", "accuracy", *(["time"] if timed else []), "run id"):
        is_text = title in ("run", "status")
        table.add_column(title, justify="right" if title in ("accuracy", "time") else "left", no_wrap=not is_text)
    for line in lines:
        accuracy = "-" if line.accuracy is None else f"{100 * line.accuracy:.3f} %"
        seconds = [f"{line.seconds:.1f} s" if line.seconds else "-"] if timed else []
        name = " ".join(word for word in line.words if word not in shared)
        cells = [str(line.number), name, line.status, accuracy, *seconds, short_id(line.run_id) or "-"]
        table.add_row(*map(Text, cells))
    page = StringIO()
    columns = width or (shutil.get_terminal_size().columns if sys.stdout.isatty() else _WITHOUT_TERMINAL)
    Console(file=page, width=columns, color_system=None, legacy_windows=False).print(table)
    text = [line.rstrip() for line in page.getvalue().splitlines() if line.strip()]
    return "\n".join([f"all: {' '.join(shared)}", *text] if shared else text)


def _shared(names: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the words that all of several names have, in their order; a name keeps one word at least."""
    if len(names) < 2:
        return ()
    common = [word for word in names[0] if all(word in name for name in names)]
    return tuple(common) if all(len(set(name)) > len(common) for name in names) else ()
