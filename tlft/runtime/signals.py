"""Hear the signals that tell a process to stop, and let a training step that is under way end first."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tlft.terminal.ctrl_c import GOES_ON, say_at_ctrl_c, to_line_start
from tlft.terminal.progress import above_bars

log = logging.getLogger(__name__)

STOPPING = ("SIGTERM", "SIGUSR1", "SIGUSR2")

_Handler = Callable[[int, FrameType | None], object]


class Stopped(SystemExit):
    """End a process that a signal has told to stop; whatever else calls `sys.exit` in a run is a fault of the run."""


class _Heard:
    """What was heard since `listen`: a process that was told to stop is told so for good.

    Attributes:
        number: the signal that the process ends by; None if there was none yet.
        interrupts: how many of the signals were a Ctrl-C.
        raised: whether an exception has told of it, so that the process is ending.
        patient: whether a signal waits for `stop_if_asked`; `intent` is what is said then.
        said: whether it was said how what was stopped goes on.
        requeue: submitit's handler, which is handed over to once.
    """

    number: int | None = None
    interrupts = 0
    raised = False
    patient = False
    intent = ""
    said = False
    requeue: _Handler | None = None


def listen() -> None:
    """Turn the signals that tell a process to stop into an exception: Ctrl-C into KeyboardInterrupt, others Stopped.

    They are raised once, since systemd, containers and launchers send several: what is saved and said at the end is
    not broken off. Only a second Ctrl-C is impatience, and stops at once. A handler of submitit that stands for SIGUSR2
    is kept, and is handed over to in the end: it puts the job back into Slurm's queue.
    """
    _Heard.number, _Heard.interrupts, _Heard.raised, _Heard.patient = None, 0, False, False
    _Heard.said = False
    handler = signal.getsignal(signal.SIGUSR2) if hasattr(signal, "SIGUSR2") else None
    if callable(handler) and handler not in (_hear, signal.default_int_handler):
        _Heard.requeue = handler
    for name in STOPPING:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _hear)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell has it for what runs in the background
        signal.signal(signal.SIGINT, _hear)


def follow_parent() -> None:
    """Have this process told to stop when the one that has started it is gone; else it would be an orphan."""
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="follow parent", daemon=True).start()


@contextmanager
def patient() -> Iterator[None]:
    """Let signals wait for `stop_if_asked`, or the end of the block; a second Ctrl-C stops at once."""
    with deferred("stopping after this step, with a checkpoint"):
        yield
    stop_if_asked()


@contextmanager
def deferred(intent: str) -> Iterator[None]:
    """Say the intent at a first signal, and let it wait, beyond the block, for `stop_if_asked`."""
    before = _Heard.patient, _Heard.intent
    _Heard.patient, _Heard.intent = True, intent
    try:
        yield
    finally:
        _Heard.patient, _Heard.intent = before


def asked_to_stop() -> bool:
    """Tell whether a signal was heard."""
    return _Heard.number is not None


def stop_if_asked() -> None:
    """Raise what the signal that was heard stands for, if there was one.

    Again and again: an exception that a signal raises is lost where Python has nobody to hand it to (in `__del__`, or
    in the callback of a weak reference), and code that fails in that moment raises another.
    """
    number = _Heard.number
    if number is None:  # nothing is written then: a signal may come at this very moment
        return
    _Heard.raised = True
    requeue, _Heard.requeue = _Heard.requeue, None
    if hasattr(signal, "SIGUSR2") and number == signal.SIGUSR2 and requeue is not None:
        try:
            requeue(number, None)
        except SystemExit as error:
            raise Stopped(error.code) from None
        except Exception as error:  # submitit's, at one time-out too many; taken for a fault of the run otherwise
            log.warning("%s", error)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Stopped(143)


def _hear(number: int, frame: FrameType | None) -> None:
    is_first = _Heard.number is None
    if is_first or (number == getattr(signal, "SIGUSR2", None) and not _Heard.raised):
        _Heard.number = number  # of several SIGUSR2 counts, which alone puts a job back into the queue
    _Heard.interrupts += number == signal.SIGINT
    if number == signal.SIGINT and _Heard.interrupts > 1:
        _Heard.raised = True
        raise KeyboardInterrupt
    if not _Heard.patient and not _Heard.raised:
        stop_if_asked()
    if is_first or number == signal.SIGINT:
        once_more = "; once more stops at once" if number == signal.SIGINT else ""
        intent = _Heard.intent if _Heard.patient else "stopping already"
        message = above_bars(f"{signal.Signals(number).name}: {intent}{once_more}")
        os.write(2, message.encode())  # not through logging, which may be in the middle of a line of its own


def say_interrupted() -> None:
    """Say how what was stopped goes on, once: a run says it, and a sweep if none of its runs has in this process."""
    if not _Heard.said:
        _Heard.said = True
        if logging.getLogger().hasHandlers():
            to_line_start()
            log.warning(GOES_ON)
        else:  # in a run whose configuration is still being checked
            say_at_ctrl_c(GOES_ON)
