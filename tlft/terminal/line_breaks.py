"""Break lines between words for the terminal that shows them; a log that goes into a file keeps them whole.

What is copied from a terminal (an id, a path, a command in backquotes) is never cut.
"""

from __future__ import annotations

import os
import re
import textwrap
from typing import TextIO

MARGIN = 3
"""Columns that stay free, so that what a keyboard echoes (`^C`) begins no line below."""

_KEPT = "\ue000"  # of no alphabet; a space that is none to `textwrap`
_WHOLE = re.compile(r"`[^`\n]+`|(?<=\d) (?=%|s\b|min\b|[GM]i?B\b)")


def columns_of(stream: TextIO) -> int:
    """Return how wide a line may be on a stream; 0 where it is no terminal, or one that does not know."""
    try:
        return os.get_terminal_size(stream.fileno()).columns - MARGIN if stream.isatty() else 0
    except (OSError, ValueError, AttributeError):
        return 0


def break_lines(text: str, width: int) -> str:
    """Return a text broken between words: quoted commands, figures with their unit, and what is too long stay whole."""
    return "\n".join(_break(line, width) for line in text.split("\n"))


def _break(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    whole = _WHOLE.sub(lambda match: match[0].replace(" ", _KEPT), line)
    wrapper = textwrap.TextWrapper(width, "", f"{indent}  ", break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(whole).replace(_KEPT, " ")


def fitting(text: str, stream: TextIO) -> str:
    """Return a text as a stream shows it best: with lines broken on a terminal, and as it is anywhere else."""
    width = columns_of(stream)
    return break_lines(text, width) if width > 0 else text
