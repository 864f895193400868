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
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

import psutil

from tlft.runtime import signals
from tlft.runtime.memory import memory_limit
from tlft.sweeps.launchers.capacity import Capacity, capacity_for
from tlft.sweeps.launchers.monitor import monitoring
from tlft.sweeps.launchers.worker import (
    OUTPUT_FILE,
    JobOrder,
    log_end,
    perform_alone,
    python_path,
    stops_on_failure,
)

log = logging.getLogger(__name__)

_Server = ForkServerContext | SpawnContext

_PRELOAD = ("tlft.sweeps.launchers.preload", "tlft.sweeps.launchers.parallel")
_LOOK_SECONDS = 0.5
_REMINDER_SECONDS = 60.0
"""How often it is said which jobs that were told to stop are still at their step, which may take minutes."""
_IMPATIENCE_SECONDS = 5.0
"""How long jobs that were told to stop at once may say so of their runs."""


@dataclass
class _Running:
    order: JobOrder
    process: BaseProcess
    peak: int = 0

    def look(self) -> None:
        """Remember the most memory that the job was seen with."""
        with suppress(psutil.Error):
            self.peak = max(self.peak, psutil.Process(self.process.pid).memory_info().rss)


def run_jobs(orders: Sequence[JobOrder], jobs: int | None, need: int = 0) -> None:
    """Run every job, each of which leaves its outcome in its folder.

    Args:
        orders: of the jobs.
        jobs: how many run at once; None: as many as the machine has room for.
        need: bytes of memory that the largest of them takes; 0 if nobody knows.

    Raises:
        KeyboardInterrupt, SystemExit: when this process is told to stop, once every job has stopped.
    """
    capacity = capacity_for([order.job.config for order in orders], jobs, need)
    waiting = [replace(order.with_threads(capacity.threads), memory=capacity.share) for order in orders]
    running: list[_Running] = []
    try:
        server = _server()
        with monitoring(orders) as monitor:
            while waiting or running:
                _start(capacity, waiting, running, server)
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
                signals.stop_if_asked()
    except BaseException as error:
        _stop(running, signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
        signals.stop_if_asked()  # not what has failed because of it
        raise


def _start(capacity: Capacity, waiting: list[JobOrder], running: list[_Running], server: _Server) -> None:
    """Start the jobs that there is room for."""
    while True:
        configs = [order.job.config for order in waiting]
        index = capacity.first_that_fits(configs, [job.order.job.config for job in running])
        if index is None:
            return
        process = server.Process(target=_work, args=(waiting[index],))
        with signals.deferred("stopping the jobs"):  # or one may have been started that nobody stops
            process.start()
            running.append(_Running(waiting.pop(index), process))
        signals.stop_if_asked()


def _server() -> _Server:
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    os.environ["PYTHONPATH"] = python_path()  # the server does not get this process's sys.path
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(_PRELOAD))
    # A Ctrl-C in a terminal reaches the server too, which ignores it only once its imports are done.
    resource_tracker.ensure_running()  # which unblocks the signal when it starts its own process
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return server


def _work(order: JobOrder) -> None:
    """Do one job, in a process of its own."""
    try:
        if hasattr(os, "setsid"):
            os.setsid()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # as the server has it; see `_server`
        _follow_parent()
        perform_alone(order)
    except KeyboardInterrupt:
        sys.exit(130)  # without a traceback


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


def _stop(running: Sequence[_Running], number: int) -> None:
    """Hand a signal on to every job and let it save its checkpoint, however long its step takes.

    A second Ctrl-C, and no other signal, is handed on too: it stops them at once, and what does not stop is killed.
    """
    if running:
        at_once = "; Ctrl-C once more stops them at once" if number == signal.SIGINT else ""
        log.warning("stopping %d jobs after the step that each is at%s", len(running), at_once)
    try:
        with signals.deferred("stopping the jobs"):
            _send(running, number)
            while not _join(running, _REMINDER_SECONDS):
                at_work = [job for job in running if job.process.is_alive()]
                listed = ", ".join(f"{job.order.job.number} (process {job.process.pid})" for job in at_work)
                log.warning("waiting for jobs to end their step and save it: %s", listed)
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt):
            if number != signal.SIGINT:  # of which a job has to hear two
                _send(running, signal.SIGINT)
                _join(running, _LOOK_SECONDS)
            _send(running, signal.SIGINT)
            _join(running, _IMPATIENCE_SECONDS)
    finally:
        for job in running:
            job.process.kill()
            job.process.join()


def _send(running: Sequence[_Running], number: int) -> None:
    for job in running:
        if job.process.is_alive() and job.process.pid is not None:
            os.kill(job.process.pid, number)


def _join(running: Sequence[_Running], seconds: float) -> bool:
    """Wait for jobs to end; tells whether all have."""
    deadline = time.monotonic() + seconds
    for job in running:
        job.process.join(max(deadline - time.monotonic(), 0))
    return not any(job.process.is_alive() for job in running)
