"""What a plan finds out of each run, and what it leaves to the jobs."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TINY_ARCH, Configure

from tlft.names import Tag
from tlft.planning.jobs import Job
from tlft.planning.plan import plan_jobs
from tlft.records.outcome import RunStatus
from tlft.runs.identify import identify
from tlft.runtime import claims
from tlft.tracking.store import Store


@pytest.mark.parametrize(("only_a_plan", "status"), [(False, "RUNNING"), (True, "KILLED")])
def test_a_run_that_goes_on_says_running_until_it_does(
    configure: Configure, tiny_folder: Path, only_a_plan: bool, status: str
) -> None:
    """Another home that waits for it would begin it in between."""
    given = ("data=imagefolder", f"data.root={tiny_folder}", *TINY_ARCH, "model=scratch")
    config = configure(*given, f"plan={str(only_a_plan).lower()}")
    store = Store(config)
    tags = {Tag.RUN_KEY: identify(config).key, Tag.HOME: store.home_id}
    lost, other = (store.client.create_run(store.experiment_id, tags=tags).info.run_id for _ in range(2))
    for run_id in (lost, other):
        store.client.log_param(run_id, "seed", "0")
    store.client.set_tag(other, Tag.RUN_KEY, "b" * 64)
    (planned,) = plan_jobs([Job(0, config)])
    assert planned.status == RunStatus.UNFINISHED
    assert store.client.get_run(lost).info.status == status
    assert store.client.get_run(other).info.status == "KILLED"  # nothing here goes on with it


def test_a_run_done_before_that_states_another_thing_of_its_data_is_said(
    configure: Configure, tiny_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = ("data=imagefolder", f"data.root={tiny_folder}", *TINY_ARCH, "model=scratch")
    alone = configure(*given)
    store = Store(alone)
    tags = {Tag.RUN_KEY: identify(alone).key, Tag.HOME: store.home_id, Tag.ORIGIN: "a nest"}
    run = store.client.create_run(store.experiment_id, tags=tags)
    store.client.set_terminated(run.info.run_id)

    def warnings(*more: str) -> list[str]:
        caplog.clear()
        (planned,) = plan_jobs([Job(0, configure(*given, *more))])
        assert planned.status == RunStatus.SKIPPED
        return [record.getMessage() for record in caplog.records]

    assert warnings("data.origin='a  nest'") == []
    assert warnings() == ["a run done before stated another data.origin: force=true makes it anew"]
    assert warnings("data.origin='a nest'", "data.group='([a-z]+)'") == [
        "a run done before stated another data.group: "
        "analysis.table --group '([a-z]+)' compares by this one, force=true makes it anew"
    ]


def test_who_works_on_the_runs_is_asked_once_for_all_jobs(
    configure: Configure, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("data=imagefolder", f"data.root={tiny_folder}", *TINY_ARCH, "model=scratch")
    jobs = [Job(number, configure(*given, f"seed={number // 2}")) for number in range(12)]
    asked: list[int] = []
    owners = claims.owners
    monkeypatch.setattr("tlft.tracking.store.owners", lambda held: asked.append(len(held)) or owners(held))  # type: ignore[func-returns-value]
    claim = Store(jobs[4].config).claim_of(identify(jobs[4].config).key)
    assert claim.acquire()
    planned = plan_jobs(jobs)
    claim.release()
    assert asked == [6, 0]  # the six runs; and no lost one
    assert [job.status for job in planned if job.same_as is None].count(RunStatus.ELSEWHERE) == 1
    assert [(job.number, job.same_as) for job in planned if job.status == RunStatus.ELSEWHERE] == [(4, None), (5, 4)]
