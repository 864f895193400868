"""Two homes on one server: the same command in both, at once and one after the other, and either one killed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from killing import SWEEP, left_over
from servers import MlflowServer, PostgreSQL, needs_postgresql
from test_torture import kill_some
from warm import WarmCommand

from tlft.config.paths import PROJECT
from tlft.names import Artifact, Tag
from tlft.storage.files import sha256_of

pytestmark = [pytest.mark.server, needs_postgresql]

COMMAND = ("seed=0,1,2", "training.epochs=3", "checkpoint.every_minutes=0", "resume.wait=true")
MOST_KILLS = 3


@dataclass
class Place:
    """A server, and the homes of two people who track their runs on it."""

    server: MlflowServer
    folder: Path
    homes: tuple[Path, Path]

    def start(self, home: Path, experiment: str, *overrides: str) -> WarmCommand:
        """Start the sweep of a home."""
        tracking = ("tracking=server", f"tracking.uri={self.server.uri}", f"tracking.experiment={experiment}")
        arguments = (*SWEEP, f"data.root={self.folder}", *tracking, *(overrides or COMMAND))
        return WarmCommand(arguments, {**os.environ, "TLFT_HOME": str(home)}, PROJECT, one_pipe=True)

    def runs(self, experiment: str) -> list[Any]:
        """Return the runs of an experiment that were not deleted, as MLflow has them."""
        import mlflow

        client = mlflow.MlflowClient(self.server.uri)
        found = client.get_experiment_by_name(experiment)
        return list(client.search_runs([found.experiment_id])) if found else []

    def evidence(self, run: Any) -> dict[str, object]:
        """Return what a run has left, without times and figures of the machine."""
        import mlflow

        client = mlflow.MlflowClient(self.server.uri)
        history = {
            name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
            for name in sorted(run.data.metrics)
            if not name.startswith(("time/", "system/", "throughput/"))
        }
        artifacts = self.server.artifacts / run.info.experiment_id / run.info.run_id / "artifacts"
        files = {name: sha256_of(artifacts / name) for name in (Artifact.WEIGHTS, Artifact.PREDICTIONS)}
        return {"status": run.info.status, "metrics": history, "files": files}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Place]:
    database = PostgreSQL()
    server = MlflowServer(database.uri, tmp_path_factory.mktemp("server"))
    yield Place(server, tiny_folder, (tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")))
    server.end()
    database.end()


def describe(run: Any) -> str:
    tags = {name: run.data.tags.get(name, "")[:12] for name in (Tag.RUN_KEY, Tag.HOME, Tag.HEARTBEAT, Tag.TURN)}
    return f"{run.info.run_id} {run.info.status} {run.info.start_time}..{run.info.end_time} {tags} {run.data.metrics}"


def keys_of(runs: Sequence[Any]) -> list[str]:
    return sorted(run.data.tags[Tag.RUN_KEY] for run in runs if Tag.RUN_KEY in run.data.tags)


@pytest.fixture(scope="module")
def reference(place: Place) -> dict[str, dict[str, object]]:
    """Return run key -> what is left of the run where nobody was in its way."""
    sweep = place.start(place.homes[0], "undisturbed")
    said, _ = sweep.communicate()
    assert sweep.returncode == 0, said
    runs = [run for run in place.runs("undisturbed") if Tag.RUN_KEY in run.data.tags]
    assert len(runs) == 3
    return {run.data.tags[Tag.RUN_KEY]: place.evidence(run) for run in runs}


def check(place: Place, experiment: str, reference: dict[str, dict[str, object]], *, are_complete: bool = True) -> None:
    """Nothing is mixed and nothing lost: each run is there once and whole, and a parent for each home's sweep."""
    runs = place.runs(experiment)
    own = [run for run in runs if Tag.RUN_KEY in run.data.tags]
    assert keys_of(own) == sorted(reference), "\n".join(map(describe, own))
    assert {run.data.tags[Tag.RUN_KEY]: place.evidence(run) for run in own} == reference
    parents = [run for run in runs if Tag.SWEEP_KEY in run.data.tags]
    statuses = {run.info.status for run in parents}
    assert statuses == {"FINISHED"} if are_complete else "FINISHED" in statuses
    assert len({run.data.tags[Tag.HOME] for run in parents}) == len(parents) <= 2
    assert [left_over(home) for home in place.homes] == [[], []]


def test_the_same_sweep_at_once_and_again(place: Place, reference: dict[str, dict[str, object]]) -> None:
    sweeps = [place.start(home, "at-once") for home in place.homes]
    words = [sweep.communicate()[0] for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], words
    check(place, "at-once", reference)
    assert len([run for run in place.runs("at-once") if Tag.SWEEP_KEY in run.data.tags]) == 2
    again = place.start(place.homes[1], "at-once")
    said, _ = again.communicate()
    assert (again.returncode, "3 jobs: 3 done before" in said) == (0, True), said
    check(place, "at-once", reference)


def test_who_does_not_wait_leaves_the_runs_of_another_home_to_it(
    place: Place, reference: dict[str, dict[str, object]]
) -> None:
    first = place.start(place.homes[0], "in-turn")
    assert any("epoch 1/3" in line for line in first.stdout)  # or it has ended
    second = place.start(place.homes[1], "in-turn", *COMMAND[:-1])
    words = [sweep.communicate()[0] for sweep in (first, second)]
    assert first.returncode == 0, words
    assert second.returncode in (0, 3), words  # 3: the first was still at one of them
    check(place, "in-turn", reference, are_complete=second.returncode == 0)


def finish(place: Place, home: Path, experiment: str, random_: random.Random, longest: float) -> int:
    """Repeat the sweep of a home until it is done, killing it some times at random moments; returns how often."""
    kills = 0
    while True:
        sweep = place.start(home, experiment)
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.append(sweep.communicate()[0]))  # noqa: B023 (ends in its turn)
        reader.start()
        if kills < MOST_KILLS:
            reader.join(random_.uniform(0, longest))
            if reader.is_alive():
                kill_some(sweep, random_)
                kills += 1
        reader.join()
        if sweep.returncode == 0:
            return kills
        assert sweep.returncode in (-signal.SIGKILL, 1, 3), said  # 1: a job was killed


@pytest.mark.torture
def test_either_home_is_killed_at_random_moments(place: Place, reference: dict[str, dict[str, object]]) -> None:
    rounds, first = int(os.environ.get("TLFT_TORTURE_HOMES", "2")), int(os.environ.get("TLFT_TORTURE_FIRST", "0"))
    started = time.monotonic()
    assert finish(place, place.homes[0], "timed", random.Random(0), 1e-9) >= 0
    longest = time.monotonic() - started
    kills = 0
    for number in range(first, first + rounds):
        counts: list[int] = []

        def work(home: Path, seed: int) -> None:
            counts.append(finish(place, home, f"tortured-{number}", random.Random(seed), longest))  # noqa: B023

        workers = [
            threading.Thread(target=work, args=(home, 2 * number + index)) for index, home in enumerate(place.homes)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(counts) == 2
        kills += sum(counts)
        print(f"round {number}: {counts} kills", flush=True)
        check(place, f"tortured-{number}", reference)
    print(f"{rounds} rounds, {kills} kills")
    assert kills > 0
