"""Runs that are killed, stopped and continued, in processes of their own."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from conftest import TINY_ARCH
from killing import Evidence, Job, gather, left_over
from warm import warm_server

from tlft.config.compose import Composer
from tlft.config.resolve import resolve
from tlft.config.schema import Config
from tlft.config.typed import to_config
from tlft.tracking.reader import load_records

Build = Callable[..., Config]


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    return warm_server()


@pytest.fixture(scope="module")
def build(composer: Composer, tiny_folder: Path) -> Build:
    def config(home: Path, *overrides: str) -> Config:
        small = ("data=imagefolder", f"data.root={tiny_folder}", "training.epochs=3", "training.batch_size=6")
        everywhere = ("threads=1", "model=scratch", "checkpoint.every_minutes=0")  # a checkpoint after each step
        cfg = composer.compose([f"paths.home={home}", *TINY_ARCH, *small, *everywhere, *overrides])
        return resolve(to_config(cfg))

    return config


@pytest.fixture(scope="module")
def undisturbed(server: ForkServerContext, build: Build, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    home = tmp_path_factory.mktemp("undisturbed")
    job = Job(server, build(home))
    assert job.end() == 0, job.said
    (record,) = load_records("tlft", home=home)
    return gather(record, home)


def finish(server: ForkServerContext, config: Config) -> tuple[Evidence, str]:
    """Run to the end; returns what the run has left, and what it said."""
    job = Job(server, config)
    assert job.end() == 0, job.said
    (record,) = load_records("tlft", home=config.home)
    return gather(record, config.home), job.said


def test_the_reference_is_whole(undisturbed: Evidence) -> None:
    assert undisturbed.statuses == ["FINISHED"]
    assert [step for step, _ in undisturbed.metrics["train/loss"]] == [1, 2, 3]
    assert len(undisturbed.metrics["eval/accuracy"]) == 1


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGUSR2, 143), (signal.SIGKILL, -9)]
)
def test_a_run_that_is_stopped_goes_on_in_the_same_run_with_the_same_bits(
    server: ForkServerContext, build: Build, tmp_path: Path, undisturbed: Evidence, number: int, status: int
) -> None:
    config = build(tmp_path)
    job = Job(server, config)
    job.wait_for("epoch 1/3")
    job.send(number)
    assert job.end() == status
    (record,) = load_records("tlft", home=tmp_path)
    assert record.status == ("RUNNING" if number == signal.SIGKILL else "KILLED")
    evidence, said = finish(server, config)
    assert evidence == undisturbed
    assert "goes on after epoch" in said
    assert left_over(tmp_path) == []


def test_a_run_that_failed_goes_on(
    server: ForkServerContext, build: Build, tmp_path: Path, undisturbed: Evidence
) -> None:
    """A fault outside, such as an evaluation image that vanished, is mended, and the training is not repeated."""
    config = build(tmp_path)
    job = Job(server, config)
    job.wait_for("epoch 2/3")
    job.send(signal.SIGKILL)
    job.end()
    (folder,) = (tmp_path / "checkpoints").iterdir()
    (folder / "files").write_text("a file where a folder must be: the run cannot leave its files there")
    assert Job(server, config).end() == 1
    (record,) = load_records("tlft", home=tmp_path)
    assert record.status == "FAILED"
    (folder / "files").unlink()
    evidence, _ = finish(server, config)
    evidence.names.remove("traceback.txt")
    assert evidence == undisturbed


def test_a_run_goes_on_in_a_home_that_was_moved_meanwhile(
    server: ForkServerContext, build: Build, tmp_path: Path, undisturbed: Evidence
) -> None:
    job = Job(server, build(tmp_path / "before"))
    job.wait_for("epoch 1/3")
    job.send(signal.SIGKILL)
    job.end()
    (tmp_path / "before").rename(tmp_path / "moved")
    evidence, said = finish(server, build(tmp_path / "moved"))
    assert evidence == undisturbed
    assert "goes on after epoch" in said
    assert not (tmp_path / "before").exists()


def torture(
    server: ForkServerContext, config: Config, random_: random.Random, longest: float, reference: Evidence
) -> int:
    """Kill a run at random moments until it is done, and compare; returns how often it was killed."""
    kills, words = 0, ""
    while True:
        job = Job(server, config)
        job.process.join(random_.uniform(0, longest))
        if job.process.exitcode is None and kills < 20:
            job.send(signal.SIGKILL)
            kills += 1
        code = job.end()
        words += job.said
        if code == 0:
            break
        assert code == -signal.SIGKILL, words
    (record,) = load_records("tlft", home=config.home)
    assert gather(record, config.home) == reference, words
    assert left_over(config.home) == []
    return kills


@pytest.mark.torture
def test_killed_at_random_moments_until_it_is_done(
    server: ForkServerContext, build: Build, tmp_path: Path, undisturbed: Evidence
) -> None:
    rounds = int(os.environ.get("TLFT_TORTURE_RUNS", "10"))
    started = time.monotonic()
    assert finish(server, build(tmp_path / "timed"))[0] == undisturbed
    longest = 1.2 * (time.monotonic() - started)
    kills = 0
    for number in range(rounds):
        overrides = ["checkpoint.every_minutes=null"] if number % 2 else []  # at the ends of epochs only
        config = build(tmp_path / str(number), *overrides)
        kills += torture(server, config, random.Random(number), longest, undisturbed)
    print(f"{rounds} rounds, {kills} kills")
    assert kills > 0
