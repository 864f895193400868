"""The MLflow run that stands for a sweep: one for the same jobs, whoever starts them, and what it carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Configure, draw_folder
from fabricated import plan_of
from killing import left_over, parents_in
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from tlft.config.schema import Config
from tlft.names import LONGEST_TAG_ANYWHERE, flatten
from tlft.planning.jobs import PlannedJob, Result
from tlft.records.outcome import Outcome, RunStatus
from tlft.records.record import Record
from tlft.runs.experiment_note import write_note
from tlft.sweeps.parent_run import SweepRun, _name, compute_figures, make_table, typed_command
from tlft.tracking.claimed_run import claim_run
from tlft.tracking.reader import load_records
from tlft.tracking.store import Store
from tlft.tracking.sweep_run import ParentRun, tell_apart

KEYS = ["a" * 64, "b" * 64]


@pytest.fixture
def store(configure: Configure) -> Store:
    return Store(configure())


def end(parent: ParentRun, status: str = "FINISHED", **figures: float) -> bool:
    with parent.closing() as mine:
        if mine:
            parent.log_figures(2, figures)
            parent.log_note("a note")
            parent.end(status)
    return mine


def only(store: Store) -> Any:
    (found,) = parents_in(store.home)
    return found


def test_the_same_jobs_have_the_same_run_and_others_another(store: Store) -> None:
    parent = ParentRun(store, KEYS)
    first = parent.open("a sweep", {"sweep": "custom"})
    assert only(store).info.status == "RUNNING"
    assert end(parent)
    assert only(store).info.status == "FINISHED"
    again = ParentRun(store, [*reversed(KEYS), KEYS[0]])
    assert again.open("its name is kept", {}) == first
    assert (only(store).info.status, only(store).info.run_name) == ("RUNNING", "a sweep")
    assert end(again, "KILLED")
    assert ParentRun(store, KEYS[:1]).open("another", {}) != first


def test_a_run_that_was_deleted_has_a_successor(store: Store) -> None:
    parent = ParentRun(store, KEYS)
    first = parent.open("a sweep", {})
    store.client.delete_run(first)
    assert end(parent)  # deleted while the sweep ran: there is nothing to write to
    assert parents_in(store.home) == []
    second = ParentRun(store, KEYS)
    assert second.open("a sweep", {}) != first
    assert end(second)


def test_nothing_is_opened_by_closing(store: Store) -> None:
    assert not end(ParentRun(store, KEYS))
    assert parents_in(store.home) == []
    assert left_over(store.home) == []


def test_one_process_at_a_time_answers_for_it(store: Store) -> None:
    one, other = ParentRun(store, KEYS), ParentRun(store, KEYS)
    assert one.open("a sweep", {}) == other.open("a sweep", {})
    assert not end(other, "KILLED")
    assert only(store).info.status == "RUNNING"
    assert end(one, "KILLED")
    assert end(other, "FINISHED")
    assert only(store).info.status == "FINISHED"
    assert left_over(store.home) == []


def test_one_whose_process_is_gone_is_killed_at_the_next_start(store: Store) -> None:
    parent = ParentRun(store, KEYS)
    parent.open("a sweep", {})
    assert store.end_lost_runs() == 0
    parent._claim.release()  # as the end of its process does
    assert store.end_lost_runs() == 1
    assert only(store).info.status == "KILLED"


def test_the_newest_figures_are_shown_and_the_same_are_not_logged_again(store: Store) -> None:
    for accuracy in (0.9, 0.5, 0.5):
        parent = ParentRun(store, KEYS)
        parent.open("a sweep", {})
        assert end(parent, accuracy=accuracy)
    assert only(store).data.metrics == {"sweep/jobs": 2, "accuracy": 0.5}
    history = store.client.get_metric_history(only(store).info.run_id, "accuracy")
    assert [(point.step, point.value) for point in history] == [(0, 0.9), (1, 0.5)]
    assert only(store).data.tags["mlflow.note.content"] == "a note"


def test_it_is_no_run_of_an_experiment(store: Store) -> None:
    ParentRun(store, KEYS).open("a sweep", {"host": "here"})
    assert len(parents_in(store.home)) == 1
    assert load_records("tlft", home=store.home) == []
    assert store.runs_with("") == []
    assert store.recent("resnet50", "here") == []


@pytest.fixture
def plan(configure: Configure, tiny_folder: Path) -> list[PlannedJob]:
    common = ("data=imagefolder", f"data.root={tiny_folder}", "arch=efficientnet_lite0")
    experiments = ("zero_shot", "fine_tune", "from_scratch")
    return plan_of([configure(*common, f"experiment={name}", f"seed={s}") for name in experiments for s in (0, 1)])


def params_of(job: PlannedJob) -> dict[str, str]:
    return flatten(job.identity.science)


def as_done(job: PlannedJob, accuracy: float, status: str = "FINISHED") -> Record:
    key, params = job.identity.key, params_of(job)
    return Record(key, "", status, False, 0, key, params, {"data": "insects"}, {"eval/accuracy": accuracy})


def test_figures_are_the_means_of_the_columns(plan: list[PlannedJob]) -> None:
    done = [as_done(plan[0], 0.75), as_done(plan[2], 0.9), as_done(plan[3], 0.8), as_done(plan[4], 0.5, "KILLED")]
    assert compute_figures(plan, done) == {
        "sweep/runs": 3,
        "column/zero_shot/accuracy": 0.75,
        "column/fine_tune/accuracy": pytest.approx(0.85),
    }


def test_rows_are_told_apart_by_what_was_planned(configure: Configure, tiny_folder: Path) -> None:
    """A name must not change while the runs come in: the figure under the old one would stay."""
    common = ("data=imagefolder", f"data.root={tiny_folder}", "arch=efficientnet_lite0", "model=scratch")
    rates = ("0.01", "0.1")
    jobs = plan_of([configure(*common, f"optimizer.lr={lr}", f"seed={s}") for lr in rates for s in (0, 1)])
    figures = compute_figures(jobs, [as_done(jobs[0], 0.25)])
    assert figures == {"sweep/runs": 1, "column/from_scratch/accuracy/sgd lr 0.01 momentum 0.5": 0.25}
    whole = compute_figures(jobs, [as_done(job, 0.25) for job in jobs])
    assert set(whole) == {*figures, "column/from_scratch/accuracy/sgd lr 0.1 momentum 0.5"}


def test_folds_count_as_they_do_in_the_table(configure: Configure, tmp_path: Path) -> None:
    drawn = draw_folder(tmp_path / "drawn")
    folds = ("data=imagefolder", f"data.root={drawn / 'train'}", "arch=efficientnet_lite0", "data.folds=2")
    jobs = plan_of([configure(*folds, "model=scratch", f"data.fold={n}", f"seed={s}") for s in (0, 1) for n in (0, 1)])
    records = [as_done(job, accuracy) for job, accuracy in zip(jobs, (0.5, 1.0, 0.25, 0.25), strict=True)]
    records = [
        replace(r, metrics=r.metrics | {"eval/images": n}) for r, n in zip(records, (30.0, 10.0) * 2, strict=True)
    ]
    assert compute_figures(jobs, records) == {"sweep/runs": 4, "column/from_scratch/accuracy": (0.625 + 0.25) / 2}
    assert compute_figures(jobs, records[:1]) == {"sweep/runs": 1, "column/from_scratch/accuracy": 0.5}


def test_a_note_begins_with_the_figures_and_is_no_longer_than_mlflow_keeps(plan: list[PlannedJob]) -> None:
    note = write_note(make_table([as_done(plan[2], 0.9), as_done(plan[4], 0.5)], unread), LONGEST_TAG_ANYWHERE)
    assert note.startswith("On insects, efficientnet_lite0: fine-tuned 90.0 %, from scratch 50.0 %.\n\n| data set |")
    one = as_done(plan[2], 0.9)
    rates = [{**one.params, "optimizer.lr": f"0.{number}"} for number in range(200)]
    many = [replace(one, run_id=params["optimizer.lr"], key=params["optimizer.lr"], params=params) for params in rates]
    long = write_note(make_table(many, unread), LONGEST_TAG_ANYWHERE)
    assert LONGEST_TAG_ANYWHERE - 300 < len(long) <= LONGEST_TAG_ANYWHERE
    assert long.count("| insects |") + int(long.rpartition("no more: ")[2].split()[0]) == 200


def test_a_long_command_leaves_the_note_its_table_and_stands_whole_in_a_file(
    plan: list[PlannedJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["run.py", "-m", f"seed={','.join(map(str, range(3000)))}"])
    note = write_note(make_table([as_done(plan[2], 0.9)], unread), LONGEST_TAG_ANYWHERE)
    assert len(note) < LONGEST_TAG_ANYWHERE
    assert "| insects |" in note
    assert note.endswith("... (13,911 characters)`")
    run = SweepRun(plan, None)
    run.membership_of(plan[0])
    run.close(results(plan, *["done"] * 6), unread)
    found = only(plan[0].store)
    assert len(found.data.tags["command"]) == LONGEST_TAG_ANYWHERE
    assert found.data.tags["command"].endswith("... (13,911 characters)")
    file = Path(found.info.artifact_uri.removeprefix("file://")) / "command.txt"
    assert file.read_text() == typed_command()


@pytest.mark.parametrize("method", ["log_batch", "set_tag", "log_artifact"])
def test_a_run_is_ended_and_the_rest_of_it_written_whatever_is_refused(
    plan: list[PlannedJob],
    method: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    part = {"log_batch": "figures", "set_tag": "note", "log_artifact": "report"}
    page = tmp_path / "report.html"
    page.write_text("a page")

    def refuse(*args: object, **options: object) -> None:
        raise MlflowException("it is refused", INVALID_PARAMETER_VALUE)

    with claim_run(plan[2].store, plan[2].identity.key) as claim, claim.start("a run", params_of(plan[2]), {}) as done:
        done.log_metrics({"eval/accuracy": 0.9})
    run = SweepRun(plan, None)
    run.membership_of(plan[0])
    monkeypatch.setattr(plan[0].store.client, method, refuse)
    assert len(run.close(results(plan, *["done"] * 6), unread, lambda table: [page])) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"the {part[method]} of the sweep's run in MLflow could not be written: it is refused"
    ]
    found = only(plan[0].store)
    assert found.info.status == "FINISHED"
    logged = {
        "figures": bool(found.data.metrics),
        "note": "mlflow.note.content" in found.data.tags,
        "report": (Path(found.info.artifact_uri.removeprefix("file://")) / "report.html").exists(),
    }
    assert logged == {name: name != part[method] for name in logged}


def test_a_run_whose_table_cannot_be_made_is_ended(
    plan: list[PlannedJob], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(records: Sequence[Record]) -> dict[str, pd.DataFrame]:
        raise OSError("the disk is gone")

    run = SweepRun(plan, None)
    run.membership_of(plan[0])
    run.close(results(plan, *["done"] * 5, "failed"), fail)
    assert "the note and report of the sweep's run in MLflow could not be written: the disk is gone" in caplog.text
    assert only(plan[0].store).info.status == "FAILED"


def unread(records: Sequence[Record]) -> dict[str, pd.DataFrame]:
    return {}


def results(plan: list[PlannedJob], *statuses: str) -> list[Result]:
    return [Result(job, Outcome(RunStatus(status))) for job, status in zip(plan, statuses, strict=True)]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("done", "skipped", "done", "done", "done", "done"), "FINISHED"),
        (("done", "done", "failed", "done", "not started", "interrupted"), "FAILED"),
        (("done", "done", "done", "interrupted", "not started", "not started"), "KILLED"),
        (("done", "done", "done", "done", "done", "elsewhere"), "KILLED"),
    ],
)
def test_status_tells_how_the_sweep_has_ended(plan: list[PlannedJob], statuses: tuple[str, ...], expected: str) -> None:
    run = SweepRun(plan, "comparison")
    opened = {run.membership_of(job).parent for job in plan}
    assert run.close(results(plan, *statuses), unread) == []
    found = only(plan[0].store)
    assert opened == {found.info.run_id}
    assert (found.info.status, found.data.tags["sweep"]) == (expected, "comparison")
    assert found.data.metrics == {"sweep/jobs": 6, "sweep/runs": 0}


def test_jobs_of_another_experiment_have_no_parent(configure: Configure, tiny_folder: Path) -> None:
    common = ("data=imagefolder", f"data.root={tiny_folder}", "arch=efficientnet_lite0", "model=scratch")
    jobs = plan_of([configure(*common, f"tracking.experiment={name}") for name in ("tlft", "other")])
    run = SweepRun(jobs, None)
    assert [run.membership_of(job).parent is None for job in jobs] == [False, True]
    run.close(results(jobs, "done", "failed"), unread)
    assert only(jobs[0].store).info.status == "FINISHED"


def test_a_store_that_is_away_costs_a_warning(
    plan: list[PlannedJob], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError("the server is away")

    client = plan[0].store.client
    run = SweepRun(plan, None)
    with monkeypatch.context() as patch:
        patch.setattr(client, "create_run", refuse)
        assert run.membership_of(plan[0]).parent is None
    assert run.membership_of(plan[0]).parent is not None
    with monkeypatch.context() as patch:
        patch.setattr(client, "set_terminated", refuse)
        assert run.close(results(plan, *["done"] * 6), unread) == []
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "the sweep has no run of its own in MLflow: the server is away",
        "the end of the sweep's run in MLflow could not be written: the server is away",
    ]
    assert left_over(plan[0].store.home) == []


def test_a_run_keeps_its_first_parent(configure: Configure) -> None:
    config: Config = configure()

    def begin(key: str, parent: str | None) -> None:
        with claim_run(Store(config), key) as claim, claim.start("a run", {}, {}, parent=parent):
            raise KeyboardInterrupt

    for key, parent in (("a" * 64, "first"), ("a" * 64, "second"), ("b" * 64, None), ("b" * 64, "second")):
        with pytest.raises(KeyboardInterrupt):
            begin(key, parent)
    tags = {record.key[0]: record.tags.get("mlflow.parentRunId") for record in load_records("tlft", home=config.home)}
    assert tags == {"a": "first", "b": None}


def test_a_sweep_is_named_by_what_is_swept_first(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["run.py", "-m", "data.root=/a/long/way/to/photographs", "arch=timm", "model=scratch", "seed=0,1"]
    monkeypatch.setattr("sys.argv", argv)
    name = _name(None)
    assert name.startswith("seed=0,1 arch=timm model=scratch ")


def test_settings_in_a_name_go_without_their_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["run.py", "training.epochs=5", "optimizer.lr=0.1,0.2", "model.stages=2"])
    assert _name("comparison") == "comparison lr=0.1,0.2 epochs=5 model.stages=2"


def test_sweeps_differ_in_the_letters_that_a_table_of_runs_shows(store: Store) -> None:
    """Even where what differs stands behind them, and where the number itself pushes it out."""
    long = "comparison arch=efficientnet_lite0 epochs="
    for epochs, keys in ((5, KEYS), (10, KEYS[:1]), (20, KEYS[1:])):
        parent = ParentRun(store, keys)
        parent.open(f"{long}{epochs}", {})
        assert end(parent)
    names = sorted(run.info.run_name for run in parents_in(store.home))
    assert names == [f"#2 {long}10", f"#3 {long}20", f"{long}5"]
    assert len({name[:24] for name in names}) == 3
    assert tell_apart("another", names) == "another"
