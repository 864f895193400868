"""A word at once, before anything is imported that takes seconds; nothing heavy may be imported here."""

from __future__ import annotations

import sys
from functools import cache

from tlft.terminal.ctrl_c import INTERRUPTED, is_a_job, leave_at_ctrl_c
from tlft.terminal.loading import search_rarely

_SHOWS = ("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--version")
"""Options with which a command shows something, and does nothing."""


def begin() -> None:
    """Greet, and leave at Ctrl-C while libraries are loaded: the first thing that a command does."""
    leave_at_ctrl_c(INTERRUPTED)
    greet()


@cache
def greet(what: str = "loading the libraries") -> None:
    """Say on a terminal, once, that the command has begun, and what it is at; it may load its libraries now."""
    search_rarely()
    shows = any(text.partition("=")[0] in _SHOWS for text in sys.argv[1:])
    if sys.stderr.isatty() and not shows and not is_a_job():
        sys.stderr.write(f"{what} ...\n")
        sys.stderr.flush()
