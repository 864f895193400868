"""Sweeps whose processes are killed at random moments, until the same command has done all of it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from killing import Evidence, gather, left_over, start_sweep, start_warm_sweep
from warm import WarmCommand

from tlft.tracking.reader import load_records

OVERRIDES = ("seed=0,1", "training.epochs=3")
PARALLEL = ("hydra/launcher=parallel", "hydra.launcher.jobs=2")
MOST_KILLS = 3

Sweep = WarmCommand | subprocess.Popen[str]
Start = Callable[..., Sweep]


def overrides_of(number: int) -> tuple[str, ...]:
    """Return what a round is tried with: a process per job in one of ten, checkpoints by step and by epoch in turn."""
    launcher = PARALLEL if number % 10 == 1 else ()
    return (*OVERRIDES, *launcher, f"checkpoint.every_minutes={'null' if number % 2 else 0}")


PROBES = ("training.trainable=head", "arch.name=test_resnet")
"""Of these the frozen part is computed once, so that it is killed while that is written too."""


def evidence(home: Path) -> dict[str, Evidence]:
    return {record.key: gather(record, home) for record in load_records("tlft", home=home) if record.key}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> dict[str, Evidence]:
    return undisturbed(tmp_path_factory.mktemp("undisturbed"), tiny_folder)


def undisturbed(home: Path, tiny_folder: Path, *more: str) -> dict[str, Evidence]:
    sweep = start_warm_sweep(home, tiny_folder, *OVERRIDES, *more)
    said, _ = sweep.communicate()
    assert sweep.returncode == 0, said
    found = evidence(home)
    assert len(found) == 2
    assert all([step for step, _ in run.metrics["train/loss"]] == [1, 2, 3] for run in found.values())
    return found


def kill_some(sweep: Sweep, random_: random.Random) -> None:
    """Kill who launched the sweep, or any one of its processes (what forks its jobs, a job), or all of them."""
    with suppress(psutil.NoSuchProcess):
        launching = psutil.Process(sweep.pid)
        found = [launching, *launching.children(recursive=True)]
        for process in random_.choice([[launching], [random_.choice(found)], found]):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def killed_until_done(
    start: Start, home: Path, folder: Path, number: int, longest: float | None, more: tuple[str, ...]
) -> int:
    """Repeat a sweep until it is done, killing processes of it at moments up to `longest`; returns how often."""
    random_ = random.Random(number)
    kills, words = 0, ""
    while True:
        sweep = start(home, folder, *overrides_of(number), *more)
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.append(sweep.communicate()[0]))  # noqa: B023 (ends in its turn)
        reader.start()
        if longest is not None and kills < MOST_KILLS:
            reader.join(random_.uniform(0, longest))
            if reader.is_alive():
                kill_some(sweep, random_)
                kills += 1
        reader.join()
        words += "".join(said)
        if sweep.returncode == 0:
            return kills
        assert sweep.returncode in (-signal.SIGKILL, 1), words  # 1: a job was killed, or one of before is still there


def check_rounds(
    start: Start, home: Path, folder: Path, rounds: int, reference: dict[str, Evidence], more: tuple[str, ...] = ()
) -> None:
    started = time.monotonic()
    killed_until_done(start, home / "timed", folder, 0, None, more)
    longest = 1.2 * (time.monotonic() - started)
    kills = 0
    first = int(os.environ.get("TLFT_TORTURE_FIRST", "0"))
    for number in range(first, first + rounds):
        place = home / str(number)
        kills += killed_until_done(start, place, folder, number, longest, more)
        assert evidence(place) == reference
        assert {record.status for record in load_records("tlft", home=place)} == {"FINISHED"}
        assert left_over(place) == []
    print(f"{rounds} rounds, {kills} kills")
    assert kills > 0


@pytest.mark.torture
def test_children_of_a_warm_server(tmp_path: Path, tiny_folder: Path, reference: dict[str, Evidence]) -> None:
    check_rounds(start_warm_sweep, tmp_path, tiny_folder, int(os.environ.get("TLFT_TORTURE_ROUNDS", "20")), reference)


@pytest.mark.torture
def test_plain_processes(tmp_path: Path, tiny_folder: Path, reference: dict[str, Evidence]) -> None:
    check_rounds(start_sweep, tmp_path, tiny_folder, int(os.environ.get("TLFT_TORTURE_PLAIN", "3")), reference)


@pytest.mark.torture
def test_probes_that_share_what_the_frozen_part_says(tmp_path: Path, tiny_folder: Path) -> None:
    plain = undisturbed(tmp_path / "plain", tiny_folder, *PROBES, "features=off")
    for run in plain.values():  # which has one figure less
        run.metrics["time/features_seconds"] = [(3, None)]
        run.metrics = dict(sorted(run.metrics.items()))
    rounds = int(os.environ.get("TLFT_TORTURE_PROBES", "5"))
    check_rounds(start_warm_sweep, tmp_path, tiny_folder, rounds, plain, PROBES)
