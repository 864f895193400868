from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from conftest import Configure

from tlft.planning import estimate
from tlft.planning.estimate import describe_cost, memory_need
from tlft.planning.jobs import Job, PlannedJob
from tlft.records.outcome import RunStatus
from tlft.records.record import Record
from tlft.terminal.progress import describe_duration


def record(seconds: float, train: str = "images", device: str = "cuda:1", threads: str = "1", **params: str) -> Record:
    files = json.dumps({"weights/model.safetensors": [600_000_000, "0"]})
    tags = {"tlft.seconds": str(seconds), "tlft.files": files, "device": device, "threads": threads}
    return Record("id", "name", "FINISHED", False, 0, "key", {"data.train": train, **params}, tags, {})


def cost(configure: Configure, records: list[Record], *jobs: tuple[str, ...], on_all_cores: bool = False) -> str:
    asked: list[tuple[str, str]] = []

    def recent(arch: str, host: str) -> list[Record]:
        asked.append((arch, host))
        return records

    store = SimpleNamespace(recent=recent)
    identity = SimpleNamespace(science={"data": {"train": "images"}})
    planned = [
        PlannedJob(Job(number, configure(*overrides)), cast(Any, identity), cast(Any, store), RunStatus.NEW)
        for number, overrides in enumerate(jobs)
    ]
    said = describe_cost(planned, on_all_cores=on_all_cores)
    assert len(asked) == len({job.config.arch.name for job in planned})  # one question per architecture
    return said


TRAINED = record(100, **{"training.epochs": "5"})


def test_time_is_the_median_per_epoch_of_like_runs(configure: Configure) -> None:
    slow = record(9000, train="others", **{"training.epochs": "5"})
    records = [TRAINED, slow, record(3)]
    assert cost(configure, records, ("training.epochs=10",), ("training.epochs=50",)) == ", about 20 min, 1.2 GB"


def test_a_run_without_training_costs_what_such_a_run_costs(configure: Configure) -> None:
    assert cost(configure, [TRAINED, record(3)], ("experiment=zero_shot",)) == ", about 3 s, 600.0 MB"


def test_another_device_tells_nothing(configure: Configure) -> None:
    epochs = {"training.epochs": "1"}
    records = [record(100, **epochs), record(6000, device="cpu", threads="4", **epochs)]
    assert cost(configure, records, ("training.epochs=1", "device=cpu", "threads=4")) == ", about 100 min, 600.0 MB"
    assert cost(configure, records, ("training.epochs=1",)) == ", about 2 min, 600.0 MB"  # as the newest


def test_on_a_cpu_threads_count(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "available_threads", lambda: 8)
    records = [record(6000, device="cpu", threads="2", **{"training.epochs": "1"})]
    asked = ("training.epochs=1", "threads=4")
    assert cost(configure, records, asked) == ", about 50 min, 600.0 MB"
    assert cost(configure, records, asked, on_all_cores=True) == ", about 25 min, 600.0 MB"


def test_what_nobody_knows_is_not_said(configure: Configure) -> None:
    assert cost(configure, [], ("training.epochs=10",)) == ""
    assert cost(configure, [TRAINED], ("experiment=zero_shot", "tracking.weights=false")) == ""


def test_nothing_to_do_costs_nothing(configure: Configure) -> None:
    assert cost(configure, []) == ""


@pytest.mark.parametrize(("seconds", "said"), [(5, "5 s"), (89, "89 s"), (840, "14 min"), (10_000, "2.8 h")])
def test_durations_are_said_for_people(seconds: float, said: str) -> None:
    assert describe_duration(seconds) == said


def with_peak(megabytes: float, device: str = "cpu", train: str = "images", **params: str) -> Record:
    shape = {
        "arch.name": "resnet50",
        "precision": "auto",
        "training.trainable": "all",
        "training.batch_size": "64",
        "optimizer.name": "sgd",
    }
    measured = record(1, train, device, **{**shape, **params})
    return replace(measured, metrics={"system/peak_memory_megabytes": megabytes})


def need(configure: Configure, records: list[Record], *jobs: tuple[str, ...]) -> float:
    """Return the gigabytes that the largest job takes; 99 stand for what the network itself lets expect."""
    store = SimpleNamespace(recent=lambda arch, host: records)
    images = SimpleNamespace(split=lambda name: range(200))
    weights = SimpleNamespace(transform=SimpleNamespace(crop=224))
    identity = SimpleNamespace(science={"data": {"train": "images"}}, dataset=images, weights=weights)
    planned = [
        PlannedJob(Job(number, configure(*overrides)), cast(Any, identity), cast(Any, store), RunStatus.NEW)
        for number, overrides in enumerate(jobs)
    ]
    return memory_need(planned) / 1e9


@pytest.fixture
def expected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Stand in for what the network itself lets expect; return what was asked."""
    from tlft.models import training_memory as network

    asked: list[tuple[int, int]] = []

    def training_memory(config: Any, batch: int, size: int) -> int:
        asked.append((batch, size))
        return int(99e9) - estimate._PROCESS

    monkeypatch.setattr(network, "training_memory", training_memory)
    monkeypatch.setattr(estimate, "count_gpus", lambda: 0)
    return asked


@pytest.mark.parametrize(
    ("params", "overrides"),
    [
        ({"training.batch_size": "32"}, ()),
        ({}, ("training.batch_size=32",)),
        ({}, ("training.trainable=head",)),
        ({}, ("optimizer=adam",)),
        ({}, ("precision=float32",)),
    ],
)
def test_memory_is_that_of_the_largest_run_of_the_same_shape(
    configure: Configure, expected: list[tuple[int, int]], params: dict[str, str], overrides: tuple[str, ...]
) -> None:
    assert need(configure, [with_peak(5000), with_peak(8500), with_peak(20_000, "cuda:0")], ()) == 8.5
    assert need(configure, [with_peak(5000), with_peak(20_000, train="others")], ()) == 5
    assert expected == []
    unlike = [with_peak(5000, **params)]
    assert need(configure, unlike, overrides) == 99
    assert need(configure, unlike, overrides, overrides, ("experiment=zero_shot",)) == 99
    assert len(expected) == 2  # once for jobs that are alike


def test_other_images_may_have_been_fewer_than_a_batch(configure: Configure, expected: list[tuple[int, int]]) -> None:
    assert need(configure, [with_peak(5000, train="others")], ()) == 99
    assert need(configure, [with_peak(100_000, train="others")], ()) == 100
    assert expected == [(64, 224)] * 2


def test_memory_of_the_first_run_is_expected_by_its_network(
    configure: Configure, expected: list[tuple[int, int]]
) -> None:
    assert need(configure, [], ("training.batch_size=256",)) == 99
    assert expected == [(200, 224)]  # no more images than there are
    assert need(configure, [], ("experiment=zero_shot",)) == 2.25
    assert need(configure, [with_peak(900, **{"training.trainable": "none"})], ("experiment=zero_shot",)) == 2.25
    assert need(configure, [], ("device=cuda",)) == 3.25  # the activations are on the GPU
    assert need(configure, []) == 0
