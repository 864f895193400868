"""Keep what a run logs on disk first, in order, until the tracking store has it, wherever that is."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from tlft.errors import TlftError
from tlft.storage.files import atomic_write

log = logging.getLogger(__name__)

Entry = dict[str, Any]

_SECONDS_UNSYNCED = 1.0
"""So much of the figures of epochs may a power cut take, unless a checkpoint was saved meanwhile."""

MOST_FIGURES = 1000
"""How many a tracking store takes in one request."""


class Journal:
    """An append-only file of entries, and how many of them were delivered.

    A process may be killed at any moment: a torn last line is cut off when the file is opened again, and an entry
    that was delivered without its mark is delivered twice, which must change nothing. `confirm` is asked before
    anything is written or delivered, and raises if the run is another process's by now.

    Raises:
        TlftError: if a line is damaged that was whole on the disk once.
    """

    def __init__(self, folder: Path, confirm: Callable[[], None] = lambda: None) -> None:
        self._confirm = confirm
        self._path, self._mark = folder / "journal.jsonl", folder / "delivered"
        self.entries: list[Entry] = []
        self._unwritten: list[Entry] = []
        self._synced = monotonic()
        if self._path.exists():
            whole = self._path.read_bytes()
            end = whole.rfind(b"\n") + 1
            if end < len(whole):
                os.truncate(self._path, end)
            self.entries = [self._parse(line, number) for number, line in enumerate(whole[:end].splitlines(), 1)]
        self._delivered = self._read_mark()
        self._metrics = {(entry["step"], name) for entry in self.entries for name in entry.get("metrics", {})}

    def _parse(self, line: bytes, number: int) -> Entry:
        try:
            entry: Entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError
        except ValueError:
            raise TlftError(
                f"{self._path}: line {number} is damaged, so the run cannot go on; put the file back, or delete "
                f"{self._path.parent} to begin the run anew"
            ) from None
        return entry

    def append(self, *, durable: bool = True, **entry: Any) -> None:
        """Add an entry; on a full disk it waits in memory, and is written with the next one.

        A `durable` one, and all before it, survive a power cut, which takes some milliseconds; a process that is killed
        loses none.
        """
        self._confirm()
        self.entries.append(entry)
        self._unwritten.append(entry)
        text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in self._unwritten)
        size = self._path.stat().st_size if self._path.exists() else 0
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                    self._synced = monotonic()
        except OSError as error:
            log.warning("%s: %s; what is logged waits in memory", self._path, error.strerror)
            if self._path.exists():
                os.truncate(self._path, size)
            return
        self._unwritten.clear()

    def sync(self) -> None:
        """Have what was added survive a power cut, before something that builds on it does."""
        with suppress(OSError), self._path.open("rb") as file:
            os.fsync(file.fileno())
            self._synced = monotonic()

    def append_once(self, kind: str, value: Any) -> None:
        """Add an entry unless there is one of its kind."""
        if not self.has(kind):
            self.append(**{kind: value})

    def append_metrics(self, metrics: Mapping[str, float], step: int, time: int) -> None:
        """Add figures of a step, but for those that it has from before the run was interrupted; `time` is in ms."""
        if new := {name: value for name, value in metrics.items() if (step, name) not in self._metrics}:
            self._metrics |= {(step, name) for name in new}
            is_due = monotonic() - self._synced >= _SECONDS_UNSYNCED
            self.append(durable=is_due, metrics=new, step=step, time=time)

    def undelivered(self) -> Iterator[list[Entry]]:
        """Yield what is still to be delivered, figures of several steps together, any other entry by itself.

        What was yielded is marked as delivered when the next is asked for.
        """
        while self._delivered < len(self.entries):
            self._confirm()
            together = self._next_together()
            yield together
            self._delivered += len(together)
            try:
                atomic_write(self._mark, str(self._delivered).encode(), durable=False)
            except Exception as error:
                log.debug("%s: %s", self._mark, error)  # it is delivered again, which changes nothing

    def _next_together(self) -> list[Entry]:
        first, *others = self.entries[self._delivered :]
        figures, together = len(first.get("metrics", {})), [first]
        for entry in others if figures else []:
            figures += len(entry.get("metrics", {}))
            if "metrics" not in entry or figures > MOST_FIGURES:
                break
            together.append(entry)
        return together

    @property
    def waiting(self) -> int:
        """How many entries are still to be delivered."""
        return len(self.entries) - self._delivered

    def has(self, kind: str) -> bool:
        """Tell whether there is an entry of a kind, such as `end`."""
        return any(kind in entry for entry in self.entries)

    def _read_mark(self) -> int:
        try:
            return min(int(self._mark.read_text()), len(self.entries))
        except (OSError, ValueError):
            return 0
