"""The errors that a user can cause; each is one line that says what is wrong, where, and how to mend it.

Nothing else lives here: an error that only a programmer can cause is an ordinary exception.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable


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


class RunDeletedError(TlftError):
    """Say that somebody deleted a run in the tracking store while it was computed."""


def exit_status(command: Callable[[], int]) -> int:
    """Run a command and return its exit status: what it returns; 2 if it was asked for wrongly; 1 if it failed.

    An error of the file system, such as a folder that may not be written to, is a failure in one line.
    """
    try:
        return command()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except TlftError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise  # the reader has seen enough, which is its caller's business
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"failed: {where}{error.strerror or error}; give write access, or set TLFT_HOME", file=sys.stderr)
        return 1


def out_of_memory(error: BaseException) -> str:
    """Return what was said if memory has run out, by PyTorch's allocators, by oneDNN or by Python; else nothing."""
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return said or "Python can allocate no more"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for its name
        return said[:_LONGEST_SAYING]
    found = _NO_MEMORY.search(said) if isinstance(error, RuntimeError) else None
    return said[found.start() :][:_LONGEST_SAYING] if found else ""


_LONGEST_SAYING = 200
_NO_MEMORY = re.compile(r"DefaultCPUAllocator: |could not create a (primitive|memory object)$|std::bad_alloc")
"""That is all that oneDNN says when it gets no memory."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the known name nearest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
