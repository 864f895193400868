"""A real MLflow server with PostgreSQL and proxied artifacts: sweeps against it, and it going away meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from conftest import TINY_ARCH, run_py
from killing import Job, left_over
from servers import MlflowServer, PostgreSQL, needs_postgresql
from test_parallel import Sweep
from warm import warm_server

from tlft.config.compose import Composer
from tlft.config.paths import PROJECT
from tlft.config.schema import Config
from tlft.config.typed import to_config
from tlft.records.record import Record
from tlft.tracking.reader import load_records
from tlft.tracking.store import Store

pytestmark = [pytest.mark.server, needs_postgresql]

IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
EPOCHS = 12

Build = Callable[..., Config]


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    database = PostgreSQL()
    yield database
    database.end()


class Place:
    """Where the server is, through all its ends and starts."""

    def __init__(self, server: MlflowServer) -> None:
        self.server = server
        self.uri = server.uri

    def restart(self) -> None:
        self.server = self.server.again()


@pytest.fixture(scope="module")
def place(database: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(MlflowServer(database.uri, tmp_path_factory.mktemp("server")))
    yield place
    place.server.end()


@pytest.fixture(scope="module")
def forks() -> ForkServerContext:
    return warm_server()


@pytest.fixture
def build(composer: Composer, tiny_folder: Path) -> Build:
    """Return a function that composes a tiny run that is tracked as the overrides say."""

    def config(home: Path, *overrides: str) -> Config:
        small = ("data=imagefolder", f"data.root={tiny_folder}", f"training.epochs={EPOCHS}", "training.batch_size=8")
        return to_config(
            composer.compose([f"paths.home={home}", *TINY_ARCH, *small, "model=scratch", "threads=1", *overrides])
        )

    return config


def on(place: Place, experiment: str) -> list[str]:
    return ["tracking=server", f"tracking.uri={place.uri}", f"tracking.experiment={experiment}"]


def sync(home: Path, *arguments: str) -> tuple[int, str]:
    """Run `python -m tlft.sync` as a user would."""
    environment = {**os.environ, **IMPATIENT, "TLFT_HOME": str(home)}
    command = [sys.executable, "-m", "tlft.sync", *arguments]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def histories(config: Config, record: Record) -> dict[str, list[tuple[int, float | None]]]:
    """Return name -> (step, value) of every metric, without the values that differ from run to run."""
    client: Any = Store(config).client
    return {
        name: [
            (point.step, None if name.startswith(("time/", "system/", "throughput/")) else point.value)
            for point in client.get_metric_history(record.run_id, name)
        ]
        for name in sorted(record.metrics)
    }


def only(config: Config) -> Record:
    (record,) = load_records(config.tracking.experiment, config.tracking.uri, config.home)
    return record


@pytest.fixture(scope="module")
def swept(
    place: Place, tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path
) -> tuple[Path, Sweep, tuple[str, ...]]:
    """Return the home of a parallel sweep against the server, the sweep, and the overrides that it was made of."""
    home = tmp_path_factory.mktemp("home")
    command = ("training.epochs=2", "seed=0,1,2", "tracking.weights=true", *on(place, "swept"))
    first = Sweep(home, tiny_folder, *command)
    said = first.end()
    assert first.process.returncode == 0, said
    return home, first, command


def test_every_job_of_a_parallel_sweep_is_on_the_server(
    place: Place, swept: tuple[Path, Sweep, tuple[str, ...]], build: Build
) -> None:
    home, _, _ = swept
    runs = load_records("swept", place.uri, home)
    assert [run.status for run in runs] == ["FINISHED"] * 3
    config = build(home, *on(place, "swept"))
    for run in runs:
        figures = histories(config, run)
        assert [step for step, _ in figures["train/loss"]] == [1, 2]
        assert [step for step, _ in figures["eval/accuracy"]] == [2]
        (folder,) = place.server.artifacts.glob(f"*/{run.run_id}/artifacts")
        kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert {"predictions.parquet", "gallery.png", "config.yaml", "weights/model.safetensors"} <= kept
    assert not (home / "mlflow.db").exists()
    assert not (home / "mlruns").exists()
    assert left_over(home) == []


def test_the_same_sweep_again_skips_everything(
    place: Place, swept: tuple[Path, Sweep, tuple[str, ...]], tiny_folder: Path
) -> None:
    home, _, command = swept
    second = Sweep(home, tiny_folder, *command)
    said = second.end()
    assert second.process.returncode == 0, said
    assert said.startswith("3 jobs: 3 done")
    assert len(load_records("swept", place.uri, home)) == 3


def test_a_model_that_was_logged_to_the_server_answers(
    place: Place, swept: tuple[Path, Sweep, tuple[str, ...]], build: Build, tiny_folder: Path
) -> None:
    import mlflow
    import pandas as pd

    store = Store(build(swept[0], *on(place, "swept")))
    models = store.client.search_logged_models([store.experiment_id])
    assert len(models) == 3
    model = mlflow.pyfunc.load_model(f"models:/{models[0].model_id}")
    photo = str(tiny_folder / "val" / "ants" / "0.png")
    answer = model.predict(pd.DataFrame({"image": [photo]}))
    assert answer["predicted"][0] in ("ants", "bees")


def test_verify_fetches_the_files_from_the_server_and_hashes_them(
    place: Place, swept: tuple[Path, Sweep, tuple[str, ...]]
) -> None:
    arguments = ("--verify", "--uri", place.uri, "--experiment", "swept")
    status, said = sync(swept[0], *arguments)
    assert (status, said.splitlines()[-1]) == (0, "3 finished runs looked at, 0 damaged")
    weights = sorted(place.server.artifacts.glob("*/*/artifacts/weights/model.safetensors"))[0]
    weights.write_bytes(b"x" * weights.stat().st_size)
    status, said = sync(swept[0], *arguments)
    assert (status, said.splitlines()[-1]) == (1, "3 finished runs looked at, 1 damaged")


def test_a_server_that_freezes_for_a_while_loses_nothing_and_never_stops_the_training(
    place: Place, forks: ForkServerContext, build: Build, tmp_path: Path
) -> None:
    undisturbed = build(tmp_path / "local", "tracking.weights=false")
    assert Job(forks, undisturbed).end() == 0
    config = build(tmp_path / "home", *on(place, "frozen"), "tracking.weights=false")
    job = Job(forks, config, IMPATIENT)
    job.wait_for("epoch 1/")
    place.server.freeze()
    try:
        job.wait_for("the tracking store takes nothing now")
        job.wait_for("epoch 5/")
    finally:
        place.server.thaw()
    assert job.end() == 0, job.said
    assert "the tracking store is back and has everything" in job.said
    record = only(config)
    assert record.status == "FINISHED"
    assert histories(config, record) == histories(undisturbed, only(undisturbed))
    assert left_over(config.home) == []


def test_a_run_that_ends_while_the_server_is_down_is_delivered_later(
    place: Place, forks: ForkServerContext, build: Build, tmp_path: Path
) -> None:
    config = build(tmp_path, *on(place, "down"), "tracking.weights=false")
    job = Job(forks, config, IMPATIENT)
    job.wait_for("epoch 1/")
    place.server.end()
    try:
        assert job.end() == 0, job.said
        assert "has not got all of it; `python -m tlft.sync` delivers the rest" in job.said
        status, said = sync(tmp_path)
        assert status == 1
        assert "still wait (tracking.uri=" in said
        shutil.copytree(tmp_path / "checkpoints", tmp_path / "kept")
    finally:
        place.restart()
    status, said = sync(tmp_path)
    assert (status, "entries delivered\n" in said) == (0, True), said
    record = only(config)
    whole = histories(config, record)
    assert record.status == "FINISHED"
    assert [step for step, _ in whole["train/loss"]] == list(range(1, EPOCHS + 1))
    assert left_over(tmp_path) == []

    (tmp_path / "checkpoints").rmdir()  # as if nobody had noticed, and the same command delivered it once more
    (tmp_path / "kept").rename(tmp_path / "checkpoints")
    again = Job(forks, config, IMPATIENT)
    assert again.end() == 0, again.said
    assert "epoch" not in again.said
    assert histories(config, only(config)) == whole
    assert left_over(tmp_path) == []


def test_a_job_that_starts_while_the_server_is_down_waits_for_it(
    place: Place, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in IMPATIENT.items():
        monkeypatch.setenv(name, value)
    overrides = (f"training.epochs={EPOCHS},1", "seed=0", "hydra.launcher.jobs=1", *on(place, "waiting"))
    sweep = Sweep(tmp_path, tiny_folder, *overrides, listen=[0, 1])
    sweep.pid(0)
    place.server.end()
    try:
        assert "has not got all of it" in sweep.hear_out(0)
        assert "cannot be opened (Connection refused)" in sweep.hear(1, "waiting for it")
    finally:
        place.restart()
    sweep.hear_out(1)
    said = sweep.end()
    assert sweep.process.returncode == 0, said
    assert sync(tmp_path)[0] == 0
    assert [run.status for run in load_records("waiting", place.uri, tmp_path)] == ["FINISHED"] * 2


PASSWORD = f"sentinel{token_hex(4)}%21x"
"""Of this process alone, since the diff of the code is among the files."""


def written_in(home: Path) -> list[str]:
    """Return the files below a home that hold the password, whatever they are."""
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 20
    return [str(path.relative_to(home)) for path in files if PASSWORD.encode() in path.read_bytes()]


def test_the_password_of_a_database_stands_in_no_file_tag_or_line(
    database: PostgreSQL, place: Place, tmp_path: Path, tiny_folder: Path
) -> None:
    home = tmp_path / "home"
    uri = database.uri.replace("mlflow@", f"mlflow:{PASSWORD}@")
    assert uri != database.uri
    small = ("data=imagefolder", f"data.root={tiny_folder}", "training.epochs=1", "training.batch_size=8", "threads=1")
    command = (*TINY_ARCH, *small, "model=scratch", "tracking.experiment=secret")
    single = run_py(*command, f"tracking.uri={uri}", home=home)
    assert single.returncode == 0, single.stderr
    sweep = run_py("-m", *command, "tracking=server", "seed=0,1", "hydra/launcher=parallel", home=home,
                   env={"MLFLOW_TRACKING_URI": uri})  # fmt: skip
    assert sweep.returncode == 0, sweep.stderr
    assert "1 done before" in sweep.stdout
    away = run_py(*command, f"tracking.uri={uri.replace('127.0.0.1:', '127.0.0.1:1')}", "seed=7", home=home)
    assert away.returncode == 1, away.stderr
    assert "cannot be opened" in away.stderr
    wrong = run_py(*command, f"tracking.uri={uri}", "seed=x", home=home)
    assert wrong.returncode == 2
    assert PASSWORD not in "".join(done.stdout + done.stderr for done in (single, sweep, away, wrong))
    assert written_in(home) == []
    records = load_records("secret", uri, home)
    assert len(records) == 2
    assert PASSWORD not in repr(records)
    assert all(str(home) in record.artifacts for record in records)
    again = run_py(
        f"from_run={records[0].run_id}", f"tracking.uri={uri}", f"data.root={tiny_folder}", "verify=true", home=home
    )
    assert again.returncode == 0, again.stderr
    assert written_in(home) == []
