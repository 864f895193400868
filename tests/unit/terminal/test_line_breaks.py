from __future__ import annotations

import io
import logging
import os
import pty
import termios
from collections.abc import Iterator
from contextlib import suppress
from typing import TextIO

import pytest
from screen import screen

from tlft.terminal import progress as progress_module
from tlft.terminal.line_breaks import break_lines, fitting
from tlft.terminal.progress import ConsoleHandler, above_bars, bars

PATH = "/a/very/long/path/" + "that/goes/on/" * 8 + "run.log"
LONG = (
    f"the tracking store refuses metric eval/recall/ants; it is kept in {PATH} among the run's files, accuracy "
    "95.425 % after 12 s; `python -m tlft.sync --verify --experiment insects` brings it to 3f2a9c01d4e84f0bb1a2"
)


@pytest.mark.parametrize("width", [20, 77, 97])
def test_lines_break_between_words_and_cut_no_path_id_or_command(width: int) -> None:
    lines = break_lines(LONG, width).split("\n")
    assert " ".join(line.strip() for line in lines) == LONG
    for line in lines:
        assert len(line) <= width or len(line.strip().split(" ")) == 1 or "`" in line, line
    assert any(PATH in line for line in lines)
    assert any("`python -m tlft.sync --verify --experiment insects`" in line for line in lines)
    assert any("95.425 %" in line for line in lines)


def test_a_short_line_an_empty_one_and_an_indentation_stay() -> None:
    assert break_lines("short\n\n  indented", 20) == "short\n\n  indented"
    assert break_lines("  one two three four", 12) == "  one two\n    three\n    four"


def test_what_is_no_terminal_has_whole_lines() -> None:
    assert fitting(LONG, io.StringIO()) == LONG


def read_all(descriptor: int) -> str:
    """Read what was written so far, of which one call gives a part."""
    text = b""
    os.set_blocking(descriptor, False)
    with suppress(BlockingIOError):
        while True:
            text += os.read(descriptor, 1 << 16)
    return text.decode()


@pytest.fixture(params=[80, 100])
def terminal(request: pytest.FixtureRequest) -> Iterator[tuple[TextIO, int, int]]:
    """Yield a stream that is a terminal, its width, and the descriptor from which its output is read."""
    reading, writing = pty.openpty()
    termios.tcsetwinsize(writing, (40, request.param))
    with os.fdopen(writing, "w") as stream:
        yield stream, request.param, reading
    os.close(reading)


def test_what_is_logged_on_a_terminal_breaks_between_words(
    terminal: tuple[TextIO, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, width, reading = terminal
    monkeypatch.setattr("sys.stderr", stream)
    record = logging.makeLogRecord({"levelno": logging.WARNING, "msg": LONG.replace(PATH, "there")})
    ConsoleHandler().handle(record)
    stream.flush()
    lines = read_all(reading).splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) < width
    assert " ".join(line.strip() for line in lines) == LONG.replace(PATH, "there")


def test_a_line_of_a_signals_handler_erases_the_bars_that_go_on_below_it(
    terminal: tuple[TextIO, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, width, reading = terminal
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with bars() as moving:
        for name in ("sweep", "job 0", "job 1"):
            moving.add_task(
                name, total=10, note="epoch 1/90000, loss 0.6915, and more words than there is room", unit=""
            )
        moving.refresh()
        os.write(stream.fileno(), b"^C")
        os.write(stream.fileno(), above_bars("SIGINT: stopping").encode())
        moving.refresh()
        shown = read_all(reading)
        lines = screen(shown, width)
        assert lines[0] == "SIGINT: stopping"
        assert [line.split()[0] for line in lines[1:]] == ["sweep", "job", "job"]
    rest = read_all(reading)
    assert [line for line in screen(shown + rest, width) if line] == ["SIGINT: stopping"]
    assert progress_module._moving is None
    assert above_bars("SIGINT: stopping") == "SIGINT: stopping\n"


def test_a_path_that_is_printed_above_a_bar_is_not_cut(
    terminal: tuple[TextIO, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, _, reading = terminal
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", stream)
    monkeypatch.setenv("TERM", "xterm")
    with bars() as moving:
        moving.add_task("training", total=10, note="", unit="images")
        print(PATH)
    assert PATH in read_all(reading)
