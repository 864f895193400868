"""The errors that a user can cause; each is one line that says what is wrong, where, and how to mend it.

Nothing else lives here: an error that only a programmer can cause is an ordinary exception.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class TlftError(Exception):
    """Say in one line what a user can mend; no stack trace is shown for it (exit status 1)."""


class ConfigurationError(TlftError):
    """Carry every problem of a configuration, one line each in `problems` (exit status 2)."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class NonFiniteLossError(TlftError):
    """Say where the loss stopped being a number; such a run is never continued."""


class RunDeletedError(TlftError):
    """Say that somebody deleted a run in the tracking store while it was computed."""


def one_line(text: object, longest: int | None = None) -> str:
    """Return a text, such as what an error says, in one line of at most so many characters."""
    return " ".join(str(text).split())[:longest]


def out_of_memory(error: BaseException) -> str:
    """Return what was said if memory has run out, by PyTorch's allocators, by oneDNN or by Python; else nothing."""
    message = one_line(error)
    if isinstance(error, MemoryError):
        return message or "Python can allocate no more"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for its name
        return message[:_LONGEST_MESSAGE]
    match = _NO_MEMORY.search(message) if isinstance(error, RuntimeError) else None
    return message[match.start() :][:_LONGEST_MESSAGE] if match else ""


_LONGEST_MESSAGE = 200
_NO_MEMORY = re.compile(r"DefaultCPUAllocator: |could not create a (primitive|memory object)$|std::bad_alloc")
"""That is all that oneDNN says when it gets no memory."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `; did you mean X?` for the choice nearest to a name, or an empty string."""
    matches = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
