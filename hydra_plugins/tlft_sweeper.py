"""Hydra's door to `tlft.sweeps`: a sweeper that plans, launches what it composed, sums up, and ends the command.

Hydra accepts plugins in this package only; all that they do is elsewhere.
"""

import logging
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from tlft.errors import ConfigurationError, TlftError
from tlft.terminal.command_line import exit_with

if TYPE_CHECKING:
    from tlft.sweeps.execute import Launcher

log = logging.getLogger(__name__)


@dataclass
class TlftSweeperConf:
    """Configure the sweeper; `params` are axes that the command line may replace, and all jobs are one batch."""

    _target_: str = "hydra_plugins.tlft_sweeper.TlftSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="tlft", node=TlftSweeperConf, provider="tlft")


class TlftSweeper(Sweeper):
    """Expand the axes as Hydra's basic sweeper does, and have `tlft.sweeps` do the rest."""

    def __init__(self, params: dict[str, str], max_batch_size: int | None) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what it takes to compose jobs, and make the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> NoReturn:
        """Run the sweep, and leave with its exit status."""
        from tlft.planning.jobs import expand_axes

        assert self.hydra_context is not None and self.config is not None
        loader = self.hydra_context.config_loader
        try:
            sys.exit(self._run(self.config, expand_axes(self.params, arguments, loader), loader))
        except ConfigurationError as error:
            exit_with(error)
        except TlftError as error:
            log.error("failed: %s", error)
            sys.exit(1)

    def _run(self, master: DictConfig, overrides: list[list[str]], loader: ConfigLoader) -> int:
        """Compose, check, plan, launch and sum up; returns the exit status."""
        from tlft.planning.jobs import compose_jobs
        from tlft.planning.plan import describe_plan, plan_jobs, print_jobs
        from tlft.runtime.signals import say_interrupted
        from tlft.sweeps.execute import Interrupted, execute
        from tlft.sweeps.parent_run import SweepRun
        from tlft.sweeps.summary import exit_status_of, sum_up
        from tlft.terminal.ctrl_c import status_of_ctrl_c
        from tlft.terminal.line_breaks import fitting

        choices = master.hydra.runtime.choices
        choice = choices["hydra/launcher"]
        launcher, composed = self._launcher(choice), compose_jobs(master, overrides, loader)
        jobs = plan_jobs(composed, *([] if composed[0].config.plan else [launcher.begin]))
        plan = describe_plan(jobs, on_all_cores=choice == "parallel", here=choice != "slurm")
        print(fitting(plan + launcher.prepare([job for job in jobs if job.is_due]), sys.stdout), flush=True)
        if jobs[0].config.plan:
            print_jobs(jobs)
            return 0
        sweep_run = SweepRun(jobs, choices.get("sweep"))
        stopped: KeyboardInterrupt | SystemExit | None = None
        try:
            results = execute(jobs, launcher, sweep_run, partial(_claim_folder, master))
        except Interrupted as interrupted:  # the summary is owed all the same
            results, stopped = interrupted.results, interrupted.cause
            say_interrupted()
        sum_up(results, sweep_run)
        if stopped is not None:
            return status_of_ctrl_c() if isinstance(stopped, KeyboardInterrupt) else int(stopped.code or 143)
        return exit_status_of(results)

    def _launcher(self, choice: str) -> "Launcher":
        from tlft.sweeps.execute import Launcher
        from tlft.sweeps.launchers import in_process

        if choice == "basic":
            return in_process
        if isinstance(self.launcher, Launcher):
            return self.launcher
        raise ConfigurationError(f"hydra/launcher={choice}: is none of tlft's; choose basic, parallel or slurm")


def _claim_folder(master: DictConfig) -> Path:
    from tlft.config.output_dir import with_claimed_folder

    claimed = with_claimed_folder(master, "sweep")
    folder = Path(claimed.hydra.sweep.dir)
    OmegaConf.save(claimed, folder / "multirun.yaml")
    return folder
