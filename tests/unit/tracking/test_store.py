"""Runs whose tracking store is away for a while, or has gone through something."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Configure, files_in
from killing import KEY, begun
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Engine, event

from tlft import sync
from tlft.config.schema import Config
from tlft.errors import ConfigurationError, TlftError
from tlft.names import Tag
from tlft.records.record import Record
from tlft.runtime import signals
from tlft.runtime.claims import Claim
from tlft.tracking.active_run import ActiveRun
from tlft.tracking.claimed_run import claim_run, tidy
from tlft.tracking.client import existing_run, quiet
from tlft.tracking.outbox import deliver_journals
from tlft.tracking.reader import load_record, load_records
from tlft.tracking.run_folder import RunFolder
from tlft.tracking.store import Store


@pytest.fixture
def config(configure: Configure) -> Config:
    return configure()


def break_store(run: ActiveRun, patch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError("database is locked")

    for name in ("log_batch", "log_artifacts", "set_terminated", "log_text", "set_tag"):
        patch.setattr(run._client, name, refuse)


def leave_files(run: ActiveRun) -> None:
    with run.writing_files() as folder:
        (folder / "weights").mkdir()
        (folder / "weights" / "model.safetensors").write_bytes(b"weights")


def only(config: Config) -> Record:
    (record,) = (record for record in load_records("tlft", home=config.home) if not record.deleted)
    return record


def history(config: Config, name: str) -> list[tuple[int, float]]:
    client = Store(config).client
    return [(point.step, point.value) for point in client.get_metric_history(only(config).run_id, name)]


def test_a_store_that_comes_back_gets_everything_in_order(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with begun(config) as run:
        with monkeypatch.context() as patch:
            break_store(run, patch)
            for epoch in (1, 2, 3):
                run.log_metrics({"train/loss": 1 / epoch}, step=epoch)
                assert not run.deliver()
        run.log_metrics({"train/loss": 0.2}, step=4)
        assert run.deliver(at_once=True)
        assert history(config, "train/loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.2)]
    assert only(config).status == "FINISHED"
    said = [record.getMessage() for record in caplog.records]
    assert sum("takes nothing now (database is locked)" in line for line in said) == 1


@contextmanager
def held_by_another_process(database: Path) -> Iterator[None]:
    """Keep everybody else from writing to an SQLite database within the block."""
    hold = (
        "import sqlite3, sys; held = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "held.execute('begin immediate'); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        assert holder.stdin is not None
        holder.stdin.close()


@pytest.fixture
def impatient() -> Iterator[None]:
    """Let a locked database be waited for a moment, not for the 20 s that MLflow sets."""

    def shorten(
        connection: object, cursor: object, statement: str, parameters: object, *_: object
    ) -> tuple[str, object]:
        return statement.replace("busy_timeout = 20000", "busy_timeout = 50"), parameters

    event.listen(Engine, "before_cursor_execute", shorten, retval=True)
    yield
    event.remove(Engine, "before_cursor_execute", shorten)


def test_a_database_that_is_locked_for_longer_than_the_time_out_gets_everything_later(
    config: Config, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    with begun(config) as run:
        run.log_metrics({"train/loss": 1.0}, step=1)
        with held_by_another_process(config.home / "mlflow.db"):
            assert not run.deliver()
            assert "database is locked" in run.refusal
            run.log_metrics({"train/loss": 0.5}, step=2)
            assert not run.deliver()
            assert not run.deliver(at_once=True)
        run.log_metrics({"train/loss": 0.2}, step=3)
        assert run.deliver(at_once=True)
        assert history(config, "train/loss") == [(1, 1.0), (2, 0.5), (3, 0.2)]
    assert only(config).status == "FINISHED"
    assert sum("takes nothing now" in record.getMessage() for record in caplog.records) == 1


def test_a_run_that_ends_while_the_database_is_locked_is_delivered_later(config: Config, impatient: None) -> None:
    with begun(config) as run:
        run.log_metrics({"eval/accuracy": 0.9}, step=3)
        leave_files(run)
        store = Store(config)
        tags = {"tlft.run_key": "b" * 64, "tlft.home": store.home_id}
        lost = store.client.create_run(store.experiment_id, tags=tags).info.run_id
        holding = ExitStack()
        holding.enter_context(held_by_another_process(config.home / "mlflow.db"))
    with holding:
        assert {record.status for record in load_records("tlft", home=config.home)} == {"RUNNING"}
        with pytest.raises(TlftError, match="another process holds the database; type the same command again"):
            store.end_lost_runs()
    assert store.end_lost_runs() == 1  # and not the one that has ended
    assert store.client.get_run(lost).info.lifecycle_stage == "deleted"
    assert sync.main([]) == 0
    assert is_whole(config)


def test_a_run_that_the_store_has_lost_is_run_again(undelivered: Config, caplog: pytest.LogCaptureFixture) -> None:
    """As when a server's database was made anew, whose experiments have the same ids."""
    lost = "f" * 32
    Store(undelivered).folder_of(KEY).remember(run_id=lost, uri="")
    (rest,) = deliver_journals(undelivered.home)
    assert (rest.run_id, rest.delivered) == (lost, 0)
    assert "it is no longer there" in rest.error
    with begun(undelivered) as run:
        assert run.run_id != lost
    assert f"run {lost} is not in" in caplog.text
    records = load_records("tlft", home=undelivered.home)
    assert [record.status for record in records if record.run_id == run.run_id] == ["FINISHED"]


@pytest.fixture
def undelivered(config: Config, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return the configuration of a run that was computed to its end while its store was away."""
    with monkeypatch.context() as patch, begun(config) as run:
        break_store(run, patch)
        run.log_metrics({"eval/accuracy": 0.9}, step=3)
        leave_files(run)
    assert only(config).status == "RUNNING"
    return config


def is_whole(config: Config) -> bool:
    record = only(config)
    artifacts = config.home / "mlruns" / "tlft" / record.run_id / "artifacts"
    return (
        record.status == "FINISHED"
        and history(config, "eval/accuracy") == [(3, 0.9)]
        and (artifacts / "weights" / "model.safetensors").read_bytes() == b"weights"
        and not list((config.home / "checkpoints").iterdir())
    )


def test_what_is_left_is_delivered_by_sync(undelivered: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert sync.main([]) == 0
    assert "entries delivered" in capsys.readouterr().out
    assert is_whole(undelivered)
    assert sync.main([]) == 0
    assert "nothing waits" in capsys.readouterr().out


def test_what_is_left_is_delivered_by_the_next_start(undelivered: Config) -> None:
    with claim_run(Store(undelivered), KEY) as claim:
        assert claim.outcome is not None
        assert claim.outcome.status == "skipped"
    assert is_whole(undelivered)


def test_delivering_twice_changes_nothing(undelivered: Config) -> None:
    (folder,) = (undelivered.home / "checkpoints").iterdir()
    kept = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert list(deliver_journals(undelivered.home))
    for path, content in kept.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "delivered").unlink()
    assert list(deliver_journals(undelivered.home))
    assert is_whole(undelivered)


def test_sync_says_what_still_waits(
    undelivered: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object) -> None:
        raise TlftError("the server is away")

    monkeypatch.setattr("tlft.tracking.run_folder.connect", refuse)
    assert sync.main([]) == 1
    assert "still wait (the server is away)" in capsys.readouterr().out


def test_verify_hashes_the_files_and_a_damaged_run_is_done_no_more(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    with begun(config) as run:
        leave_files(run)
    assert sync.main(["--verify"]) == 0
    (weights,) = config.home.glob("mlruns/tlft/*/artifacts/weights/model.safetensors")
    weights.write_bytes(b"Weights")  # as long as before
    assert Store(config).finished(KEY) is not None
    assert sync.main(["--verify"]) == 1
    assert "its weights/model.safetensors is damaged" in capsys.readouterr().out
    assert Store(config).finished(KEY) is None
    weights.write_bytes(b"weights")  # somebody has put the file back
    assert sync.main(["--verify"]) == 0
    assert Store(config).finished(KEY) is not None


def test_a_run_of_an_earlier_version_is_read_as_before(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """It has its files in a tag that people see, and its params as they were."""
    with begun(config) as run:
        leave_files(run)
    store, digest = Store(config), "5" * 64
    tags = store.client.get_run(run.run_id).data.tags
    store.client.set_tag(run.run_id, "tlft.files", tags["mlflow.tlft.files"])
    store.client.delete_tag(run.run_id, "mlflow.tlft.files")
    for name, value in (("data.eval", digest), ("transform.resize", "168")):
        store.client.log_param(run.run_id, name, value)
    record = only(config)
    assert record.files["weights/model.safetensors"][0] == len("weights")
    assert (record.params["data.eval"], record.params["transform.resize"]) == (digest, "168")
    assert store.finished(KEY) is not None
    assert sync.main(["--verify"]) == 0
    (weights,) = config.home.glob("mlruns/tlft/*/artifacts/weights/model.safetensors")
    weights.unlink()
    assert store.finished(KEY) is None
    assert sync.main(["--verify"]) == 1
    assert "its weights/model.safetensors is missing" in capsys.readouterr().out


def test_a_run_whose_process_is_gone_is_killed_at_the_next_start(config: Config) -> None:
    store = Store(config)
    tags = {"tlft.run_key": KEY, "tlft.home": store.home_id}
    lost, spared = (store.client.create_run(store.experiment_id, tags=tags).info.run_id for _ in range(2))
    store.client.log_param(lost, "seed", "0")
    store.client.set_tag(spared, "tlft.run_key", "c" * 64)
    other = store.client.create_run(store.experiment_id, tags=tags | {"tlft.home": "another"}).info.run_id
    with begun(config, "a" * 64) as run:
        assert Store(config).end_lost_runs(["c" * 64]) == 1
        statuses = {record.run_id: record.status for record in load_records("tlft", home=config.home)}
        assert statuses == {lost: "KILLED", spared: "RUNNING", other: "RUNNING", run.run_id: "RUNNING"}
    assert Store(config).end_lost_runs() == 1  # it holds nothing
    assert store.client.get_run(spared).info.lifecycle_stage == "deleted"


def test_a_lost_run_ends_with_its_last_sign_of_life(config: Config) -> None:
    store = Store(config)
    create, begun_at = store.client.create_run, 1_700_000_000_000
    tags = {"tlft.run_key": KEY, "tlft.home": store.home_id}
    beating, writing, silent = (
        create(store.experiment_id, start_time=begun_at, tags=tags | own).info.run_id
        for own in (
            {"tlft.heartbeat": str(begun_at + 60_000)},
            {"tlft.heartbeat": str(begun_at + 60_000), "tlft.run_key": "c" * 64},
            {"tlft.run_key": "d" * 64},  # of an earlier version
        )
    )
    for run_id in (beating, writing, silent):
        store.client.log_param(run_id, "seed", "0")
    folder = store.folder_of("c" * 64)
    folder.remember(writing, "")
    folder.checkpoints.mkdir()
    for path in (folder.path, *folder.path.iterdir()):
        os.utime(path, (0, begun_at / 1000))
    (folder.checkpoints / "step").touch()
    os.utime(folder.checkpoints / "step", (0, begun_at / 1000 + 90))
    os.utime(folder.checkpoints, (0, begun_at / 1000))
    assert store.end_lost_runs() == 3
    runs = [store.client.get_run(run_id) for run_id in (beating, writing, silent)]
    assert [run.info.status for run in runs] == ["KILLED"] * 3
    assert [run.info.end_time - begun_at for run in runs[:2]] == [60_000, 90_000]
    assert runs[2].info.end_time > begun_at + 90_000  # when it was noticed


def test_a_lost_sweep_ends_with_the_last_of_its_jobs(config: Config) -> None:
    store = Store(config)
    create, begun_at = store.client.create_run, 1_700_000_000_000
    sweep = create(store.experiment_id, begun_at, {"tlft.sweep": "e" * 64, "tlft.home": store.home_id}).info.run_id
    beats = (begun_at + 30_000, begun_at + 60_000)
    for key, beat in zip("ab", beats, strict=True):
        tags = {"tlft.run_key": key * 64, "tlft.home": store.home_id, "mlflow.parentRunId": sweep}
        job = create(store.experiment_id, begun_at, tags | {"tlft.heartbeat": str(beat)})
        store.client.log_param(job.info.run_id, "seed", "0")
    assert store.end_lost_runs() == 3
    assert store.client.get_run(sweep).info.end_time == max(beats)


def test_a_run_that_ends_while_lost_ones_are_looked_for_keeps_its_status(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as working:
        working.enter_context(begun(config))
        store = Store(config)

        def ends_now(self: Claim, in_queue: object) -> None:
            working.close()

        monkeypatch.setattr(Claim, "owner", ends_now)
        assert store.end_lost_runs() == 0
    assert only(config).status == "FINISHED"


@pytest.mark.parametrize(
    "deleted", [[], ["files"], ["journal.jsonl", "files"], ["files", "journal.jsonl", "delivered"]]
)
def test_a_run_that_was_killed_while_its_folder_was_deleted_leaves_nothing(
    config: Config, monkeypatch: pytest.MonkeyPatch, deleted: list[str]
) -> None:
    def cut_short(folder: RunFolder) -> None:
        if not folder.path.exists():  # before the run has begun
            return
        folder.checkpoints.mkdir()
        for name in deleted:
            path = folder.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "remove", cut_short)
        with begun(config) as run:
            leave_files(run)
    assert run.folder.path.exists()
    tidy(Store(config), KEY)
    assert not run.folder.path.exists()
    assert only(config).status == "FINISHED"


def test_the_word_of_an_owner_who_was_killed_at_the_very_end_goes(config: Config) -> None:
    with begun(config):
        pass
    claim = Store(config).claim_of(KEY)
    assert claim._replace(None, claim._process)
    Path(claim._lock.lock_file).touch()
    tidy(Store(config), KEY)
    assert files_in(config.home / "cache" / "locks") == []


def test_what_is_left_of_a_finished_run_whose_process_was_killed_while_it_tidied_up_goes(config: Config) -> None:
    with begun(config) as run:
        leave_files(run)
    folder = run.folder
    folder.remember(run_id=run.run_id, uri="")
    tidy(Store(config), KEY)
    assert not folder.path.exists()
    with begun(config, "a" * 64) as other:
        pass
    other.folder.remember(run_id=other.run_id, uri="")
    store = Store(config)
    store.client.update_run(other.run_id, status="KILLED")  # as of one that has only just begun
    with claim_run(store, "a" * 64) as claim:
        assert claim.outcome is None
        assert other.folder.path.exists()


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("times", [1, 2])
def test_a_run_that_is_told_to_stop_while_it_is_finished_stays_finished(
    config: Config, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    deliver = ActiveRun.deliver

    def interrupted(self: ActiveRun, *, at_once: bool = False) -> bool:
        done = deliver(self, at_once=at_once)
        if at_once:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGTERM)
        return done

    monkeypatch.setattr(ActiveRun, "deliver", interrupted)
    with begun(config):
        pass
    with pytest.raises(signals.Stopped):
        signals.stop_if_asked()
    monkeypatch.setattr(ActiveRun, "deliver", deliver)
    assert only(config).status == "FINISHED"
    assert list(deliver_journals(config.home)) == []
    assert only(config).status == "FINISHED"
    assert list(config.home.glob("checkpoints/*")) == []


def test_an_interrupted_run_is_continued_and_a_diverged_one_is_not(config: Config) -> None:
    from tlft.errors import NonFiniteLossError

    with pytest.raises(KeyboardInterrupt), begun(config) as run:
        raise KeyboardInterrupt
    assert only(config).status == "KILLED"
    with pytest.raises(NonFiniteLossError), begun(config) as again:
        assert (again.run_id, again.resumed) == (run.run_id, True)
        raise NonFiniteLossError("the loss became nan")
    with begun(config) as third:
        assert (third.run_id != run.run_id, third.resumed) == (True, False)
    assert sorted(record.status for record in load_records("tlft", home=config.home)) == ["FAILED", "FINISHED"]


def test_a_run_that_was_deleted_is_not_continued(config: Config) -> None:
    with pytest.raises(KeyboardInterrupt), begun(config) as run:
        run.log_metrics({"train/loss": 0.5}, step=1)
        raise KeyboardInterrupt
    Store(config).client.delete_run(run.run_id)
    with begun(config) as other:
        assert other.run_id != run.run_id
        assert other.journal.waiting == 0
        assert not other.journal.has("metrics")


def test_figures_without_their_journal_are_not_added_to(config: Config, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(KeyboardInterrupt), begun(config) as run:
        run.log_metrics({"train/loss": 0.5}, step=1)
        raise KeyboardInterrupt
    shutil.rmtree(config.home / "checkpoints")
    with begun(config) as other:
        assert other.run_id != run.run_id


def test_a_home_may_be_moved_while_something_waits(undelivered: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = undelivered.home.with_name("moved")
    undelivered.home.rename(moved)
    monkeypatch.setenv("TLFT_HOME", str(moved))
    (rest,) = deliver_journals(moved)
    assert rest.waiting == 0


def test_what_is_silenced_by_two_threads_at_once_is_heard_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    with quiet:
        quiet.__enter__()
        logging.getLogger("tlft.training").warning("of ours is heard meanwhile")
        logging.getLogger("mlflow.store").warning("is not heard")
    warnings.warn("is not heard either", stacklevel=1)
    quiet.__exit__(None, None, None)
    logging.getLogger("mlflow.store").warning("is heard again")
    with pytest.warns(UserWarning, match="too"):
        warnings.warn("and this too", stacklevel=1)
    assert "of ours is heard meanwhile" in caplog.text
    assert "is not heard" not in caplog.text


def test_the_beginning_of_an_id_names_a_run(config: Config) -> None:
    store = Store(config)
    first, second = (store.client.create_run(store.experiment_id).info.run_id for _ in range(2))
    shared = next(size for size in range(33) if first[size] != second[size])
    for whole in (first, second):
        beginning = whole[: max(shared + 1, 8)]
        assert existing_run(store.client, beginning).info.run_id == whole
        assert load_record(beginning, home=config.home).run_id == whole
    with pytest.raises(ConfigurationError, match="no such run"):
        existing_run(store.client, "0123456789ab")


def test_a_beginning_that_several_ids_share_is_refused_with_their_ids(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(config)
    ids = iter(["deadbeef" + "0" * 24, "deadbeef" + "1" * 24])
    monkeypatch.setattr(f"{SqlAlchemyStore.__module__}.uuid.uuid4", lambda: SimpleNamespace(hex=next(ids)))
    for _ in range(2):
        store.client.create_run(store.experiment_id)
    with pytest.raises(ConfigurationError, match=r"several runs: deadbeef[01]{4} .*; give more"):
        existing_run(store.client, "deadbeef")
    assert existing_run(store.client, "deadbeef1").info.run_id.startswith("deadbeef1")


@pytest.mark.parametrize("is_server", [False, True])
@pytest.mark.parametrize("most", [1, 100])
def test_the_runs_of_many_keys_are_those_of_each(
    config: Config, monkeypatch: pytest.MonkeyPatch, is_server: bool, most: int
) -> None:
    store, other = Store(config), Store(replace(config, tracking=replace(config.tracking, experiment="other")))
    keys = [f"{number:064x}" for number in range(5)]
    for number, key in enumerate([*keys[:4], *keys[:2], "f" * 64]):
        created = store.client.create_run(store.experiment_id, start_time=number // 2, tags={Tag.RUN_KEY: key})
        if number in (1, 2):
            store.client.delete_run(created.info.run_id)
        other.client.create_run(other.experiment_id, tags={Tag.RUN_KEY: key})
    store.client.create_run(store.experiment_id)  # of no key, such as a sweep's
    expected = {key: [run.info.run_id for run in store.runs_with(key)] for key in keys}
    assert [len(runs) for runs in expected.values()] == [2, 1, 0, 1, 0]
    monkeypatch.setattr("tlft.tracking.store._MANY", most)
    monkeypatch.setattr("tlft.tracking.store._AT_ONCE", 2)
    if is_server:
        monkeypatch.setattr("tlft.database.schema.tagged_runs", lambda uri, tag: None)
    assert {key: [run.info.run_id for run in runs] for key, runs in store.runs_of(keys).items()} == expected
    assert store.runs_of([]) == {}


def test_a_thousand_keys_are_one_question_if_none_is_done(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(config)
    store.client.create_run(store.experiment_id, tags={Tag.RUN_KEY: "f" * 64})
    monkeypatch.setattr(store, "search", lambda *_, **__: pytest.fail("asked MLflow"))
    keys = [f"{number:064x}" for number in range(1000)]
    assert store.runs_of(dict.fromkeys(keys)) == {key: [] for key in keys}
