"""Look at what stands in files once for all that a command does with it, and for all jobs of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

_Seen = TypeVar("_Seen")

_seen: ContextVar[dict[Hashable, Any] | None] = ContextVar("_seen", default=None)


@contextmanager
def looking_once() -> Iterator[None]:
    """Have `look` remember what it has seen within the block; one within another remembers as that does."""
    if _seen.get() is not None:
        yield
        return
    token = _seen.set({})
    try:
        yield
    finally:
        _seen.reset(token)


def look(at: Hashable, see: Callable[[], _Seen]) -> _Seen:
    """Return what is seen; within the block of `looking_once` it is looked once `at` each thing."""
    seen = _seen.get()
    if seen is None:
        return see()
    if at not in seen:
        seen[at] = see()
    remembered: _Seen = seen[at]
    return remembered
