"""Runs that this process holds, and such as it has lost to another one."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest
from conftest import Configure
from killing import KEY, begun, left_over

from tlft.config.schema import Config
from tlft.errors import ClaimLostError
from tlft.records.record import Record
from tlft.runtime import claims
from tlft.runtime.claims import Claim
from tlft.tracking.active_run import ActiveRun
from tlft.tracking.reader import load_records
from tlft.tracking.store import Store


@pytest.fixture
def config(configure: Configure) -> Config:
    return configure()


def only(config: Config) -> Record:
    (record,) = load_records("tlft", home=config.home)
    return record


def take_over(config: Config) -> Claim:
    """Be another process, on a machine that the lock does not reach, to which the lease of the run has run out."""
    locks = config.home / "cache" / "locks"
    (lease,) = locks.glob("*.lease")
    os.utime(lease, (1, 1))
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setattr(claims, "_machine", lambda: "far/boot")
        elsewhere.setattr(fcntl, "flock", lambda *args: None)
        claim = Store(config).claim_of(KEY)
        assert claim.acquire()
    return claim


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_files(run: ActiveRun) -> None:
    with run.writing_files():
        pass


@pytest.mark.parametrize(
    "write",
    [
        lambda run: run.log_metrics({"train/loss": 0.5}, step=2),
        lambda run: run.log_tags({"device": "cpu"}),
        lambda run: run.confirm(),
        write_files,
        lambda run: None,  # the end of the run
    ],
    ids=["metrics", "tags", "step", "files", "end"],
)
def test_a_run_that_was_lost_writes_nothing_more_and_is_left_as_it_is(
    config: Config, write: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 3600.0)
    with pytest.raises(ClaimLostError, match="another one has taken the run over"), begun(config) as run:
        run.log_metrics({"train/loss": 1.0}, step=1)
        run.deliver()
        thief = take_over(config)
        before = contents(run.folder.path)
        assert callable(write)
        write(run)
    assert contents(run.folder.path) == before
    assert (only(config).status, only(config).metrics["train/loss"]) == ("RUNNING", 1.0)
    thief.confirm()
    thief.release()
    with begun(config) as again:
        assert (again.run_id, again.resumed) == (run.run_id, True)
    assert only(config).status == "FINISHED"
    assert left_over(config.home) == []


def test_a_run_that_is_interrupted_after_it_was_lost_is_not_marked(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 3600.0)
    with pytest.raises(KeyboardInterrupt), begun(config):
        thief = take_over(config)
        raise KeyboardInterrupt
    assert only(config).status == "RUNNING"
    thief.release()


def test_a_run_whose_locks_were_deleted_stops(config: Config) -> None:
    with pytest.raises(ClaimLostError, match="or the file was deleted"), begun(config) as run:
        shutil.rmtree(config.home / "cache" / "locks")
        run.log_metrics({"train/loss": 1.0}, step=1)
