"""The errors that a user can cause; each is one line that says what is wrong, where, and how to mend it.

Nothing else lives here: an error that only a programmer can cause is an ordinary exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TlftError(Exception):
    """Say in one line what a user can mend; no stack trace is shown for it (exit status 1)."""


class ConfigurationError(TlftError):
    """Carry every problem of a configuration, one line each (exit status 2).

    Attributes:
        problems: the lines, in the order in which they were found.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class NonFiniteLossError(TlftError):
    """Say where the loss stopped being a number; such a run is never continued."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the known name nearest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
