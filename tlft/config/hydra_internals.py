"""All that the project takes of Hydra's private modules; no other module imports one of them."""

from __future__ import annotations

import copy
import os
from argparse import ArgumentParser
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from hydra import __version__, version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.utils import create_config_search_path, get_args_parser, run_and_report
from hydra.conf import ConfigSourceInfo
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigSource  # noqa: F401  (registers itself)
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tlft.commands import invocation
from tlft.config.options import SET_BY_GROUPS
from tlft.config.paths import CONF
from tlft.errors import ConfigurationError, one_line


def argument_parser() -> ArgumentParser:
    """Return the parser of Hydra's own flags, with a one-line error in place of a page of usage."""

    def error(message: str) -> NoReturn:
        raise ConfigurationError(
            f"{message}; flags such as -m come first (`{invocation('run')} --help` shows what there is)"
        )

    parser: ArgumentParser = get_args_parser()
    parser.error = error  # type: ignore[method-assign]
    return parser


def make_loader(folder: Path = CONF, extra_folder: Path | None = None) -> ConfigLoaderImpl:
    """Return what composes a folder of configurations, and perhaps options of another one, as `hydra.main` does."""
    setup_globals()
    JobRuntime.instance().set("name", "run")
    search_path = create_config_search_path(str(folder))
    if extra_folder is not None:
        search_path.prepend("command-line", f"file://{extra_folder}", SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(config_search_path=search_path)


def run_task(task: TaskFunction, config: DictConfig, mode: str, callbacks: Callbacks | None = None) -> Any:
    """Do one job as Hydra does, in this process: its folder, its logging, its callbacks; returns what the task does.

    The task gets the configuration without Hydra's own node; the mode is `run`, or `sweep` for a job of several.

    Raises:
        Exception: whatever the task raises.
    """
    callbacks = callbacks or Callbacks(config)
    event: dict[str, Any] = {"config": config, "config_name": config.hydra.job.config_name}
    if mode == "run":
        callbacks.on_run_start(**event)
    done = run_job(
        task_function=task,
        config=config,
        job_dir_key=f"hydra.{mode}.dir",
        job_subdir_key="hydra.sweep.subdir" if mode == "sweep" else None,
        hydra_context=HydraContext(None, callbacks),  # type: ignore[arg-type]  # nothing is composed any more
    )
    if mode == "run":
        callbacks.on_run_end(**event, job_return=done)
        return done.return_value
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)  # what is said from now on is not of this job
    # Without Hydra's own announcement of a failure: whoever has launched the job says what is to be said.
    if done.status == JobStatus.FAILED:
        raise done._return_value
    return done._return_value


@contextmanager
def explained() -> Iterator[None]:
    """Turn what Hydra says of a command line that it cannot make sense of into a ConfigurationError."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigurationError(f"{one_line(error)}; `{invocation('run')} --help` shows what there is") from error


def run_single(task: TaskFunction, config: DictConfig, claim: Callable[[DictConfig], DictConfig]) -> None:
    """Do a single run as `hydra.main` does, from what is composed already.

    Its folder is claimed last, so that a callback or a logging that cannot be made uses up none.
    """
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    callbacks = run_and_report(lambda: Callbacks(config))
    claimed = claim(config)
    run_and_report(lambda: run_task(task, claimed, "run", callbacks))


def task_overrides(config: DictConfig) -> list[str]:
    """Return what was typed but for Hydra's own keys, as it was typed: interpolations are the jobs' to resolve."""
    overrides: list[str] = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)  # type: ignore[assignment]
    return overrides


def run_multirun(task: TaskFunction, config: DictConfig, loader: ConfigLoader) -> None:
    """Hand a sweep to its sweeper as `hydra.main` does, from what is composed already."""
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    callbacks = Callbacks(config)
    event: dict[str, Any] = {"config": config, "config_name": config.hydra.job.config_name}

    def sweep() -> None:
        callbacks.on_multirun_start(**event)
        context = HydraContext(loader, callbacks)
        sweeper = Plugins.instance().instantiate_sweeper(config=config, hydra_context=context, task_function=task)
        sweeper.sweep(arguments=task_overrides(config))
        callbacks.on_multirun_end(**event)

    run_and_report(sweep)


class GroupComposer:
    """Compose choices of groups for the jobs of a sweep, whose own configuration, `master`, Hydra has composed."""

    def __init__(self, master: DictConfig, loader: ConfigLoader) -> None:
        if not isinstance(loader, ConfigLoaderImpl):
            raise TypeError(f"{type(loader).__name__} composes in a way of its own")
        self._master, self._loader = master, loader
        self._of_hydra: list[str] = OmegaConf.to_container(master.hydra.overrides.hydra)  # type: ignore[assignment]
        self._repository = self._read([])[1]

    def chooses(self, override: Override) -> bool:
        """Tell whether Hydra takes an override for the choice of a group."""
        is_group: bool = self._repository.group_exists(override.key_or_group)
        return is_group and not isinstance(override.value(), dict)

    def compose(self, groups: Sequence[str]) -> ChosenGroups:
        """Compose one choice of groups, beside what was typed of Hydra itself.

        Raises:
            Exception: whatever Hydra raises.
        """
        self._loader.ensure_main_config_source_available()
        overrides, repository = self._read(groups)
        name = self._master.hydra.job.config_name
        defaults = create_defaults_list(
            repo=repository, config_name=name, overrides_list=overrides, prepend_hydra=True, skip_missing=False
        )
        composed = self._loader._compose_config_from_defaults_list(defaults=defaults.defaults, repo=repository)
        OmegaConf.set_struct(composed, True)
        OmegaConf.set_readonly(composed.hydra, False)
        OmegaConf.copy_cache(from_config=self._master, to_config=composed)
        of_hydra = overrides[: len(self._of_hydra)]
        keys = [override for override in of_hydra if not self.chooses(override)]
        sources = [ConfigSourceInfo(at.path, at.scheme(), at.provider) for at in repository.get_sources()]
        return ChosenGroups(composed, name, of_hydra, keys, defaults.overrides.known_choices, sources)

    def _read(self, groups: Sequence[str]) -> tuple[list[Override], CachingConfigRepository]:
        name = self._master.hydra.job.config_name
        read: tuple[list[Override], CachingConfigRepository]
        read = self._loader._parse_overrides_and_create_caching_repo(name, [*self._of_hydra, *groups])
        return read


class ChosenGroups:
    """What one choice of groups comes to; on copies of it keys are set, each as Hydra would compose it from the start.

    The steps, and their order, are those of `ConfigLoaderImpl._load_configuration_impl` of Hydra 1.3, in which all that
    comes before the keys depends on the groups alone. A test holds that the result is Hydra's own.
    """

    def __init__(
        self,
        composed: DictConfig,
        config_name: str,
        of_hydra: Sequence[Override],
        keys_of_hydra: Sequence[Override],
        choices: dict[str, str | None],
        sources: list[ConfigSourceInfo],
    ) -> None:
        self._composed, self._config_name, self._choices, self._sources = composed, config_name, choices, sources
        self._of_hydra, self._keys_of_hydra, self._cwd = of_hydra, keys_of_hydra, str(Path.cwd())
        self.task: DictConfig = copy.deepcopy(composed)
        with open_dict(self.task):
            self.task.pop("hydra")
        self.hydra: DictConfig = self.compose([], []).hydra

    def compose_task(self, keys: Sequence[Override], shared: Collection[str] = ()) -> DictConfig:
        """Return the configuration without Hydra's own node, with some keys set.

        The `shared` parts, in which no key is, are the same nodes each time: the next call takes them away.

        Raises:
            Exception: whatever Hydra raises.
        """
        nodes: list[Any] = [self.task._get_node(name) for name in shared]
        task = copy.deepcopy(self.task, {id(node): node for node in nodes})
        for node in nodes:
            node._set_parent(task)  # so that what stands elsewhere in this copy is found from here
        ConfigLoaderImpl._apply_overrides_to_config(list(keys), task)
        return task

    def compose(self, overrides: Sequence[Override], keys: Sequence[Override]) -> DictConfig:
        """Return the whole configuration of a job: `overrides` are all that was typed of it, `keys` no groups.

        Raises:
            Exception: whatever Hydra raises.
        """
        cfg = copy.deepcopy(self._composed)
        ConfigLoaderImpl._apply_overrides_to_config([*self._keys_of_hydra, *keys], cfg)
        cfg.hydra.overrides.hydra.extend([override.input_line for override in self._of_hydra])
        cfg.hydra.overrides.task.extend([override.input_line for override in overrides])
        with open_dict(cfg.hydra):
            cfg.hydra.runtime.choices.update(self._choices)
            for key in cfg.hydra.job.env_copy:
                cfg.hydra.job.env_set[key] = os.environ[key]
        cfg.hydra.runtime.version = __version__
        cfg.hydra.runtime.version_base = version.getbase()
        cfg.hydra.runtime.cwd = self._cwd
        cfg.hydra.runtime.config_sources = self._sources
        if "name" not in cfg.hydra.job:
            cfg.hydra.job.name = JobRuntime.instance().get("name")
        form = cfg.hydra.job.config.override_dirname
        cfg.hydra.job.override_dirname = get_overrides_dirname(
            overrides=list(overrides), kv_sep=form.kv_sep, item_sep=form.item_sep, exclude_keys=form.exclude_keys
        )
        cfg.hydra.job.config_name = self._config_name
        OmegaConf.copy_cache(from_config=self._composed, to_config=cfg)
        return cfg


def complete_overrides(line: str) -> list[str]:
    """Return what may follow in a line of overrides: groups, their options, keys that users set, and their values."""
    try:
        words = BashCompletion(make_loader())._query("config", line)
    except (HydraException, OmegaConfBaseException, SystemExit):  # a line that is wrong already
        return []
    return [word for word in words if word.partition("=")[0] not in SET_BY_GROUPS]
