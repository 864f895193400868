"""The errors that a user can cause; each is one line that says what is wrong, where, and how to mend it.

Nothing else lives here: an error that only a programmer can cause is an ordinary exception.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class TlftError(Exception):
    """Say in one line what a user can mend; no stack trace is shown for it (exit status 1)."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(without_passwords(text) if isinstance(text, str) else text for text in arguments))

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigurationError(TlftError):
    """Carry every problem of a configuration, one line each in `problems` (exit status 2)."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        texts = [problems] if isinstance(problems, str) else problems
        self.problems = [printable(without_passwords(text)) for text in texts]
        super().__init__("\n".join(self.problems))

    def __str__(self) -> str:
        return "\n".join(self.problems)


class InapplicableError(ConfigurationError):
    """Say why a job asks for what its network has not, though others of its sweep may ask it.

    A sweep leaves such a job out, and does the others.

    Attributes:
        in_a_sweep: the same in words for all jobs of its kind; else the problems themselves.
    """

    def __init__(self, problems: str | Iterable[str], in_a_sweep: str | None = None) -> None:
        super().__init__(problems)
        self.in_a_sweep = self.problems if in_a_sweep is None else [in_a_sweep]


class UnmappedError(InapplicableError):
    """Say why an untouched network cannot be asked: no output of ImageNet's stands for any class, or it has none."""


class NonFiniteLossError(TlftError):
    """Say where the loss stopped being a number; such a run is never continued."""


class RunDeletedError(TlftError):
    """Say that somebody deleted a run in the tracking store while it was computed."""


class RunElsewhereError(TlftError):
    """Say that another home has begun a run in the same moment, and computes it or has done so."""


class ClaimLostError(TlftError):
    """Say that another process may have taken over the run that this one computes; nothing more is written of it."""


def printable(text: str) -> str:
    r"""Return a text with what no terminal shows as it is (line ends, control characters) escaped, such as `\r`."""
    escaped = (letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return text if text.isprintable() else "".join(escaped)


def one_line(text: object, longest: int | None = None) -> str:
    """Return a text, such as what an error says, in one line of at most so many characters."""
    return without_passwords(" ".join(str(text).split()))[:longest]


PASSWORD = "***"
"""Stands where a password was."""


def without_passwords(text: str) -> str:
    """Return a text with every password in an address made unreadable; the rest of an address stays."""
    for pattern in _PASSWORDS if "://" in text else ():
        text = pattern.sub(rf"\g<before>{PASSWORD}\g<after>", text)
    return text


_OTHER_SCHEME = r"[\w+.-]+(?<!http)(?<!https)://[^:/@\s]*:"
_MORE_ATS = r"(?:[^@/?#,\s'\"]*@)*"  # of a password that holds an @, no part is shown

_PASSWORDS = (
    re.compile(rf"(?P<before>https?://)[^/@\s]+(?P<after>@){_MORE_ATS}", re.IGNORECASE),  # a name alone may be a token
    re.compile(rf"(?P<before>https?://)[^:/@\s]+:(?!\d+(?:[/?#\s]|$))[^@\s]+(?P<after>@){_MORE_ATS}", re.IGNORECASE),
    # As SQLAlchemy reads it, where a password may hold a slash.
    re.compile(rf"(?P<before>(?<!http)(?<!https)://[^:/@\s]*:)[^@\s]+?(?P<after>@){_MORE_ATS}", re.IGNORECASE),
    # One that holds a space, where a line or what is quoted begins with the address.
    re.compile(
        rf"^(?P<before>['\"]?[+\w./-]*=?['\"]?{_OTHER_SCHEME})[^@\n]+?(?P<after>@)", re.MULTILINE | re.IGNORECASE
    ),
    re.compile(rf"(?P<before>(?P<quote>['\"]){_OTHER_SCHEME})(?:(?!(?P=quote))[^@\n])+(?P<after>@)", re.IGNORECASE),
    re.compile(
        r"(?P<before>(?:[?&;=]|%3B)[\w%.-]*?(?:password|passwd|passphrase|pwd|secret|token)(?:=|%3D))[^&;\s'\",]+?"
        r"(?P<after>)(?=%3B|[&;\s'\",]|$)",
        re.IGNORECASE,
    ),
)


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
