"""Run the jobs of a sweep on a Slurm cluster through submitit, and watch them until the last one is over.

Jobs outlive this process: who types the same command again finds them at work. What a job does is the worker's story.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import shlex
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlft.errors import TlftError
from tlft.records.outcome import RunStatus
from tlft.runs.hydra_job import read_outcome
from tlft.runtime import squeue
from tlft.storage.files import atomic_write
from tlft.sweeps.launchers.monitor import Monitor, monitoring
from tlft.sweeps.launchers.worker import (
    OUTPUT_FILE,
    JobOrder,
    OnSubmit,
    common_threads,
    log_end,
    perform_alone,
    python_path,
    stops_on_failure,
)

if TYPE_CHECKING:
    from submitit import SlurmExecutor
    from submitit.helpers import DelayedSubmission

    from tlft.data.dataset import Dataset

log = logging.getLogger(__name__)

CPUS_PER_TASK = 4
_LOOK_SECONDS = 1.0
_ASK_SECONDS = 5.0
_LAG_SECONDS = 30.0
"""So long a shared folder may take to show what a job wrote on another machine."""


@dataclass
class _Submitted:
    order: JobOrder
    slurm_id: str
    array: int
    over_since: float = 0.0


class Task:
    """What submitit calls: one job of the sweep, again and again until it is done.

    Args:
        images: the file with the images that the sweep was planned with.
    """

    def __init__(self, images: Path | None = None) -> None:
        self._images = images

    def __call__(self, order: JobOrder) -> None:
        """Do the job; it looks at the folder itself where nobody has left it word of the images."""
        dataset = None
        if self._images is not None:
            with suppress(OSError):
                dataset = pickle.loads(self._images.read_bytes())
        perform_alone(replace(order, sweep=replace(order.sweep, dataset=dataset)))

    def checkpoint(self, order: JobOrder) -> DelayedSubmission:
        """Return what submitit puts into the queue after a time-out: the same; checkpoints are the run's own."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, order)


def find_problem() -> str:
    """Say what is missing on this machine for `hydra/launcher=slurm`, or nothing."""
    if find_spec("submitit") is None:
        return "hydra/launcher=slurm: needs submitit; pip install -e '.[slurm]'"
    if shutil.which("sbatch") is None:
        return "hydra/launcher=slurm: there is no sbatch here; run the command on a login node of the cluster"
    return ""


def run_jobs(orders: Sequence[JobOrder], settings: Mapping[str, Any], on_submit: OnSubmit) -> None:
    """Submit every job and wait for all; each leaves its outcome in its folder.

    They are one array, or several where the cluster takes no array so long; what a user may not have in the queue is
    submitted later. The settings are those of sbatch, in submitit's names; what is None is left to the cluster.

    Raises:
        TlftError: if Slurm refuses the jobs.
        KeyboardInterrupt, SystemExit: when this process is told to stop; the jobs go on.
    """
    cpus = settings["cpus_per_task"] or common_threads([order.job.config for order in orders]) or CPUS_PER_TASK
    queue = _Queue(
        [order.with_threads(cpus) for order in orders],
        {**settings, "cpus_per_task": cpus},
        on_submit,
        squeue.longest_array() or len(orders),
    )
    running = queue.running
    try:
        queue.submit()
        with monitoring(orders) as monitor:
            _watch(queue, monitor, stop_on_failure=stops_on_failure(orders))
    except (KeyboardInterrupt, SystemExit):
        message = "%d jobs go on in Slurm; the same command finds them; `scancel %s` ends them"
        log.warning(message, len(running), _ids(running))
        if queue.waiting:
            log.warning("%d jobs were not submitted; the same command does so", len(queue.waiting))
        raise


class _Queue:
    """The jobs that are still to be submitted, and those that Slurm has.

    Attributes:
        longest: most jobs of an array.
    """

    def __init__(self, waiting: list[JobOrder], settings: Mapping[str, Any], on_submit: OnSubmit, longest: int) -> None:
        self.waiting, self.settings, self.on_submit = waiting, settings, on_submit
        self.running: list[_Submitted] = []
        arrays = -(-len(waiting) // longest)
        self.longest = -(-len(waiting) // arrays)  # alike, so that they end together
        at_once = settings["array_parallelism"]
        shares = max(min(arrays, at_once), 1)
        # Slurm limits each array alone: together the arrays that it has get what was asked for.
        self._parallelism = [at_once // shares + (index < at_once % shares) for index in range(shares)]

    def submit(self) -> None:
        """Submit what Slurm takes now.

        Raises:
            TlftError: if it refuses, and no other job is running that is still to be watched.
        """
        while self.waiting and (free := set(range(len(self._parallelism))) - {job.array for job in self.running}):
            places = squeue.free_places()
            count = min(self.longest, len(self.waiting), self.longest if places is None else places)
            if count < 1:
                return
            array = min(free)
            settings = {**self.settings, "array_parallelism": self._parallelism[array]}
            try:
                submitted = _submit(self.waiting[:count], settings, array)
            except TlftError as error:
                if not self.running:
                    raise
                log.error("failed: %s", error)
                self.waiting.clear()
                return
            del self.waiting[:count]
            self.running += submitted
            for job in submitted:
                self.on_submit(job.order.job.number, job.slurm_id)
            later = f"; {len(self.waiting)} follow when it takes them" if self.waiting else ""
            log.info("%d jobs submitted to Slurm: %s%s", len(submitted), _ids(submitted), later)


def _submit(orders: Sequence[JobOrder], settings: Mapping[str, Any], array: int) -> list[_Submitted]:
    folder = orders[0].sweep_folder / ".submitit"
    executor = _executor(folder, settings)
    tasks = {id(order.sweep.dataset): Task(_keep(order.sweep.dataset, folder)) for order in orders}
    try:
        with executor.batch():
            jobs = [
                executor.submit(
                    tasks[id(order.sweep.dataset)], replace(order, sweep=replace(order.sweep, dataset=None))
                )
                for order in orders
            ]
    except Exception as error:  # submitit: sbatch's own words, at the end of a longer text
        reason = " ".join(str(error).split("stderr:")[-1].split())[:300]
        raise TlftError(f"hydra/launcher=slurm: the jobs were not accepted ({reason}); see hydra.launcher.*") from None
    return [_Submitted(order, str(job.job_id), array) for order, job in zip(orders, jobs, strict=True)]


def _keep(dataset: Dataset | None, folder: Path) -> Path | None:
    """Write the images of a sweep where its jobs find them: once, and not with every job."""
    if dataset is None:
        return None
    content = pickle.dumps(dataset)
    file = folder / f"images-{hashlib.sha256(content).hexdigest()[:16]}.pickle"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(file, content)
    return file


def _executor(folder: Path, settings: Mapping[str, Any]) -> SlurmExecutor:
    from submitit import SlurmExecutor

    parameters = {name: value for name, value in settings.items() if value is not None}
    executor = SlurmExecutor(folder, max_num_timeout=parameters.pop("max_num_timeout"))
    parameters["setup"] = [f"export PYTHONPATH={shlex.quote(python_path())}", *parameters.get("setup", [])]
    parameters["time"], memory = parameters.pop("timeout_min"), parameters.pop("mem_gb", None)
    if memory is not None:
        parameters["mem"] = f"{memory}GB"
    executor.update_parameters(job_name="tlft", stderr_to_stdout=True, **parameters)
    return executor


def _watch(queue: _Queue, monitor: Monitor, *, stop_on_failure: bool) -> None:
    reasons, asked_at, running = "", 0.0, queue.running
    while running or queue.waiting:
        if time.monotonic() - asked_at >= _ASK_SECONDS:
            asked_at = time.monotonic()
            states = squeue.states(_arrays(running)) if running else {}
            if states is not None:
                if _remove_ended(running, states) and stop_on_failure:
                    _cancel_waiting(queue, states)
                reasons = _log_waiting(states, reasons)
            queue.submit()
        monitor.look({job.order.job.number: job.order.folder for job in running})
        time.sleep(_LOOK_SECONDS if running or queue.waiting else 0)


def _remove_ended(running: list[_Submitted], states: Mapping[str, tuple[str, str]]) -> bool:
    """Take out the jobs that are over, and say how each ended; tells whether one of them failed."""
    failed = False
    for job in list(running):
        state, _ = states.get(job.slurm_id, ("COMPLETED", ""))
        if state not in squeue.OVER:
            continue
        job.over_since = job.over_since or time.monotonic()
        outcome = read_outcome(job.order.folder)
        has_said = outcome is not None and outcome.status != RunStatus.RUNNING
        if state == "COMPLETED" and not has_said and time.monotonic() - job.over_since < _LAG_SECONDS:
            continue
        running.remove(job)
        failed |= log_end(job.order, partial(_cause, job))
    return failed


def _cause(job: _Submitted) -> str:
    state = squeue.last_words(job.slurm_id)
    return f"Slurm ended its job {job.slurm_id} ({state}; its output: {job.order.folder / OUTPUT_FILE})"


def _cancel_waiting(queue: _Queue, states: Mapping[str, tuple[str, str]]) -> None:
    waiting = [job for job in queue.running if states.get(job.slurm_id, ("", ""))[0] == "PENDING"]
    count = len(waiting) + len(queue.waiting)
    if not count:
        return
    log.warning("sweep.on_failure=stop: %d jobs are not started", count)
    queue.waiting.clear()
    if waiting:
        subprocess.run(["scancel", "--state=PENDING", *(job.slurm_id for job in waiting)], check=False)
    queue.running[:] = [job for job in queue.running if job not in waiting]


def _log_waiting(states: Mapping[str, tuple[str, str]], previous: str) -> str:
    """Say what jobs wait for whenever that has changed; returns what was said last."""
    reasons = Counter(reason for state, reason in states.values() if state == "PENDING")
    listed = ", ".join(f"{count} for {reason}" for reason, count in sorted(reasons.items()))
    if listed and listed != previous:
        example = next(job for job, (state, _) in states.items() if state == "PENDING")
        log.info("jobs that wait in Slurm: %s (`scontrol show job %s` tells more)", listed, example)
    return listed


def _ids(jobs: Sequence[_Submitted]) -> str:
    """Name jobs as scancel takes them: many by their arrays alone."""
    return " ".join([job.slurm_id for job in jobs] if len(jobs) < 20 else _arrays(jobs))


def _arrays(jobs: Sequence[_Submitted]) -> list[str]:
    return list(dict.fromkeys(job.slurm_id.partition("_")[0] for job in jobs))
