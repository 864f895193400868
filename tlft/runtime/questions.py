"""Ask what may take as long as it likes, such as a server by its name, and wait for the answer no longer than one will.

No library bounds all of its time: looking up a name and an answer that comes drop by drop stand outside its time-outs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Answer = TypeVar("Answer")


def ask_beside(ask: Callable[[], Answer], seconds: float) -> Callable[[], Answer]:
    """Ask in a thread of its own, which does not keep the process from ending.

    Returns:
        A function that waits for the answer, until so many seconds from now, and raises what `ask` has raised, or
        TimeoutError.
    """
    deadline = time.monotonic() + seconds
    answer: Future[Answer] = Future()

    def put() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=put, name="question", daemon=True).start()
    return lambda: answer.result(max(deadline - time.monotonic(), 0.0))
