"""What nothing like was run before: its time is measured for a moment, and nothing else is changed by that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from conftest import TINY_ARCH, Configure

from tlft.config.schema import Config
from tlft.planning import trial
from tlft.planning.estimate import describe_cost, expected_seconds
from tlft.planning.jobs import Job, PlannedJob
from tlft.planning.plan import describe_plan
from tlft.records.outcome import RunStatus
from tlft.records.record import Record
from tlft.runs.identify import identify
from tlft.training import speed
from tlft.training.speed import Speed, measure_speed


@pytest.fixture(autouse=True)
def nothing_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as a first command does, on a machine that does nothing else."""
    monkeypatch.setattr(trial, "_tried", {})
    monkeypatch.setattr(trial.psutil, "cpu_percent", lambda: 0.0)  # type: ignore[attr-defined]


@pytest.fixture
def config(configure: Configure, tiny_folder: Path) -> Config:
    return configure(
        "data=imagefolder", f"data.root={tiny_folder}", "model=scratch", "threads=1", "plan=true", *TINY_ARCH
    )


def plan(config: Config, count: int = 1, status: RunStatus = RunStatus.NEW) -> list[PlannedJob]:
    store = cast(Any, SimpleNamespace(recent=lambda arch, host: []))
    identity = identify(config)
    return [PlannedJob(Job(number, config), identity, store, status) for number in range(count)]


def with_speed(monkeypatch: pytest.MonkeyPatch, measured: Speed | None) -> list[str]:
    """Have every trial say this; returns the networks that were tried."""
    tried: list[str] = []

    def measure(config: Config, size: int, threads: int) -> Speed | None:
        tried.append(config.arch.name)
        return measured

    monkeypatch.setattr(speed, "measure_speed", measure)
    return tried


def test_a_network_that_was_never_run_is_tried_and_that_is_said(config: Config) -> None:
    (job,) = plan(config)
    assert describe_plan([job]).startswith("1 job: 1 new, about ")
    assert describe_plan([job]).endswith(" (by a short trial)")
    (seconds,) = expected_seconds([job], on_all_cores=True)
    assert seconds is not None
    assert seconds > 0


def test_each_network_is_tried_once_for_all_of_its_jobs(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = with_speed(monkeypatch, Speed(0.1, 0.05, on_cpu=True))
    monkeypatch.setattr(trial, "available_threads", lambda: 2)
    said = describe_cost(plan(config, 3), here=True)
    # 50 epochs of 16 images, 12 evaluated, and what each run takes besides.
    assert said == f", about {round(3 * (2 + 50 * 16 * 0.1 + 12 * 0.05) / 60)} min (by a short trial)"
    assert describe_cost(plan(config, 3), here=True) == said
    assert tried == [config.arch.name]


@pytest.fixture
def next_command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Speed, float], list[str]]:
    """Return what begins the next command, on a machine of which others take such a share (0..1)."""

    def begin(measured: Speed, share: float = 0.0) -> list[str]:
        monkeypatch.setattr(trial, "_tried", {})
        monkeypatch.setattr(trial.psutil, "cpu_percent", lambda: 100 * share)  # type: ignore[attr-defined]
        return with_speed(monkeypatch, measured)

    return begin


def test_an_estimate_from_a_busy_machine_says_so(config: Config, next_command: Callable[..., list[str]]) -> None:
    next_command(Speed(0.1, 0.05, on_cpu=True), 0.9)
    assert describe_cost(plan(config, 3), here=True).endswith("(by a short trial beside other work: less if that ends)")
    next_command(Speed(0.1, 0.05, on_cpu=True), 0.0)
    assert describe_cost(plan(config, 3), here=True).endswith("(by a short trial)")


def test_what_was_measured_is_remembered(config: Config, next_command: Callable[..., list[str]]) -> None:
    assert next_command(Speed(0.1, 0.05, on_cpu=True)) == []
    said = describe_cost(plan(config, 3), here=True)
    tried = next_command(Speed(9.0, 9.0, on_cpu=True))
    assert describe_cost(plan(config, 3), here=True) == said
    assert expected_seconds(plan(config)) != [None]
    assert tried == []
    more = replace(config, training=replace(config.training, batch_size=2))
    other = (replace(config, device="cpu"), replace(config, precision="float32"), replace(config, threads=2), more)
    for different in other:
        describe_cost(plan(different), here=True)
    assert len(tried) == len(other)


def test_what_was_measured_on_a_busy_machine_is_measured_anew_and_the_least_counts(
    config: Config, next_command: Callable[..., list[str]]
) -> None:
    seconds = []
    for measured, share in ((0.3, 0.9), (0.4, 0.9), (0.1, 0.9), (0.05, 0.9)):
        tried = next_command(Speed(measured, measured, on_cpu=True), share)
        describe_cost(plan(config), here=True)
        seconds += [round(cast(float, expected_seconds(plan(config))[0]) - 2, 3)]
    assert seconds == [round(812 * least, 3) for least in (0.3, 0.3, 0.1, 0.1)]
    assert tried == []  # a machine that is always busy is as it is


def test_a_quiet_machine_settles_what_a_busy_one_has_measured(
    config: Config, next_command: Callable[..., list[str]]
) -> None:
    for measured, share, expected in ((0.3, 0.9, 1), (0.1, 0.0, 1), (0.1, 0.0, 0)):
        tried = next_command(Speed(measured, measured, on_cpu=True), share)
        describe_cost(plan(config), here=True)
        assert len(tried) == expected


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"x": 1}'])
def test_a_spoilt_memory_is_none(config: Config, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    file = config.home / "cache" / "speeds.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    with_speed(monkeypatch, Speed(0.1, 0.05, on_cpu=True))
    assert describe_cost(plan(config), here=True) != ""


def test_a_plan_looks_up_earlier_runs_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with_speed(monkeypatch, Speed(0.1, 0.05, on_cpu=True))
    asked: list[str] = []

    def recent(arch: str, host: str) -> list[Record]:
        asked.append(arch)
        return []

    store = cast(Any, SimpleNamespace(recent=recent))
    describe_cost([replace(job, store=store) for job in plan(config, 3)], here=True)
    assert asked == [config.arch.name]


def test_a_network_that_cannot_be_tried_is_not_spoken_of(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with_speed(monkeypatch, None)
    assert describe_cost(plan(config, 2), here=True) == ""
    assert expected_seconds(plan(config, 2)) == [None, None]


def test_nothing_is_tried_where_all_is_done_or_elsewhere(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = with_speed(monkeypatch, Speed(0.1, 0.05, on_cpu=True))
    assert describe_plan(plan(config, 2, RunStatus.SKIPPED)) == "2 jobs: 2 done before"
    assert describe_plan(plan(config, 2), here=False) == "2 jobs: 2 new"  # on the nodes of a cluster
    assert expected_seconds(plan(config)) == [None]
    assert tried == []


def test_a_sweep_that_is_done_in_a_minute_begins_without_a_trial(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = with_speed(monkeypatch, Speed(0.1, 0.05, on_cpu=True))
    started = replace(config, plan=False)  # 50 times 16 images, and 12
    assert describe_plan(plan(started)) == "1 job: 1 new"
    assert describe_plan(plan(replace(started, training=replace(started.training, epochs=70)))) != "1 job: 1 new"
    assert tried == [config.arch.name]


def test_a_gpu_is_left_to_the_processes_that_get_it(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlft.planning.estimate.count_gpus", lambda: 1)
    tried = with_speed(monkeypatch, Speed(0.1, 0.05, on_cpu=False))
    started = replace(config, plan=False)
    assert describe_cost(plan(started, 2), here=True, on_all_cores=True) == ""
    assert tried == []
    assert describe_cost(plan(config, 2), here=True, on_all_cores=True) == ", about 3 min (by a short trial)"
    assert describe_cost(plan(started, 2), here=True) == ", about 3 min (by a short trial)"


def test_what_was_run_before_is_not_tried(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = with_speed(monkeypatch, Speed(0.1, 0.05, on_cpu=True))
    tags = {"tlft.seconds": "100", "device": "cpu", "threads": "1"}
    known = Record("id", "name", "FINISHED", False, 0, "key", {"training.epochs": "50"}, tags, {})
    (job,) = plan(config)
    job = PlannedJob(job.job, job.identity, cast(Any, SimpleNamespace(recent=lambda arch, host: [known])), job.status)
    assert describe_cost([job], here=True) == ", about 2 min"
    assert tried == []


def test_a_trial_leaves_random_state_and_threads_as_they_were(config: Config) -> None:
    torch.manual_seed(5)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    measured = measure_speed(config, 32, threads + 1)
    assert measured is not None
    assert measured.on_cpu
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_what_disturbs_for_a_while_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work takes turns, so that neither is done in the disturbed half of the time alone."""
    now = 0.0

    def work(seconds: float) -> Callable[[int], None]:
        def do(count: int) -> None:
            nonlocal now
            now += count * seconds * (4 if now < 0.8 else 1)

        return do

    monkeypatch.setattr(speed.time, "perf_counter", lambda: now)  # type: ignore[attr-defined]
    works = [speed._Work(lambda: None, work(seconds), 8) for seconds in (0.02, 0.01)]
    assert speed._seconds_per_image(works) == pytest.approx([0.02, 0.01])


def test_nothing_is_trained_in_a_trial_of_an_evaluation(configure: Configure) -> None:
    measured = measure_speed(configure("experiment=zero_shot", *TINY_ARCH), 32, 1)
    assert measured is not None
    assert measured.train == 0
    assert measured.evaluate > 0


def test_a_network_that_nobody_has_gives_no_speed(configure: Configure) -> None:
    assert measure_speed(configure("arch=timm", "arch.name=no_such_network"), 32, 1) is None


def test_work_on_the_cpu_of_hours_would_be_worth_a_gpu(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlft.planning.estimate.count_gpus", lambda: 0)
    with_speed(monkeypatch, Speed(20.0, 1.0, on_cpu=True))
    said = describe_cost(plan(config), here=True)
    assert said == ", about 4.5 h on the CPU (by a short trial; a GPU would take a fraction of it)"
    monkeypatch.setattr("tlft.planning.estimate.count_gpus", lambda: 1)
    assert describe_cost(plan(config), here=True) == ", about 4.5 h (by a short trial)"


def test_jobs_that_ask_for_a_gpu_are_counted(configure: Configure, config: Config) -> None:
    (job,) = plan(config)
    asking = configure("device=cuda", *TINY_ARCH)
    on_gpu = PlannedJob(Job(1, asking), job.identity, job.store, RunStatus.NEW)
    assert describe_cost([on_gpu, on_gpu]) == ", on a GPU"
    assert describe_cost([on_gpu, job]) == ", 1 on a GPU"


def test_slurm_says_which_gpus_jobs_get_or_how_to_ask_for_one(configure: Configure, config: Config) -> None:
    SlurmLauncher = import_module("hydra_plugins.tlft_launcher").SlurmLauncher  # noqa: N806
    (job,) = plan(config)
    asking = PlannedJob(Job(1, configure("device=cuda", *TINY_ARCH)), job.identity, job.store, RunStatus.NEW)
    assert SlurmLauncher(gpus_per_node=2).prepare([job]) == ", 2 GPUs each"
    assert SlurmLauncher().prepare([job]) == ""
    assert SlurmLauncher().prepare([job, asking]) == " (hydra.launcher.gpus_per_node=1 asks Slurm for it)"


def test_of_probes_the_first_looks_at_the_images_for_all(
    configure: Configure, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = configure(
        *("data=imagefolder", f"data.root={tiny_folder}", "model=scratch", "threads=1", "plan=true", *TINY_ARCH),
        *("training.trainable=head", "training.epochs=50"),
    )
    with_speed(monkeypatch, Speed(0.0, 10.0, True))
    trial.try_networks(plan(probe))
    first, *others = expected_seconds(plan(probe, 3))
    assert first is not None
    assert first > 10
    assert others == [trial._OVERHEAD] * 2
    assert (
        expected_seconds(plan(replace(probe, features="off"), 2))
        == [trial._OVERHEAD + 10 * len(identify(probe).dataset.split("eval"))] * 2
    )
    monkeypatch.setattr(trial, "_MANY", 100)
    images = (first - trial._OVERHEAD) / 10
    assert images < 100 < images * 40
    assert not trial.is_worth_a_trial(plan(probe, 40))
