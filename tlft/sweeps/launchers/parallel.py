"""Run the jobs of a sweep in processes of their own on this machine, so that one that dies fails alone.

Processes are forked from a server that has imported everything and never computes (elsewhere than on Linux they are
spawned). What a job does is job.py's story; which jobs there are is the sweeper's.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
from hydra._internal.callbacks import Callbacks
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from tlft.runtime.device import memory_limit
from tlft.sweeps.launchers.monitor import live
from tlft.sweeps.launchers.worker import OUTPUT_FILE, do_job, folder_of, python_path, say_end

log = logging.getLogger(__name__)

_Server = ForkServerContext | SpawnContext

_PRELOAD = ("tlft.sweeps.launchers.preload", "tlft.sweeps.launchers.parallel")
_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0
"""How long jobs that were told to stop may finish their step before they are killed."""


@dataclass
class _Running:
    number: int
    folder: Path
    process: BaseProcess
    peak: int = 0

    def look(self) -> None:
        """Remember the most memory that the job was seen with."""
        with suppress(psutil.Error):
            self.peak = max(self.peak, psutil.Process(self.process.pid).memory_info().rss)


def run_jobs(configs: Sequence[DictConfig], context: HydraContext, at_once: int, *, stop_on_failure: bool) -> None:
    """Run every job, so many at once; each leaves its outcome in its folder.

    Args:
        configs: as Hydra composed them, each with `hydra.job.num`, `hydra.sweep.dir` and `hydra.sweep.subdir`.
        context: Hydra's, for its callbacks.
        at_once: how many run at the same time.
        stop_on_failure: start no more jobs once one has failed.

    Raises:
        KeyboardInterrupt, SystemExit: when this process is told to stop, once every job has stopped.
    """
    server = _server()
    waiting = list(configs)
    running: list[_Running] = []
    try:
        with live() as shown:
            while waiting or running:
                while waiting and len(running) < at_once:
                    running.append(_start(server, waiting.pop(0), context))
                wait([job.process.sentinel for job in running], timeout=_LOOK_SECONDS)
                for job in [job for job in running if not job.process.is_alive()]:
                    running.remove(job)
                    job.process.join()
                    if say_end(job.number, job.folder, partial(_cause, job)) and stop_on_failure and waiting:
                        log.warning("sweep.on_failure=stop: %d jobs are not started", len(waiting))
                        waiting.clear()
                for job in running:
                    job.look()
                shown.look({job.number: job.folder for job in running})
    except BaseException as error:
        _stop(running, signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
        raise


def _server() -> _Server:
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    os.environ["PYTHONPATH"] = python_path()  # the server does not get this process's sys.path
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(_PRELOAD))
    return server


def _start(server: _Server, config: DictConfig, context: HydraContext) -> _Running:
    process = server.Process(target=_work, args=(config, context.callbacks))
    process.start()
    return _Running(config.hydra.job.num, folder_of(config), process)


def _work(config: DictConfig, callbacks: Callbacks) -> None:
    """Do one job, in a process of its own."""
    if hasattr(os, "setsid"):
        os.setsid()
    _follow_parent()
    do_job(config, callbacks)


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
    if code is None or code >= 0:
        return f"its process left with status {code} (its output: {job.folder / OUTPUT_FILE})"
    name = signal.Signals(-code).name
    if name != "SIGKILL":
        return f"its process was ended by {name} (its output: {job.folder / OUTPUT_FILE})"
    limit = memory_limit()
    return (
        "its process was killed (SIGKILL), as the system does when memory runs out; it was seen with "
        f"{job.peak / 2**30:.1f} of {limit / 2**30:.1f} GiB"
    )


def _stop(running: Sequence[_Running], number: int) -> None:
    """Tell every job to stop, let it save its checkpoint, and kill what does not stop."""
    for job in running:
        if job.process.is_alive() and job.process.pid is not None:
            os.kill(job.process.pid, number)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with _deaf():
        for job in running:
            job.process.join(max(deadline - time.monotonic(), 0))
            if job.process.is_alive():
                job.process.kill()
                job.process.join()


@contextmanager
def _deaf() -> Iterator[None]:
    """Let further signals change nothing within the block, whose length is bounded."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def jobs_at_once(config: DictConfig, count: int) -> tuple[int, int | None]:
    """Return how many jobs run at the same time, and how many threads each takes if nobody said.

    One per GPU; without one as many as the cores allow.
    """
    from tlft.runtime.device import available_threads, count_gpus

    asked: int | None = OmegaConf.select(config, "hydra.launcher.jobs")
    threads: int | None = config.threads
    cores = available_threads()
    at_once = asked or count_gpus() or cores // (threads or 1)
    at_once = max(min(at_once, count), 1)
    return at_once, threads or max(cores // at_once, 1)
