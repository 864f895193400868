"""A word at once, before anything is imported that takes seconds; nothing heavy may be imported here."""

from __future__ import annotations

import sys
from functools import cache

_SHOWS = ("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--version")
"""Options with which a command shows something, and does nothing."""


@cache
def greet(what: str = "loading the libraries") -> None:
    """Say on a terminal, once, that the command has begun, and what it is at."""
    if "__mp_main__" in sys.modules:  # a process of a sweep's job, into which multiprocessing imports the command anew
        return
    if sys.stderr.isatty() and not any(text.partition("=")[0] in _SHOWS for text in sys.argv[1:]):
        sys.stderr.write(f"{what} ...\n")
        sys.stderr.flush()
