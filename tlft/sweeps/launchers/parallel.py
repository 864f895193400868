"""Run the jobs of a sweep in processes of their own on this machine, so that one that dies fails alone.

A process does one job after the other, so that only its first has to load the network and open the caches; one whose
job fails ends with it. Processes are forked from a server that has imported everything and never computes (elsewhere
than on Linux they are spawned). What a job does is the worker's story; which jobs there are, the engine's.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
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
from tlft.terminal.command_line import print_into

log = logging.getLogger(__name__)

_Server = ForkServerContext | SpawnContext

_PRELOAD = ("tlft.sweeps.launchers.preload", "tlft.sweeps.launchers.parallel")
_LOOK_SECONDS = 0.5
_REMINDER_SECONDS = 60.0
"""How often it is said which jobs that were told to stop are still at their step, which may take minutes."""
_IMPATIENCE_SECONDS = 5.0
"""How long jobs that were told to stop at once may say so of their runs."""


@dataclass
class _Worker:
    """A process that does jobs one after the other.

    Attributes:
        orders: where it hears of the next job, and says that it has done one.
        order: the job that it is at; None between two.
        device: that its jobs ask for, of which it may hold one until it ends.
        peak: bytes of memory, at most, that it was seen with during the job.
    """

    process: BaseProcess
    orders: Connection
    device: str
    order: JobOrder | None = None
    peak: int = 0

    @property
    def ends(self) -> list[Connection | int]:
        """What tells that it has something to say, or is gone."""
        return [self.process.sentinel, *([] if self.orders.closed else [self.orders])]

    def is_free_for(self, order: JobOrder) -> bool:
        """Tell whether it may have this job next."""
        is_free = self.order is None and not self.orders.closed and self.process.is_alive()
        return is_free and order.job.config.device == self.device

    def give(self, order: JobOrder) -> None:
        """Have it do a job; one that is gone by now has ended it."""
        self.order, self.peak = order, 0
        with suppress(OSError):
            self.orders.send(order)

    def end_job(self) -> JobOrder | None:
        """Return the order of its job if that is over, done or ended with the process, and be free for the next."""
        order = self.order
        if order is None or not (self.orders.poll() or not self.process.is_alive()):
            return None
        try:
            self.orders.recv()
        except (EOFError, OSError):
            self.process.join()  # it is ending
        self.order = None
        return order

    def look(self) -> JobOrder | None:
        """Return the order of its job, if it is at one, and remember the most memory that it was seen with."""
        with suppress(psutil.Error):
            self.peak = max(self.peak, psutil.Process(self.process.pid).memory_info().rss)
        return self.order


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
    memory, cores = capacity.share, capacity.threads * capacity.at_once
    waiting = [replace(order.with_threads(capacity.threads), memory=memory, cores=cores) for order in orders]
    workers: list[_Worker] = []
    try:
        server = process_server()
        with monitoring(orders) as monitor:
            while waiting or workers:
                _start(capacity, waiting, workers, server)
                _dismiss_idle(workers)
                wait([end for worker in workers for end in worker.ends], timeout=_LOOK_SECONDS)
                for worker in workers:
                    if (order := worker.end_job()) is None:
                        continue
                    if log_end(order, partial(_cause, worker, order)) and stops_on_failure(orders) and waiting:
                        log.warning("sweep.on_failure=stop: %d jobs are not started", len(waiting))
                        waiting.clear()
                monitor.look({order.job.number: order.folder for worker in workers if (order := worker.look())})
                signals.stop_if_asked()
    except BaseException as error:
        _stop(workers, signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
        signals.stop_if_asked()  # not what has failed because of it
        raise


def _start(capacity: Capacity, waiting: list[JobOrder], workers: list[_Worker], server: _Server) -> None:
    """Start the jobs that there is room for: in processes that have done one and have all at hand, or in new ones."""
    while True:
        at_work = [worker.order.job.config for worker in workers if worker.order is not None]
        index = capacity.first_that_fits([order.job.config for order in waiting], at_work)
        if index is None:
            return
        order = waiting[index]
        free = (worker for worker in workers if worker.is_free_for(order))
        with signals.deferred("stopping the jobs"):  # or one may have been started that nobody stops
            worker = next(free, None) or _new_worker(order.job.config.device, server, workers)
            worker.give(waiting.pop(index))
        signals.stop_if_asked()


def _new_worker(device: str, server: _Server, workers: list[_Worker]) -> _Worker:
    own, others = multiprocessing.Pipe()
    process = server.Process(target=_work, args=(others,))
    process.start()
    workers.append(_Worker(process, own, device))
    others.close()
    return workers[-1]


def _dismiss_idle(workers: list[_Worker]) -> None:
    """Let those end that there is nothing to do for, and forget those that have."""
    for worker in workers:
        if worker.order is None:
            worker.orders.close()
    for worker in [worker for worker in workers if worker.order is None and not worker.process.is_alive()]:
        worker.process.join()
        workers.remove(worker)


def process_server() -> _Server:
    """Return what makes the processes, ready to be asked; elsewhere than on Linux none is kept ready."""
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


def _work(orders: Connection) -> None:
    """Do one job after the other, in a process of its own, until there is none any more or one fails."""
    try:
        if hasattr(os, "setsid"):
            os.setsid()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # as the server has it; see `process_server`
        signals.follow_parent()
        with suppress(EOFError):
            while True:
                perform_alone(orders.recv())
                print_into(os.devnull)  # the job's own file is complete
                orders.send(None)
    except KeyboardInterrupt:
        sys.exit(130)  # without a traceback


def _cause(worker: _Worker, order: JobOrder) -> str:
    """Say what ended a process that could not say it itself."""
    code = worker.process.exitcode
    name = "" if code is None or code >= 0 else signal.Signals(-code).name
    if name == "SIGKILL":
        return (
            "its process was killed (SIGKILL), as the system does when memory runs out; it was seen with "
            f"{worker.peak / 2**30:.1f} of {memory_limit() / 2**30:.1f} GiB"
        )
    end = f"was ended by {name}" if name else f"left with status {code}"
    return f"its process {end} (its output: {order.folder / OUTPUT_FILE})"


def _stop(workers: Sequence[_Worker], number: int) -> None:
    """Hand a signal on to every worker and let it save its checkpoint, however long its step takes.

    A second Ctrl-C, and no other signal, is handed on too: it stops them at once, and what does not stop is killed.
    """
    if at_work := sum(worker.order is not None for worker in workers):
        at_once = "; Ctrl-C once more stops them at once" if number == signal.SIGINT else ""
        log.warning("stopping %d jobs after the step that each is at%s", at_work, at_once)
    try:
        with signals.deferred("stopping the jobs"):
            _send(workers, number)
            while not _join(workers, _REMINDER_SECONDS):
                alive = [(worker.order, worker.process) for worker in workers if worker.process.is_alive()]
                listed = ", ".join(f"{order.job.number} (process {p.pid})" for order, p in alive if order is not None)
                log.warning("waiting for jobs to end their step and save it: %s", listed)
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt):
            if number != signal.SIGINT:  # of which a job has to hear two
                _send(workers, signal.SIGINT)
                _join(workers, _LOOK_SECONDS)
            _send(workers, signal.SIGINT)
            _join(workers, _IMPATIENCE_SECONDS)
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()


def _send(workers: Sequence[_Worker], number: int) -> None:
    for worker in workers:
        if worker.process.is_alive() and worker.process.pid is not None:
            os.kill(worker.process.pid, number)


def _join(workers: Sequence[_Worker], seconds: float) -> bool:
    """Wait for jobs to end; tells whether all have."""
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.process.join(max(deadline - time.monotonic(), 0))
    return not any(worker.process.is_alive() for worker in workers)
