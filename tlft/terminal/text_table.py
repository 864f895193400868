"""Tables as text, as wide as the terminal; figures and names that somebody may copy are never cut."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Sequence
from io import StringIO


def width_of_output() -> int:
    """Return the columns of the terminal, or 100 where standard output is none and `COLUMNS` says nothing."""
    is_known = "COLUMNS" in os.environ or sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_known else 100


def render_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    whole: Collection[str] = (),
    width: int | None = None,
) -> str:
    """Return a table as text, at most `width` columns wide (those of the terminal) where what is whole leaves room.

    Columns whose titles are in `right` are aligned to the right; they are never broken, as those in `whole`.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in titles:
        is_right = title in right
        no_wrap = is_right or title in whole
        table.add_column(title, justify="right" if is_right else "left", no_wrap=no_wrap, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    page = StringIO()
    Console(file=page, width=width or width_of_output(), color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines() if line.strip())
