"""Runs and experiments that were deleted in the user interface, and restored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import TINY_ARCH, Configure, run_py
from killing import KEY

from analysis import table
from tlft.config.schema import Config
from tlft.errors import RunDeletedError
from tlft.tracking.active_run import ActiveRun
from tlft.tracking.claimed_run import claim_run
from tlft.tracking.reader import load_records
from tlft.tracking.store import Store


@pytest.fixture
def config(configure: Configure) -> Config:
    return configure()


@contextmanager
def begun(config: Config) -> Iterator[ActiveRun]:
    with claim_run(Store(config), KEY) as claim, claim.start("a run", {"seed": "0"}, {"who": "me"}) as run:
        yield run


def test_a_finished_run_that_is_deleted_is_run_again_and_restored_it_is_done(config: Config) -> None:
    with begun(config) as run:
        run.log_metrics({"eval/accuracy": 0.9}, step=3)
    store = Store(config)
    store.client.delete_run(run.run_id)
    assert store.finished(KEY) is None
    assert store.unfinished(KEY) is None
    store.client.restore_run(run.run_id)
    outcome = store.finished(KEY)
    assert outcome is not None
    assert (outcome.status, outcome.run_id, outcome.score) == ("skipped", run.run_id, 0.9)


def test_an_unfinished_run_that_is_restored_begins_anew_where_its_checkpoint_went_to_another(config: Config) -> None:
    """Its figures would be logged twice if it went on."""
    with pytest.raises(KeyboardInterrupt), begun(config) as run:
        run.log_metrics({"train/loss": 0.5}, step=1)
        raise KeyboardInterrupt
    store = Store(config)
    store.client.delete_run(run.run_id)
    with pytest.raises(KeyboardInterrupt), begun(config) as other:
        assert (other.run_id != run.run_id, other.resumed) == (True, False)
        assert not other.folder.checkpoints.exists()
        raise KeyboardInterrupt
    store.client.restore_run(run.run_id)
    with begun(config) as third:
        assert (third.run_id, third.resumed) == (other.run_id, True)


@pytest.mark.parametrize("for_good", [False, True])
def test_a_computed_run_that_is_deleted_before_it_was_delivered_is_run_again(
    config: Config, monkeypatch: pytest.MonkeyPatch, for_good: bool
) -> None:
    with monkeypatch.context() as patch, begun(config) as run:
        patch.setattr(run._client, "set_terminated", lambda *args: 1 / 0)
    client = Store(config).client
    client.delete_run(run.run_id)
    if for_good:
        client._tracking_client.store._hard_delete_run(run.run_id)
    with begun(config) as other:
        assert (other.run_id != run.run_id, other.resumed) == (True, False)
    statuses = {record.run_id: record.status for record in load_records("tlft", home=config.home) if not record.deleted}
    assert statuses == {other.run_id: "FINISHED"}


def test_an_experiment_that_is_deleted_is_said_with_the_command_that_restores_it(
    home: Path, tiny_folder: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["data=imagefolder", f"data.root={tiny_folder}", "training.epochs=1", "threads=1", "model=scratch"]
    command = [*TINY_ARCH, *small]
    config = configure(*command)
    with begun(config) as run:
        pass
    store = Store(config)
    store.client.delete_experiment(store.experiment_id)
    restore = f"mlflow experiments restore --experiment-id {store.experiment_id}"
    for more in ([], ["plan=true"], ["-m", "seed=0,1"], ["-m", "seed=0,1", "plan=true"]):
        done = run_py(*more[:1], *command, *more[1:], home=home)
        (line,) = done.stderr.splitlines()
        assert "tracking.experiment=tlft: was deleted" in line, more
        assert restore in line, more
        assert (done.returncode, done.stdout) == (2, ""), more
    assert table.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert restore in line
    store.client.restore_experiment(store.experiment_id)
    found = Store(config).finished(KEY)
    assert found is not None
    assert found.run_id == run.run_id


def test_another_experiment_stands_in_for_one_that_is_deleted(config: Config, configure: Configure) -> None:
    with begun(config):
        pass
    store = Store(config)
    store.client.delete_experiment(store.experiment_id)
    other = configure("tracking.experiment=other")
    with begun(other):
        pass
    (record,) = load_records("other", home=other.home)
    assert (record.status, record.deleted) == ("FINISHED", False)


def broken_off(config: Config) -> ActiveRun:
    """Make a run that was interrupted after an epoch."""
    with pytest.raises(KeyboardInterrupt), begun(config) as run:
        run.log_metrics({"train/loss": 0.5}, step=1)
        raise KeyboardInterrupt
    return run


def losses(config: Config, run: ActiveRun) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in Store(config).client.get_metric_history(run.run_id, "train/loss")]


def test_an_unfinished_run_that_was_deleted_and_restored_goes_on(config: Config) -> None:
    run = broken_off(config)
    client = Store(config).client
    client.delete_run(run.run_id)
    assert Store(config).unfinished(KEY) is None
    client.restore_run(run.run_id)
    with begun(config) as again:
        assert (again.run_id, again.resumed) == (run.run_id, True)
        again.log_metrics({"train/loss": 0.25}, step=2)
    assert losses(config, run) == [(1, 0.5), (2, 0.25)]


@pytest.mark.parametrize("for_good", [False, True])
def test_a_run_that_is_deleted_while_it_is_computed_ends_with_one_line(
    config: Config, caplog: pytest.LogCaptureFixture, for_good: bool
) -> None:
    client = Store(config).client
    with pytest.raises(RunDeletedError, match="was deleted in MLflow while it") as caught, begun(config) as run:
        client.delete_run(run.run_id)
        if for_good:
            client._tracking_client.store._hard_delete_run(run.run_id)
        run.log_metrics({"train/loss": 0.5}, step=1)
        run.deliver()
    assert "\n" not in str(caught.value)
    assert caplog.records == []
    with begun(config) as other:
        assert not other.resumed
    statuses = {record.run_id: record.status for record in load_records("tlft", home=config.home)}
    assert statuses[other.run_id] == "FINISHED"


def test_a_run_that_is_deleted_while_it_is_computed_and_restored_has_lost_nothing(config: Config) -> None:
    with pytest.raises(RunDeletedError), begun(config) as run:
        Store(config).client.delete_run(run.run_id)
        run.log_metrics({"train/loss": 0.5}, step=1)
    Store(config).client.restore_run(run.run_id)
    with claim_run(Store(config), KEY) as claim:  # it was computed to its end; only its words were not delivered
        assert claim.outcome is not None
        assert claim.outcome.run_id == run.run_id
    assert losses(config, run) == [(1, 0.5)]


def test_a_run_goes_on_although_the_clock_was_set_back_by_an_hour(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with begun(config) as first, first.writing_files() as folder:
        (folder / "layers.txt").write_text("layers")
    next((config.home / "mlruns").rglob("layers.txt")).unlink()  # so that there is something to do
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    run = broken_off(config)
    with begun(config) as again:
        assert again.run_id == run.run_id
    outcome = Store(config).finished(KEY)
    assert outcome is not None
    assert outcome.run_id == run.run_id
