"""A job of a sweep costs what the one before it did: nothing is looked for anew by each of them."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY_ARCH, Configure
from fabricated import plan_of
from omegaconf import DictConfig

from tlft.config.schema import Config
from tlft.data import dataset, image_folder
from tlft.planning import jobs as sweep_jobs
from tlft.planning.plan import plan_jobs
from tlft.runs.context import SweepMembership
from tlft.runs.experiment import run_experiment
from tlft.sweeps.parent_run import SweepRun
from tlft.tracking.store import Store


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often a folder is listed, its files are digested, and the store is searched for lost runs."""
    counter: Counter[str] = Counter()

    def counted(owner: object, name: str) -> None:
        function = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            counter[name] += 1
            return function(*args, **options)

        monkeypatch.setattr(owner, name, call)

    counted(image_folder, "scan")
    counted(dataset, "_digest_files")
    counted(Store, "end_lost_runs")
    return counter


@pytest.fixture
def seeds(configure: Configure, tiny_folder: Path) -> Callable[[int], list[Config]]:
    """Return a function that makes the configurations of a sweep over so many seeds."""
    common = (*TINY_ARCH, "data=imagefolder", f"data.root={tiny_folder}", "model=scratch", "head=task")
    return lambda count: [
        configure(*common, "training.trainable=none", "threads=1", "tracking.weights=false", f"seed={seed}")
        for seed in range(count)
    ]


@pytest.mark.parametrize("count", [2, 12])
def test_a_plan_looks_once_however_many_jobs_it_has(
    count: int, calls: Counter[str], seeds: Callable[[int], list[Config]], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = seeds(count)
    calls.clear()
    remaining = iter(configs)

    def examine(composed: DictConfig, *args: object) -> Config:
        config = next(remaining)
        assert dataset.find_problems(config.data, config.home) == (["ants", "bees"], [])
        return config

    class Loader:
        def load_sweep_config(self, master: DictConfig, overrides: list[str]) -> DictConfig:
            return master

    monkeypatch.setattr(sweep_jobs, "examine", examine)
    composed = sweep_jobs.compose_jobs(DictConfig({}), [[]] * count, Loader())  # type: ignore[arg-type]
    assert len(plan_jobs(composed)) == count
    assert calls == {"scan": 2, "_digest_files": 1, "end_lost_runs": 1}  # listed by the check, and by the plan


def test_a_job_of_a_sweep_looks_for_nothing_anew(calls: Counter[str], seeds: Callable[[int], list[Config]]) -> None:
    planned = plan_of(seeds(3))
    sweep_run = SweepRun(planned, None)
    calls.clear()
    for job in planned:
        membership = pickle.loads(pickle.dumps(sweep_run.membership_of(job)))  # as it comes to another process
        assert run_experiment(job.config, sweep=membership).status == "done"
        assert calls == {}
    run_experiment(planned[0].config, sweep=SweepMembership())  # of another sweeper, which has not looked
    assert calls == {"scan": 1, "_digest_files": 1, "end_lost_runs": 1}


def test_a_job_whose_files_changed_after_the_plan_computes_what_was_planned(
    configure: Configure, tmp_path: Path, calls: Counter[str]
) -> None:
    from conftest import draw_folder

    from tlft.errors import TlftError

    root = draw_folder(tmp_path / "insects", train=2, evaluation=2)
    common = (*TINY_ARCH, "data=imagefolder", f"data.root={root}", "model=scratch", "head=task", "threads=1")
    (job,) = plan_of([configure(*common, "training.trainable=none", "tracking.weights=false")])
    (root / "val" / "ants" / "0.png").write_bytes((root / "val" / "ants" / "1.png").read_bytes())
    with pytest.raises(TlftError, match=r"0\.png: the file changed after its digest was taken"):
        run_experiment(job.config, sweep=SweepRun([job], None).membership_of(job))
