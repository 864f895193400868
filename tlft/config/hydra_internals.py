"""All that the project takes of Hydra's private modules; no other module imports one of them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra._internal.utils import create_config_search_path, get_args_parser, run_and_report
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigSource  # noqa: F401  (registers itself)
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
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


def complete_overrides(line: str) -> list[str]:
    """Return what may follow in a line of overrides: groups, their options, keys that users set, and their values."""
    try:
        words = BashCompletion(make_loader())._query("config", line)
    except (HydraException, OmegaConfBaseException, SystemExit):  # a line that is wrong already
        return []
    return [word for word in words if word.partition("=")[0] not in SET_BY_GROUPS]
