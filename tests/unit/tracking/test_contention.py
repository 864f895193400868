"""Two homes on one tracking store: a run belongs to the home that began it, and one home computes it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Configure
from killing import KEY, begun, left_over

from tlft.config.schema import Config
from tlft.errors import RunElsewhereError
from tlft.names import Tag
from tlft.records.outcome import RunStatus
from tlft.storage import home_id
from tlft.storage.home_id import home_ids
from tlft.tracking import contention
from tlft.tracking.claimed_run import claim_run, tidy
from tlft.tracking.outbox import deliver_journals
from tlft.tracking.store import Store
from tlft.tracking.sweep_run import ParentRun

Homes = tuple[Config, Config]


@pytest.fixture
def homes(configure: Configure, tmp_path: Path) -> Homes:
    """Return the configurations of two homes whose runs are in the database of the first."""
    first = configure()
    Store(first)
    (tmp_path / "other").mkdir()
    uri = f"sqlite:///{first.home / 'mlflow.db'}"
    return first, configure(f"paths.home={tmp_path / 'other'}", f"tracking.uri={uri}")


@pytest.mark.parametrize("order", [lambda homes: homes, lambda homes: homes[::-1]], ids=["own", "foreign"])
def test_a_live_run_of_another_home_is_left_to_it(homes: Homes, order: Callable[[Homes], Homes]) -> None:
    mine, other = order(homes)
    with begun(other) as run:
        store = Store(mine)
        assert store.at_work([KEY]) == {KEY}
        assert store.unfinished(KEY) is None
        assert store.end_lost_runs() == 0
        with claim_run(store, KEY) as claimed:
            assert claimed.outcome is not None
            assert claimed.outcome.status == RunStatus.ELSEWHERE
        assert store.client.get_run(run.run_id).info.status == "RUNNING"
    assert not Store(mine).at_work([KEY])
    assert Store(mine).finished(KEY) is not None


@pytest.mark.parametrize("how", ["killed", "lost"])
def test_a_dead_run_of_another_home_is_left_alone(homes: Homes, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = homes
    with pytest.raises(KeyboardInterrupt), begun(other) as run:
        raise KeyboardInterrupt
    store = Store(mine)
    if how == "lost":  # its process was killed, and nobody has marked it
        store.client.update_run(run.run_id, status="RUNNING")
        monkeypatch.setattr(contention, "STALE_SECONDS", -1.0)
    status = store.client.get_run(run.run_id).info.status
    assert store.unfinished(KEY) is None
    with begun(mine) as own:
        assert own.run_id != run.run_id
    assert store.end_lost_runs() == 0
    assert store.client.get_run(run.run_id).info.status == status
    monkeypatch.undo()


def test_of_homes_that_begin_at_once_one_computes(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    barrier = threading.Barrier(2, timeout=60)
    create = contention.take_turn

    def together(*arguments: Any) -> bool:
        barrier.wait()  # both have opened their runs, and neither has seen the other's
        return create(*arguments)

    monkeypatch.setattr("tlft.tracking.claimed_run.take_turn", together)
    outcomes: list[str] = []
    done = threading.Barrier(2, timeout=60)

    def compute(config: Config) -> None:
        try:
            with begun(config):
                done.wait()
                outcomes.append("computed")
        except RunElsewhereError:
            done.wait()
            outcomes.append("left")

    threads = [threading.Thread(target=compute, args=(config,)) for config in homes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["computed", "left"]
    (run,) = Store(homes[0]).runs_with(KEY)
    assert run.info.status == "FINISHED"


def test_who_is_still_choosing_is_waited_for_and_then_left_the_run(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contention, "_CHOOSING_SECONDS", 0.0)
    mine, other = map(Store, homes)
    tags = {Tag.RUN_KEY: KEY, **contention.first_tags()}
    client = mine.client
    runs = [client.create_run(s.experiment_id, tags={**tags, **s.origin_tags}).info.run_id for s in (mine, other)]

    def has_won(store: Store, run_id: str) -> bool:
        return contention.take_turn(client, run_id, store.home_id, lambda: store.of_other_homes(KEY))

    assert not has_won(mine, runs[0])
    assert not has_won(other, runs[1])  # its turn is the later one
    client.set_terminated(runs[0], "KILLED")
    assert has_won(other, runs[1])


def test_a_heartbeat_goes_on_while_a_run_is_computed(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[str] = []
    heard = threading.Event()

    class Client:
        def set_tag(self, run_id: str, name: str, text: str) -> None:
            beats.append(name)
            if len(beats) > 1:
                heard.set()
            raise OSError("away")  # is no fault of the run

    monkeypatch.setattr(contention, "BEAT_SECONDS", 0.01)
    with contention.beating(Client(), "1"):  # type: ignore[arg-type]
        assert heard.wait(60)
    assert set(beats) == {Tag.HEARTBEAT}


def test_each_home_has_a_run_of_its_own_for_a_sweep(homes: Homes) -> None:
    ids = {ParentRun(Store(config), [KEY]).open("sweep", {}) for config in homes}
    assert len(ids) == 2
    assert {ParentRun(Store(homes[0]), [KEY]).open("sweep", {})} < ids


def test_a_home_that_is_moved_keeps_its_id_and_a_copy_gets_another(tmp_path: Path) -> None:
    (tmp_path / "home" / "cache").mkdir(parents=True)
    identity, former = home_ids(tmp_path / "home")
    assert (home_ids(tmp_path / "home"), former) == ((identity, []), [])
    copy = shutil.copytree(tmp_path / "home", tmp_path / "copy")
    other, former = home_ids(copy)
    assert other != identity
    assert former == [identity]
    moved = (tmp_path / "home").rename(tmp_path / "moved")
    assert home_ids(moved) == (identity, [])
    (moved / "cache" / "home-id").write_text(identity)  # as an earlier version has it
    assert home_ids(moved) == (identity, [])
    assert json.loads((moved / "cache" / "home-id").read_text())["place"] == str(moved)


def test_a_copy_at_the_same_place_of_another_machine_is_another_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on(machine: str, number: int) -> tuple[str, list[str]]:
        monkeypatch.setattr(home_id, "_machine", lambda: machine)
        monkeypatch.setattr(home_id, "_number", lambda home: number)
        return home_ids(tmp_path)

    identity, _ = on("first", 1)
    assert on("second", 1) == (identity, [])  # a folder that both share
    assert on("first", 2) == (identity, [])  # put back from a backup
    assert on("third", 3)[1] == [identity]
    other, _ = on("third", 3)
    assert other != identity
    assert on("fourth", 3) == (other, [identity])


def test_a_run_of_a_copied_database_is_the_copy_s_own(homes: Homes, configure: Configure, tmp_path: Path) -> None:
    mine, _ = homes
    with pytest.raises(KeyboardInterrupt), begun(mine) as run:
        raise KeyboardInterrupt
    copy = shutil.copytree(mine.home, tmp_path / "copy")
    with begun(configure(f"paths.home={copy}")) as again:
        assert (again.run_id, again.resumed) == (run.run_id, True)
    on_server = configure(f"paths.home={copy}", f"tracking.uri=sqlite:///{mine.home / 'mlflow.db'}")
    assert Store(on_server).unfinished(KEY) is None


def test_the_files_of_a_run_that_goes_on_in_a_copy_are_the_copy_s(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = configure()
    with pytest.raises(KeyboardInterrupt), begun(original) as run:
        raise KeyboardInterrupt  # it has no files yet, by whose place one could tell
    copy = shutil.copytree(original.home, tmp_path / "copy")
    with begun(configure(f"paths.home={copy}")) as again, again.writing_files() as folder:
        (folder / "layers.txt").write_text("of the copy")
    assert again.run_id == run.run_id
    assert [path.read_text() for path in copy.glob("mlruns/tlft/*/artifacts/layers.txt")] == ["of the copy"]
    assert not list(original.home.glob("mlruns/tlft/*/artifacts/layers.txt"))


def test_what_another_home_files_in_a_database_of_ours_later_stays_where_it_is(
    configure: Configure, tmp_path: Path
) -> None:
    original = configure()
    Store(original)
    (original.home / "mlruns").mkdir()
    copy = configure(f"paths.home={shutil.copytree(original.home, tmp_path / 'copy')}")
    Store(copy)
    database = f"tracking.uri=sqlite:///{copy.home / 'mlflow.db'}"
    theirs = Store(configure(f"paths.home={original.home}", database, "tracking.experiment=theirs"))
    place = theirs.client.get_experiment(theirs.experiment_id).artifact_location
    assert place.startswith(original.home.as_uri())
    assert Store(copy).client.get_experiment(theirs.experiment_id).artifact_location == place


def test_a_copy_leaves_what_waits_for_a_server_to_its_original(
    homes: Homes, configure: Configure, tmp_path: Path
) -> None:
    _, other = homes
    with pytest.raises(KeyboardInterrupt), begun(other) as run:
        raise KeyboardInterrupt
    run.log_metrics({"train/loss": 1.0}, step=1)  # and is not delivered
    copy = shutil.copytree(other.home, tmp_path / "copy")
    assert list(deliver_journals(copy)) == []
    (delivery,) = deliver_journals(other.home)
    assert (delivery.run_id, delivery.waiting) == (run.run_id, 0)


@pytest.mark.parametrize("unfinished", [False, True])
def test_what_another_home_finishes_before_a_run_is_opened_is_not_computed_again(
    homes: Homes, unfinished: bool
) -> None:
    mine, other = homes
    if unfinished:
        with pytest.raises(KeyError), begun(mine):
            raise KeyError
    with claim_run(Store(mine), KEY) as claimed:
        assert claimed.outcome is None
        with begun(other) as theirs:  # from its beginning to its end, while a network is built here
            pass
        with pytest.raises(RunElsewhereError), claimed.start("a run", {}, {}):
            pass
    statuses = {run.info.run_id: run.info.status for run in Store(mine).runs_with(KEY)}
    assert statuses.pop(theirs.run_id) == "FINISHED"
    assert list(statuses.values()) == (["FAILED"] if unfinished else [])  # as it was; or deleted, since it held nothing
    with claim_run(Store(mine), KEY, force=True) as claimed, claimed.start("by force", {}, {}):
        pass


def test_what_was_begun_here_and_finished_elsewhere_leaves_nothing_here(homes: Homes) -> None:
    mine, other = homes
    with pytest.raises(KeyboardInterrupt), begun(mine) as run:
        raise KeyboardInterrupt
    run.log_metrics({"train/loss": 1.0}, step=1)  # and is not delivered
    with begun(other):
        pass
    store = Store(mine)
    tidy(store, KEY)
    assert left_over(mine.home) == []
    assert store.client.get_run(run.run_id).data.metrics == {"train/loss": 1.0}
    assert store.client.get_run(run.run_id).info.status == "KILLED"
