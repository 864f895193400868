"""A finished run is found without MLflow, and only where nothing else is to be done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Configure

from tlft.config.schema import Config
from tlft.database.places import local_folder
from tlft.names import Tag
from tlft.storage.files import sha256_of
from tlft.tracking.done_before import find_done, is_new
from tlft.tracking.store import Store

KEY = "a" * 64


@pytest.fixture
def config(configure: Configure) -> Config:
    return configure()


@pytest.fixture
def store(config: Config) -> Store:
    return Store(config)


def finish(store: Store, *, start_time: int, accuracy: float) -> Path:
    """Log a finished run, and return the folder of its one file."""
    run = store.client.create_run(store.experiment_id, start_time=start_time, run_name=f"at {start_time}")
    folder = local_folder(run.info.artifact_uri)
    assert folder is not None
    folder.mkdir(parents=True)
    file = folder / "predictions.parquet"
    file.write_bytes(b"12345")
    tags = {Tag.RUN_KEY: KEY, Tag.FILES: json.dumps({file.name: [5, sha256_of(file)]}), Tag.SECONDS: "2.5"}
    for name, text in tags.items():
        store.client.set_tag(run.info.run_id, name, text)
    store.client.log_metric(run.info.run_id, "eval/accuracy", accuracy)
    store.client.set_terminated(run.info.run_id, "FINISHED")
    return folder


def test_the_newest_finished_run_is_what_mlflow_finds(store: Store, config: Config) -> None:
    assert find_done(config, KEY) is None
    finish(store, start_time=1, accuracy=0.5)
    finish(store, start_time=2, accuracy=0.75)
    outcome = find_done(config, KEY)
    assert outcome is not None
    assert outcome == store.finished(KEY)
    assert (outcome.name, outcome.seconds, outcome.score) == ("at 2", 2.5, 0.75)
    assert find_done(config, "b" * 64) is None
    assert [is_new(config, key) for key in (KEY, "b" * 64)] == [False, True]


def test_a_damaged_run_is_left_to_mlflow_which_says_so(store: Store, config: Config) -> None:
    folder = finish(store, start_time=1, accuracy=0.5)
    (folder / "predictions.parquet").write_bytes(b"1")
    assert find_done(config, KEY) is None


@pytest.mark.parametrize("what", ["running", "folder", "claim", "moved", "deleted"])
def test_where_more_is_to_be_done_it_is(store: Store, config: Config, what: str, tmp_path: Path) -> None:
    finish(store, start_time=1, accuracy=0.5)
    assert find_done(config, KEY) is not None
    if what == "running":
        store.client.create_run(store.experiment_id)  # perhaps of a process that is gone
    elif what == "folder":
        store.folder_of(KEY).path.mkdir(parents=True)
    elif what == "claim":
        assert store.claim_of(KEY).acquire()
    elif what == "moved":
        moved = tmp_path / "moved"
        shutil.copytree(config.home, moved)
        config = replace(config, paths=replace(config.paths, home=str(moved)))
    else:
        (run,) = store.runs_with(KEY)
        store.client.delete_run(run.info.run_id)
    assert find_done(config, KEY) is None


def test_another_store_is_asked_by_mlflow(store: Store, config: Config) -> None:
    finish(store, start_time=1, accuracy=0.5)
    copy = config.home / "copy.db"
    shutil.copyfile(config.home / "mlflow.db", copy)
    assert find_done(replace(config, tracking=replace(config.tracking, uri=f"sqlite:///{copy}")), KEY) is None


def test_neither_mlflow_nor_pandas_is_imported() -> None:
    names = "tlft.tracking.done_before, tlft.database.runs, tlft.database.schema"
    heavy = {"mlflow", "sqlalchemy", "pandas", "torch"}
    code = f"import sys, {names}; sys.exit(' '.join({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
