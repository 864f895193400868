"""Hydra's door to `tlft.sweeps.launchers`: launchers that give the jobs of a sweep processes of their own.

Hydra executes this file without a place in `sys.modules`, so annotations must not be deferred.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tlft.errors import ConfigurationError
from tlft.terminal.command_line import exit_with

if TYPE_CHECKING:
    from tlft.planning.jobs import PlannedJob
    from tlft.sweeps.launchers.worker import JobOrder, OnSubmit


@dataclass
class ParallelConf:
    """Jobs beside each other on this machine, in processes of their own.

    Attributes:
        jobs: at once; null: one for each GPU, else cores / threads, as memory allows.
    """

    _target_: str = "hydra_plugins.tlft_launcher.ParallelLauncher"
    jobs: int | None = None


@dataclass
class SlurmConf:
    """An array of a Slurm cluster; null leaves it to the cluster.

    Attributes:
        partition: sbatch's.
        account: sbatch's.
        qos: sbatch's.
        constraint: sbatch's.
        timeout_min: minutes until the job is put back into the queue and goes on from its checkpoint.
        max_num_timeout: how often that may be.
        signal_delay_s: seconds before the time-out at which the job saves its checkpoint.
        cpus_per_task: cores of a job, and its threads unless threads is given; null: 4.
        gpus_per_node: GPUs of a job.
        mem_gb: memory of a job.
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
    """What both launchers have in common: tlft's sweeper hands them whole orders, any other one overrides."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what it takes to compose jobs, and refuse at once what cannot launch any."""
        self.hydra_context, self.config = hydra_context, config
        if problem := self.find_problem():
            exit_with(ConfigurationError(problem))

    @abstractmethod
    def find_problem(self) -> str:
        """Return why no job can be launched, in a line with its mend; an empty text if nothing hinders it."""

    def prepare(self, due: "Sequence[PlannedJob]") -> str:
        """Hear which jobs are due; returns what a plan says of how they will be done."""
        return ""

    def begin(self) -> None:
        """Hear that jobs will be run, while what they need is still fetched."""

    @abstractmethod
    def run_jobs(self, orders: "Sequence[JobOrder]", on_submit: "OnSubmit") -> None:
        """Do jobs; see `tlft.sweeps.execute.Launcher`."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Do jobs for another sweeper than tlft's; each leaves its outcome in its folder."""
        from tlft.planning.jobs import compose_jobs
        from tlft.runs.context import SweepMembership
        from tlft.sweeps.launchers.worker import JobOrder

        folder, sweep = Path(self.config.hydra.sweep.dir), SweepMembership()
        jobs = compose_jobs(self.config, job_overrides, self.hydra_context.config_loader)
        orders = [JobOrder(replace(job, number=initial_job_idx + job.number), folder, sweep) for job in jobs]
        self.run_jobs(orders, lambda number, queued: None)
        return []


class ParallelLauncher(_TlftLauncher):
    """Start jobs beside each other; see `tlft.sweeps.launchers.parallel.run_jobs`."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs
        self._need = 0

    def find_problem(self) -> str:
        """Refuse a number of jobs at once that is none."""
        wrong = self.jobs is not None and self.jobs < 1
        return f"hydra.launcher.jobs={self.jobs}: give 1 or more" if wrong else ""

    def prepare(self, due: "Sequence[PlannedJob]") -> str:
        """Find out what memory the jobs take, and say how many run at once."""
        from tlft.planning.estimate import memory_need
        from tlft.sweeps.launchers.capacity import capacity_for

        if len(due) < 2 or self.jobs == 1:
            return ""
        self._need = memory_need(due)
        capacity = capacity_for([job.config for job in due], self.jobs, self._need)
        capacity.warn()
        return capacity.describe()

    def begin(self) -> None:
        """Start what makes processes, which takes as long as its imports."""
        from tlft.sweeps.launchers.parallel import process_server

        process_server()

    def run_jobs(self, orders: "Sequence[JobOrder]", on_submit: "OnSubmit") -> None:
        """Run the jobs; none of them waits in a queue."""
        from tlft.sweeps.launchers.parallel import run_jobs

        run_jobs(orders, self.jobs, self._need)


class SlurmLauncher(_TlftLauncher):
    """Submit jobs to Slurm and wait for them; see `tlft.sweeps.launchers.slurm.run_jobs`."""

    def __init__(self, **settings: Any) -> None:
        self.settings = asdict(SlurmConf(**settings))
        del self.settings["_target_"]

    def find_problem(self) -> str:
        """Refuse at once where there is no Slurm."""
        from tlft.sweeps.launchers.slurm import find_problem

        return find_problem()

    def prepare(self, due: "Sequence[PlannedJob]") -> str:
        """Say which GPUs the jobs get, and how to ask for one where they need it and nobody has."""
        count = self.settings["gpus_per_node"]
        if count:
            return f", {count} GPU{'s' if count > 1 else ''} each"
        if self.settings["additional_parameters"] or not any(job.config.device.startswith("cuda") for job in due):
            return ""
        return " (hydra.launcher.gpus_per_node=1 asks Slurm for it)"

    def run_jobs(self, orders: "Sequence[JobOrder]", on_submit: "OnSubmit") -> None:
        """Run the jobs, each of which waits in the queue of the cluster first."""
        from tlft.sweeps.launchers.slurm import run_jobs

        run_jobs(orders, self.settings, on_submit)
