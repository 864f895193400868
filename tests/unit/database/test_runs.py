"""Records that are read without MLflow are those that MLflow gives."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Configure
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from tlft.database.runs import read_records, read_tagged, some_are_running
from tlft.database.schema import database_uri, find_problems
from tlft.errors import ConfigurationError
from tlft.names import Tag
from tlft.records.record import Record
from tlft.tracking.client import all_runs
from tlft.tracking.reader import load_records, to_record
from tlft.tracking.store import Store

TAGS: tuple[dict[str, str], ...] = (
    {Tag.RUN_KEY: "a" * 64, "text": "bees, ätzend ☃\n'quoted'"},
    {Tag.RUN_KEY: "b" * 64, Tag.PARAMS: '{"long": "whole", "seed": "7"}'},
    {Tag.RUN_KEY: "a" * 64},
    {},
)


@pytest.fixture
def store(configure: Configure) -> Store:
    store = Store(configure())
    other = Store(replace(configure(), tracking=replace(configure().tracking, experiment="other")))
    other.client.create_run(other.experiment_id, tags={Tag.RUN_KEY: "a" * 64})
    for number, tags in enumerate(TAGS):
        run = store.client.create_run(store.experiment_id, start_time=number, run_name=f"run {number}", tags=tags)
        figures = {"plain": 0.25, "count": 3, "none": math.nan, "much": math.inf, "little": -math.inf}
        metrics = [Metric(name, value, 0, step) for name, value in figures.items() for step in (0, number)]
        params = [Param("seed", str(number)), Param("long", "x" * 6000)]
        store.client.log_batch(run.info.run_id, metrics, params, [RunTag("more", "")])
        if number != 1:
            store.client.set_terminated(run.info.run_id, "FINISHED" if number else "FAILED")
        if number == 2:
            store.client.delete_run(run.info.run_id)
    return store


def database_of(store: Store) -> Path:
    return store.home / "mlflow.db"


def as_text(records: Sequence[Record]) -> list[str]:
    """Return what compares NaN to itself, and the order of no dictionary."""
    sorted_records = sorted(records, key=lambda record: record.run_id)
    return [
        repr([sorted(value.items()) if isinstance(value, dict) else value for value in vars(record).values()])
        for record in sorted_records
    ]


def test_every_run_is_read_as_mlflow_reads_it(store: Store) -> None:
    records = read_records(database_of(store), "tlft")
    assert records is not None and len(records) == len(TAGS)
    assert as_text(records) == as_text(list(map(to_record, all_runs(store.client, store.experiment_id))))
    assert as_text(load_records("tlft", home=store.home)) == as_text(records)


def test_a_name_that_is_in_a_tag_alone_is_read(store: Store) -> None:
    with closing(sqlite3.connect(database_of(store))) as database, database:
        database.execute("update runs set name = ''")
    client = MlflowClient(store.uri)
    expected = as_text(list(map(to_record, all_runs(client, store.experiment_id))))
    assert as_text(read_records(database_of(store), "tlft") or ()) == expected
    assert "run 2" in "".join(expected)


def test_runs_with_a_tag_are_those_of_the_experiment(store: Store) -> None:
    tagged = read_tagged(database_of(store), "tlft", Tag.RUN_KEY, "a" * 64)
    assert tagged is not None
    assert sorted(record.name for record in tagged) == ["run 0", "run 2"]
    assert read_tagged(database_of(store), "tlft", Tag.RUN_KEY, "c" * 64) == []


def test_runs_that_are_running_are_noticed(store: Store) -> None:
    assert some_are_running(database_of(store), "tlft") is True
    (running,) = store.search("attributes.status = 'RUNNING'")
    store.client.delete_run(running.info.run_id)
    assert some_are_running(database_of(store), "tlft") is False


def test_mlflow_is_asked_where_the_tables_are_not_as_expected(store: Store, tmp_path: Path) -> None:
    for path in (tmp_path / "none.db", tmp_path):
        assert read_records(path, "tlft") is None
    assert read_records(database_of(store), "no such") is None
    with closing(sqlite3.connect(database_of(store))) as database, database:
        database.execute("alter table latest_metrics rename column is_nan to not_a_number")
    assert read_records(database_of(store), "tlft") is None


def test_an_experiment_that_was_deleted_is_refused_by_its_line(store: Store) -> None:
    store.client.delete_experiment(store.experiment_id)
    assert read_records(database_of(store), "tlft") is None
    with pytest.raises(ConfigurationError, match="was deleted; restore it"):
        load_records("tlft", home=store.home)


def test_what_a_writer_has_not_committed_is_not_read(store: Store) -> None:
    with closing(sqlite3.connect(database_of(store))) as writer:
        writer.execute("begin immediate")
        writer.execute("delete from params")
        records = read_records(database_of(store), "tlft")
    assert records is not None
    assert all(record.params["seed"] for record in records)


def test_reading_leaves_nothing_beside_the_database(store: Store, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "mlflow.db"
    alone.parent.mkdir()
    with closing(sqlite3.connect(database_of(store))) as database, closing(sqlite3.connect(alone)) as copy:
        database.backup(copy)
        copy.execute("pragma journal_mode=wal")
    assert read_records(alone, "tlft")
    assert find_problems(database_uri(alone)) == []
    assert [path.name for path in alone.parent.iterdir()] == ["mlflow.db"]
