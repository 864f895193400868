"""Hear the signals that tell a process to stop, and let a training step that is under way end first."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

STOPPING = ("SIGTERM", "SIGUSR1", "SIGUSR2")

_Handler = Callable[[int, FrameType | None], object]


class Stopped(SystemExit):
    """End a process that a signal has told to stop; whatever else calls `sys.exit` in a run is a fault of the run."""


class _Heard:
    """The signal that was heard, whether it is waited with, what is said then, and who else wants to hear it."""

    number: int | None = None
    patient = False
    intent = ""
    requeue: _Handler | None = None


def listen() -> None:
    """Turn the signals that tell a process to stop into an exception: Ctrl-C into KeyboardInterrupt, others Stopped.

    A handler of submitit that stands for SIGUSR2 is kept, and is handed over to in the end: it puts the job back into
    Slurm's queue.
    """
    handler = signal.getsignal(signal.SIGUSR2) if hasattr(signal, "SIGUSR2") else None
    if callable(handler) and handler not in (_hear, signal.default_int_handler):
        _Heard.requeue = handler
    for name in STOPPING:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _hear)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell has it for what runs in the background
        signal.signal(signal.SIGINT, _hear)


@contextmanager
def patient() -> Iterator[None]:
    """Let the first signal wait for `stop_if_asked`, or the end of the block; a second Ctrl-C stops at once."""
    with deferred("stopping after this step, with a checkpoint"):
        yield
    stop_if_asked()


@contextmanager
def deferred(intent: str) -> Iterator[None]:
    """Say the intent at a first signal, and let it wait, beyond the block, for `stop_if_asked`; a second one stops."""
    _Heard.patient, _Heard.intent = True, intent
    try:
        yield
    finally:
        _Heard.patient = False


def asked_to_stop() -> bool:
    """Tell whether a signal waits."""
    return _Heard.number is not None


def stop_if_asked() -> None:
    """Raise what the signal that waits stands for, if one waits."""
    number = _Heard.number
    if number is None:  # nothing is written then: a signal may come at this very moment
        return
    _Heard.number = None
    if hasattr(signal, "SIGUSR2") and number == signal.SIGUSR2 and _Heard.requeue is not None:
        try:
            _Heard.requeue(number, None)
        except SystemExit as error:
            raise Stopped(error.code) from None
        except Exception as error:  # submitit's, at one time-out too many; taken for a fault of the run otherwise
            log.warning("%s", error)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Stopped(143)


def _hear(number: int, frame: FrameType | None) -> None:
    again = _Heard.number is not None
    _Heard.number = number
    if again or not _Heard.patient:
        _Heard.patient = False
        stop_if_asked()
    once_more = "; once more stops at once" if number == signal.SIGINT else ""
    message = f"{signal.Signals(number).name}: {_Heard.intent}{once_more}\n"
    os.write(2, message.encode())  # not through logging, which may be in the middle of a line of its own
