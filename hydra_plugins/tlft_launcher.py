"""Hydra's door to parallel.py and slurm.py: launchers that give each job of a sweep a process of its own."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


@dataclass
class ParallelConf:
    """Configure the launcher; `jobs` run at once: by default one per GPU, else cores / `threads`."""

    _target_: str = "hydra_plugins.tlft_launcher.ParallelLauncher"
    jobs: int | None = None


@dataclass
class SlurmConf:
    """Configure what sbatch is asked for; null leaves it to the cluster.

    Attributes:
        timeout_min: minutes until the job is put back into the queue and goes on from its checkpoint.
        max_num_timeout: how often.
        signal_delay_s: seconds before the time-out at which the job saves its checkpoint.
        cpus_per_task: also its threads, unless `threads` is given.
        array_parallelism: jobs at once.
        setup: lines of shell before the job.
        additional_parameters: any other of sbatch's, such as {mail-type: END}.
    """

    _target_: str = "hydra_plugins.tlft_launcher.SlurmLauncher"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    timeout_min: int = 240
    max_num_timeout: int = 1000
    signal_delay_s: int = 120
    cpus_per_task: int | None = None
    gpus_per_node: int | None = None
    mem_gb: int | None = None
    array_parallelism: int = 256
    setup: list[str] = field(default_factory=list)
    additional_parameters: Any = None  # OmegaConf takes new keys into no typed dict


ConfigStore.instance().store(group="hydra/launcher", name="parallel", node=ParallelConf, provider="tlft")
ConfigStore.instance().store(group="hydra/launcher", name="slurm", node=SlurmConf, provider="tlft")


class _TlftLauncher(Launcher):
    """What both launchers have in common."""

    config: DictConfig
    hydra_context: HydraContext

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what the jobs need."""
        self.hydra_context, self.config = hydra_context, config

    def compose(self, job_overrides: Sequence[Sequence[str]], threads: int | None) -> list[DictConfig]:
        """Return each job's configuration, whose folder has its number in the whole sweep."""
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        configs = []
        for number, overrides in enumerate(job_overrides):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = str(Path(str(config.hydra.sweep.subdir)).name)
                config.hydra.job.num = int(config.hydra.job.id) if config.hydra.job.id.isdecimal() else number
                config.threads = config.threads or threads
            configs.append(config)
        return configs


class ParallelLauncher(_TlftLauncher):
    """Start jobs beside each other; see `tlft.sweeps.launchers.parallel.run_jobs`."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Refuse a number of jobs at once that is none."""
        from tlft.errors import ConfigurationError
        from tlft.runs.preflight import exit_with

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if self.jobs is not None and self.jobs < 1:
            exit_with(ConfigurationError([f"hydra.launcher.jobs={self.jobs}: give 1 or more"]))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; each leaves its outcome in its folder, where the sweeper reads it."""
        from tlft.sweeps.launchers.parallel import jobs_at_once, run_jobs

        at_once, threads = jobs_at_once(self.config, len(job_overrides))
        configs = self.compose(job_overrides, threads)
        run_jobs(configs, self.hydra_context, at_once, stop_on_failure=self.config.sweep.on_failure == "stop")
        return []


class SlurmLauncher(_TlftLauncher):
    """Submit jobs to Slurm and wait for them; see `tlft.sweeps.launchers.slurm.run_jobs`.

    Attributes:
        on_submit: is told the number of each job and its id in Slurm.
    """

    def __init__(self, **settings: Any) -> None:
        self.on_submit: Callable[[int, str], None] = lambda number, slurm_id: None
        self.settings = asdict(SlurmConf(**settings))
        del self.settings["_target_"]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Refuse at once where there is no Slurm."""
        from tlft.errors import ConfigurationError
        from tlft.runs.preflight import exit_with
        from tlft.sweeps.launchers.slurm import find_problem

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if problem := find_problem():
            exit_with(ConfigurationError([problem]))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; each leaves its outcome in its folder, where the sweeper reads it."""
        from tlft.sweeps.launchers.slurm import run_jobs

        cpus = self.settings["cpus_per_task"] or self.config.threads or CPUS_PER_TASK
        configs = self.compose(job_overrides, cpus)
        settings = self.settings | {"cpus_per_task": cpus}
        stop = self.config.sweep.on_failure == "stop"
        run_jobs(configs, self.hydra_context, settings, self.on_submit, stop_on_failure=stop)
        return []


CPUS_PER_TASK = 4
