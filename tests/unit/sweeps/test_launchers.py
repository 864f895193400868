"""How many jobs run beside each other, and how they are told to stop; no job is run."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from conftest import Configure

from tlft.config.data_schema import DataConfig
from tlft.config.schema import Config
from tlft.data.dataset import open_dataset
from tlft.errors import TlftError
from tlft.planning.jobs import Job
from tlft.runs.context import SweepMembership
from tlft.runtime import signals, squeue
from tlft.sweeps.launchers import capacity, in_process, parallel, slurm
from tlft.sweeps.launchers.capacity import Capacity, capacity_for
from tlft.sweeps.launchers.worker import JobOrder

GB = 10**9


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Pretend a machine."""
    made_of = {"cores": 8, "gpus": 2, "memory": 22 * GB}
    monkeypatch.setattr(capacity, "available_threads", lambda: made_of["cores"])
    monkeypatch.setattr(capacity, "count_gpus", lambda: made_of["gpus"])
    monkeypatch.setattr(capacity, "available_memory", lambda: made_of["memory"])
    return made_of


def beside_each_other(configs: Sequence[Config], asked: int | None = None, need: int = 0) -> list[str]:
    """Return the devices of the jobs that are started before the first one ends."""
    room = capacity_for(configs, asked, need)
    waiting, running = list(configs), list[Config]()
    while (index := room.first_that_fits(waiting, running)) is not None:
        running.append(waiting.pop(index))
    return [config.device for config in running]


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (["auto"] * 5, ["auto"] * 2),
        (["cuda"] * 5, ["cuda"] * 2),
        (["cuda", "auto", "cuda"], ["cuda", "auto"]),
        (["cpu"] * 9, ["cpu"] * 8),
        (["cuda:1"] * 5, ["cuda:1"]),
        (["cuda:1", "cuda:1", "cuda:0", "auto"], ["cuda:1", "cuda:0"]),
        (["cuda:1", "cuda:1", "auto"], ["cuda:1", "auto"]),
        (["cuda", "cuda", "cuda", "cpu"], ["cuda", "cuda", "cpu"]),
        (["cpu", "cuda:0", "cpu"], ["cpu", "cuda:0", "cpu"]),
    ],
)
def test_each_job_on_a_gpu_has_one_and_those_on_the_cpu_go_by_cores(
    configure: Configure, devices: list[str], expected: list[str]
) -> None:
    assert beside_each_other([configure(f"device={device}") for device in devices]) == expected


def test_gpus_are_not_looked_for_where_no_job_asks_for_one(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, host: dict[str, int]
) -> None:
    monkeypatch.setattr(capacity, "count_gpus", lambda: pytest.fail("looked"))
    assert len(beside_each_other([configure("device=cpu", "threads=4")] * 5)) == 2


def test_without_a_gpu_jobs_go_by_cores(configure: Configure, host: dict[str, int]) -> None:
    host["gpus"] = 0
    assert len(beside_each_other([configure("threads=2")] * 9)) == 4
    assert capacity_for([configure()] * 3, None, 0).threads == 2


def test_jobs_together_stay_within_memory_which_the_plan_says(configure: Configure, host: dict[str, int]) -> None:
    configs = [configure("device=cpu")] * 9
    need = 8_500_000_000
    assert len(beside_each_other(configs, need=need)) == 2
    room = capacity_for(configs, None, need)
    assert room.describe() == ", 2 at once (8.5 GB each of 22 GB)"
    assert room.share == 11 * GB
    assert room.threads == 4
    host["memory"] = 4 * GB
    assert len(beside_each_other(configs, need=need)) == 1  # at least one is tried
    assert capacity_for(configs, None, 0).describe() == ", 8 at once"


def test_who_asks_for_more_than_memory_allows_is_warned_and_gets_it(
    configure: Configure, host: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    configs = [configure("device=cuda")] * 9
    assert len(beside_each_other(configs, asked=4, need=8 * GB)) == 4  # who asks may share a GPU too
    capacity_for(configs, 4, 8 * GB).warn()
    assert "hydra.launcher.jobs: 4 jobs at once take about 32.0 GB of memory, and 22.0 are free" in caplog.text
    assert "ask for 2," in caplog.text
    caplog.clear()
    capacity_for(configs, 2, 8 * GB).warn()
    capacity_for(configs, 9, 0).warn()
    assert caplog.text == ""


def orders(count: int, folder: Path) -> list[JobOrder]:
    return [JobOrder(Job(number, Config()), folder, SweepMembership()) for number in range(count)]


@pytest.mark.usefixtures("listening")
def test_a_job_that_fails_in_the_moment_of_a_ctrl_c_does_not_hide_it_from_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    def perform(order: JobOrder) -> None:
        begun.append(order.job.number)
        with signals.patient():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("something else")

    monkeypatch.setattr(in_process, "perform", perform)
    with pytest.raises(KeyboardInterrupt):
        in_process.run_jobs(orders(3, tmp_path), lambda number, queued: None)
    assert begun == [0]


class Process:
    """A job's process, that is told to stop `patience` times until it does; signals of the launcher come meanwhile."""

    sentinel = 0
    exitcode = None

    def __init__(self, pid: int, patience: int, come: dict[int, list[int]]) -> None:
        self.pid, self.patience, self.come = pid, patience, come
        self.heard: list[int] = []
        self.looks = 3  # until its step has ended

    def start(self) -> None:
        for number in self.come.get(-1, []):
            signal.raise_signal(number)

    def is_alive(self) -> bool:
        return len(self.heard) < self.patience and self.looks > 0

    def join(self, timeout: float = 0) -> None:
        for number in self.come.pop(len(self.heard), []):
            signal.raise_signal(number)
        self.looks -= 1

    def kill(self) -> None:
        if self.is_alive():
            self.heard += [signal.SIGKILL] * self.patience


INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(
    ("told", "come", "heard"),
    [
        (INT, {1: []}, [INT]),  # however long its step takes
        (TERM, {1: [TERM, TERM]}, [TERM]),
        (INT, {1: [TERM]}, [INT]),
        (INT, {1: [INT]}, [INT, INT]),
        (TERM, {1: [INT]}, [TERM]),  # the first Ctrl-C
        (TERM, {1: [INT, INT]}, [TERM, INT]),
    ],
)
def test_only_a_second_ctrl_c_of_the_launcher_is_handed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: int, come: dict[int, list[int]], heard: list[int]
) -> None:
    with pytest.raises((KeyboardInterrupt, signals.Stopped)):
        signal.raise_signal(told)
    process = Process(4242, 2, come)
    monkeypatch.setattr(os, "kill", lambda pid, number: process.heard.append(number))
    worker = parallel._Worker(cast(Any, process), cast(Any, None), "auto", orders(1, tmp_path)[0])
    parallel._stop([worker], told)
    assert process.heard == heard


@pytest.mark.usefixtures("listening")
def test_a_job_that_is_started_in_the_moment_of_a_ctrl_c_is_one_of_those_that_are_stopped(tmp_path: Path) -> None:
    process = Process(4242, 1, {-1: [INT]})
    server, workers = cast(Any, type("Server", (), {"Process": lambda self, **_: process}))(), list[Any]()
    room = Capacity(2, None, None, 0, 1, 0, GB)
    waiting = orders(2, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        parallel._start(room, waiting, workers, server)
    assert [worker.process for worker in workers] == [process]
    assert [order.job.number for order in waiting] == [1]


class Cluster:
    """A Slurm that takes so many jobs in an array and from a user, and says which jobs it has got."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, places: int | None = None) -> None:
        self.arrays: list[tuple[list[int], int]] = []
        self.places = places
        monkeypatch.setattr(slurm, "_submit", self._take)
        monkeypatch.setattr(squeue, "free_places", lambda: self.places)

    def _take(self, orders: Sequence[JobOrder], settings: dict[str, Any], array: int) -> list[slurm._Submitted]:
        self.arrays.append(([order.job.number for order in orders], settings["array_parallelism"]))
        if self.places is not None:
            self.places -= len(orders)
        name = len(self.arrays)
        return [slurm._Submitted(order, f"{name}_{index}", array) for index, order in enumerate(orders)]

    def queue(self, folder: Path, jobs: int, longest: int, at_once: int) -> slurm._Queue:
        self.marked: list[int] = []
        mark = lambda number, slurm_id: self.marked.append(number)  # noqa: E731
        return slurm._Queue(orders(jobs, folder), {"array_parallelism": at_once}, mark, longest)


@pytest.mark.parametrize(
    ("jobs", "longest", "at_once", "arrays"),
    [
        (7, 1001, 256, [(7, 256)]),
        (7, 3, 256, [(3, 86), (3, 85), (1, 85)]),
        (8, 4, 3, [(4, 2), (4, 1)]),
        (6, 2, 2, [(2, 1), (2, 1)]),  # the third comes once one of them is through
    ],
)
def test_a_sweep_is_split_into_arrays_that_the_cluster_takes_and_keeps_its_jobs_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
    longest: int,
    at_once: int,
    arrays: list[tuple[int, int]],
) -> None:
    cluster = Cluster(monkeypatch)
    queue = cluster.queue(tmp_path, jobs, longest, at_once)
    queue.submit()
    assert [(len(numbers), share) for numbers, share in cluster.arrays] == arrays
    while queue.waiting:
        queue.running[:] = [job for job in queue.running if job.array]  # all of the first are through
        queue.submit()
    assert cluster.marked == list(range(jobs))


def test_jobs_that_a_user_may_not_have_in_the_queue_follow_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(monkeypatch, places=3)
    queue = cluster.queue(tmp_path, 5, 1001, 256)
    queue.submit()
    queue.submit()
    assert cluster.marked == [0, 1, 2]
    cluster.places, queue.running[:] = 3, []
    queue.submit()
    assert cluster.marked == [0, 1, 2, 3, 4]


def test_jobs_that_are_refused_later_do_not_leave_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster(monkeypatch)
    queue = cluster.queue(tmp_path, 6, 2, 2)
    queue.submit()
    queue.running[:] = queue.running[2:]

    def refuse(*arguments: object) -> None:
        raise TlftError("the jobs were not accepted (no money)")

    monkeypatch.setattr(slurm, "_submit", refuse)
    queue.submit()
    assert "no money" in caplog.text
    assert (len(queue.running), queue.waiting) == (2, [])
    with pytest.raises(TlftError, match="no money"):
        cluster.queue(tmp_path, 1, 2, 2).submit()


@pytest.mark.parametrize(
    ("answers", "longest", "places"),
    [
        ({"scontrol": "MaxArraySize            = 1001\nMaxDBDMsgs = 1\n"}, 1001, None),
        ({"scontrol": None, "sacctmgr": None}, None, None),
        ({"sacctmgr": "\n", "squeue": "1\n2\n"}, None, None),
        ({"sacctmgr": "100\n\n50\n", "squeue": "1_1\n1_2\n2\n"}, None, 47),
        ({"sacctmgr": "2\n", "squeue": "1_1\n1_2\n2\n"}, None, 0),
    ],
)
def test_the_limits_of_a_cluster_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, str | None], longest: int | None, places: int | None
) -> None:
    monkeypatch.setattr(squeue, "_ask", lambda command, *arguments: answers.get(command))
    assert squeue.longest_array() == longest
    assert squeue.free_places() == places


def test_slurm_s_jobs_share_one_list_of_images(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(DataConfig(name="imagefolder", root=str(tiny_folder)), tmp_path)
    members = [replace(order, sweep=SweepMembership("a", None, dataset)) for order in orders(5, tmp_path / "sweep")]
    submitted: list[tuple[slurm.Task, JobOrder]] = []

    class Executor:
        batch = staticmethod(nullcontext)

        def submit(self, task: slurm.Task, order: JobOrder) -> SimpleNamespace:
            submitted.append((task, order))
            return SimpleNamespace(job_id=f"1_{order.job.number}")

    monkeypatch.setattr(slurm, "_executor", lambda folder, settings: Executor())
    slurm._submit(members, {}, 0)
    assert [order.sweep.dataset for _, order in submitted] == [None] * 5
    (file,) = (tmp_path / "sweep" / ".submitit").iterdir()
    done: list[JobOrder] = []
    monkeypatch.setattr(slurm, "perform_alone", done.append)
    for task, order in pickle.loads(pickle.dumps(submitted)):
        task(order)
    assert [order.sweep.dataset for order in done] == [dataset] * 5
    file.unlink()
    task, order = submitted[0]
    task(order)
    assert done[-1].sweep.dataset is None  # the job looks itself
