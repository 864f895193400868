"""A table of jobs for the terminal, in which figures and ids stay whole and what all jobs share is said once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tlft.names import short_id
from tlft.terminal.text_table import render_table


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
    shared = _shared([line.words for line in lines])
    timed = any(line.seconds for line in lines)
    rows = []
    for line in lines:
        accuracy = "-" if line.accuracy is None else f"{100 * line.accuracy:.3f} %"
        seconds = [f"{line.seconds:.1f} s" if line.seconds else "-"] if timed else []
        name = " ".join(word for word in line.words if word not in shared)
        rows.append([str(line.number), name, line.status, accuracy, *seconds, short_id(line.run_id) or "-"])
    titles = ("job", "run", "status", "accuracy", *(["time"] if timed else []), "run id")
    text = render_table(titles, rows, right=("accuracy", "time"), whole=("job", "run id"), width=width)
    return f"all: {' '.join(shared)}\n{text}" if shared else text


def _shared(names: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the words that all of several names have, in their order; a name keeps one word at least."""
    if len(names) < 2:
        return ()
    common = [word for word in names[0] if all(word in name for name in names)]
    return tuple(common) if all(len(set(name)) > len(common) for name in names) else ()
