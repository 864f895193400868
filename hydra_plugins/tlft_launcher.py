"""Hydra's door to parallel.py: a launcher that gives each job of a sweep a process of its own on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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


ConfigStore.instance().store(group="hydra/launcher", name="parallel", node=ParallelConf, provider="tlft")


class ParallelLauncher(Launcher):
    """Start jobs beside each other; see `tlft.parallel.run_jobs`."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what the jobs need."""
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; each leaves its outcome in its folder, where the sweeper reads it."""
        from tlft.parallel import jobs_at_once, run_jobs

        assert self.config is not None and self.hydra_context is not None
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        at_once, threads = jobs_at_once(self.config, len(job_overrides))
        configs = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = str(Path(str(config.hydra.sweep.subdir)).name)
                config.hydra.job.num = int(config.hydra.job.id) if config.hydra.job.id.isdecimal() else number
                config.threads = config.threads or threads
            configs.append(config)
        run_jobs(configs, self.hydra_context, at_once, stop_on_failure=self.config.sweep.on_failure == "stop")
        return []
