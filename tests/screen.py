"""A terminal: what a command shows there in the end, and keys that are pressed while it runs."""

from __future__ import annotations

import os
import pty
import re
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

from tlft.config.paths import PROJECT

_PIECES = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


def screen(output: str, width: int) -> list[str]:
    """Return the lines that a terminal shows after some output: cursor movements are followed, colours are not."""
    lines, row, column = [""], 0, 0
    for number, letter, carriage_return, line_feed, text in _PIECES.findall(output):
        if carriage_return:
            column = 0
        elif line_feed:
            row += 1
        elif letter == "A":
            row = max(0, row - int(number or 1))
        elif letter == "K":
            lines[row] = "" if number == "2" else lines[row][:column]
        for character in text:
            if column == width:
                row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
            lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
            column += 1
        lines += [""] * (row + 1 - len(lines))
    return [line.rstrip() for line in lines]


class Terminal:
    """A command at work in a terminal of its own."""

    def __init__(self, *arguments: str, env: Mapping[str, str], width: int, cwd: Path = PROJECT) -> None:
        self.output = ""
        self.width = width
        environment = {name: text for name, text in (os.environ | dict(env)).items() if name != "COLUMNS"}
        self._pid, self._end = pty.fork()
        if not self._pid:
            termios.tcsetwinsize(0, (40, width))
            os.chdir(cwd)
            os.execve(sys.executable, [sys.executable, *arguments], {**environment, "TERM": "xterm-256color"})

    def _read(self) -> bool:
        try:
            new = os.read(self._end, 1 << 16)
        except OSError:  # the other end is closed
            new = b""
        self.output += new.decode(errors="replace")
        return bool(new)

    def read_until(self, pattern: str) -> None:
        """Wait until something is shown."""
        while not re.search(pattern, self.output):
            assert self._read(), self.output

    def press(self, keys: str) -> None:
        """Press keys, such as Ctrl-C (`\\x03`)."""
        os.write(self._end, keys.encode())

    def end(self) -> tuple[int, list[str]]:
        """Return the exit status and what stands on the screen, once the command has ended."""
        while self._read():
            pass
        _, status = os.waitpid(self._pid, 0)
        os.close(self._end)
        return os.waitstatus_to_exitcode(status), screen(self.output, self.width)
