"""Hydra's door to sweep.py: a sweeper that plans, launches what it composed, and sums up.

Hydra accepts plugins in this package only; all that they do is elsewhere.
"""

from dataclasses import dataclass, field
from typing import cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class TlftSweeperConf:
    """Configure the sweeper; `params` are axes that the command line may replace."""

    _target_: str = "hydra_plugins.tlft_sweeper.TlftSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="tlft", node=TlftSweeperConf, provider="tlft")


class TlftSweeper(BasicSweeper):
    """Expand the axes as Hydra's basic sweeper does; see `tlft.sweeps.execute.run_sweep` for the rest."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Let the launcher take its jobs' configurations from the sweep."""
        from tlft.sweeps.execute import ComposedOnce

        self.composed = ComposedOnce(hydra_context.config_loader)
        context = HydraContext(config_loader=cast(ConfigLoader, self.composed), callbacks=hydra_context.callbacks)
        super().setup(hydra_context=context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep, and leave with its exit status."""
        from tlft.sweeps.execute import run_sweep

        assert self.hydra_context is not None and self.config is not None and self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        (jobs,) = self.split_arguments(overrides, max_batch_size=None)
        run_sweep(self.config, jobs, self.composed, self.launcher)
