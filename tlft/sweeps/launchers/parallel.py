"""Run the jobs of a sweep in processes of their own on this machine, so that one that dies fails alone.

Processes are forked from a server that has imported everything and never computes (elsewhere than on Linux they are
spawned). What a job does is the worker's story; which jobs there are, the engine's.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

import psutil

from tlft.runtime.device import available_threads, count_gpus, memory_limit
from tlft.sweeps.launchers.monitor import monitoring
from tlft.sweeps.launchers.worker import (
    OUTPUT_FILE,
    JobOrder,
    common_threads,
    log_end,
    perform_alone,
    python_path,
    stops_on_failure,
)

log = logging.getLogger(__name__)

_Server = ForkServerContext | SpawnContext

_PRELOAD = ("tlft.sweeps.launchers.preload", "tlft.sweeps.launchers.parallel")
_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0
"""How long jobs that were told to stop may finish their step before they are killed."""


@dataclass
class _Running:
    order: JobOrder
    process: BaseProcess
    peak: int = 0

    def look(self) -> None:
        """Remember the most memory that the job was seen with."""
        with suppress(psutil.Error):
            self.peak = max(self.peak, psutil.Process(self.process.pid).memory_info().rss)


def run_jobs(orders: Sequence[JobOrder], jobs: int | None) -> None:
    """Run every job, `jobs` at once (None: as the machine has room for); each leaves its outcome in its folder.

    Raises:
        KeyboardInterrupt, SystemExit: when this process is told to stop, once every job has stopped.
    """
    at_once, threads = _jobs_at_once(orders, jobs)
    server = _server()
    waiting = [order.with_threads(threads) for order in orders]
    running: list[_Running] = []
    try:
        with monitoring() as monitor:
            while waiting or running:
                while waiting and len(running) < at_once:
                    process = server.Process(target=_work, args=(waiting[0],))
                    process.start()
                    running.append(_Running(waiting.pop(0), process))
                wait([job.process.sentinel for job in running], timeout=_LOOK_SECONDS)
                for job in [job for job in running if not job.process.is_alive()]:
                    running.remove(job)
                    job.process.join()
                    if log_end(job.order, partial(_cause, job)) and stops_on_failure(orders) and waiting:
                        log.warning("sweep.on_failure=stop: %d jobs are not started", len(waiting))
                        waiting.clear()
                for job in running:
                    job.look()
                monitor.look({job.order.job.number: job.order.folder for job in running})
    except BaseException as error:
        _stop(running, signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
        raise


def _jobs_at_once(orders: Sequence[JobOrder], jobs: int | None) -> tuple[int, int]:
    """Return how many jobs run at the same time, and how many threads each takes if nobody said.

    One per GPU; without one as many as the cores allow.
    """
    cores = available_threads()
    at_once = jobs or count_gpus() or cores // (common_threads(orders) or 1)
    at_once = max(min(at_once, len(orders)), 1)
    return at_once, max(cores // at_once, 1)


def _server() -> _Server:
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    os.environ["PYTHONPATH"] = python_path()  # the server does not get this process's sys.path
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(_PRELOAD))
    return server


def _work(order: JobOrder) -> None:
    """Do one job, in a process of its own."""
    if hasattr(os, "setsid"):
        os.setsid()
    _follow_parent()
    perform_alone(order)


def _follow_parent() -> None:
    """Stop, with a checkpoint, when the process that launched this one is gone; else it would be an orphan."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="follow parent", daemon=True).start()


def _cause(job: _Running) -> str:
    """Say what ended a process that could not say it itself."""
    code = job.process.exitcode
    name = "" if code is None or code >= 0 else signal.Signals(-code).name
    if name == "SIGKILL":
        return (
            "its process was killed (SIGKILL), as the system does when memory runs out; it was seen with "
            f"{job.peak / 2**30:.1f} of {memory_limit() / 2**30:.1f} GiB"
        )
    end = f"was ended by {name}" if name else f"left with status {code}"
    return f"its process {end} (its output: {job.order.folder / OUTPUT_FILE})"


def _stop(running: Sequence[_Running], signal_number: int) -> None:
    """Tell every job to stop, let it save its checkpoint, and kill what does not stop."""
    for job in running:
        if job.process.is_alive() and job.process.pid is not None:
            os.kill(job.process.pid, signal_number)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    # Further signals change nothing within what follows, whose length is bounded.
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for job in running:
            job.process.join(max(deadline - time.monotonic(), 0))
            if job.process.is_alive():
                job.process.kill()
                job.process.join()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
