"""What Ctrl-C does to a command that has nothing to save: one line, status 130, and never a stack trace.

Nothing heavy may be imported here. How runs and sweeps are stopped is the story of tlft/runtime/signals.py.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from types import FrameType

INTERRUPTED = "interrupted"
GOES_ON = f"{INTERRUPTED}: the same command goes on where it stopped"

_STATUS = 130
_line = INTERRUPTED
_is_ending = False


def leave_at_ctrl_c(line: str) -> None:
    """End the process at Ctrl-C with a line, until somebody else listens: for a command that loads its libraries."""
    global _line
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        _line = line
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    """Leave at once: there is nothing to end, and an exception may get lost among those that imports expect."""
    if not is_a_job():
        say_at_ctrl_c(_line)
    os._exit(_STATUS)


def interrupt_at_ctrl_c() -> None:
    """Have Ctrl-C raise KeyboardInterrupt again, for a command that is loaded and has something to end."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def say_at_ctrl_c(line: str) -> None:
    """Write a line to standard error, on a terminal over the `^C` that it has shown."""
    to_line_start()
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def to_line_start() -> None:
    """Have the next line cover the `^C` that a terminal has shown."""
    if sys.stderr.isatty():
        sys.stderr.write("\r")
        sys.stderr.flush()


def status_of_ctrl_c() -> int:
    """Return the exit status of an interrupted command, which the process then has, whatever else Python makes of it.

    `python -m` ends by the signal if KeyboardInterrupt has passed through code that was compiled from text, such as a
    dataclass has.
    """
    global _is_ending
    _is_ending = True
    return _STATUS


def is_a_job() -> bool:
    """Tell whether this is a process of a sweep's job, into which multiprocessing imports the command anew."""
    return "__mp_main__" in sys.modules


@atexit.register  # before those of all libraries, so that it is called after them
def _end() -> None:
    if _is_ending:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(_STATUS)
    gc.freeze()  # Python would look through all that the libraries hold for rings, which takes a second
