"""Check a command line before Hydra acts on it: every mistake is one line with its mend, and nothing is written.

Heavy libraries stay out, but where only they know: the names of networks, and whether there is a GPU.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tlft.commands import invocation
from tlft.config import options, validate
from tlft.config.addresses import hide_password
from tlft.config.compose import COMPOSITION_ERRORS, Composer, missing_keys
from tlft.config.hydra_internals import argument_parser, explained
from tlft.config.resolve import resolve
from tlft.config.schema import Config
from tlft.config.sweep_composer import Composition, JobKeys
from tlft.config.typed import quote_texts, to_config, with_values
from tlft.config.validate_data import say_missing_holdout
from tlft.data import class_map, dataset
from tlft.errors import ConfigurationError, InapplicableError, one_line
from tlft.models import weights
from tlft.runtime import device
from tlft.storage.files import display_name, name_problem
from tlft.storage.looking import look
from tlft.tracking import server, store
from tlft.training import algorithms

_LEAST_ROOM = 1 << 18
"""Bytes that must be free on the disk for a run to begin; without them Hydra fails where nobody can catch it."""

_SUBDIR = "${hydra.job.num}"

_WRITTEN = ("cache", "cache/locks", "cache/decoded", "cache/digests", "checkpoints", "mlruns", "outputs", "multirun")
"""Folders of `paths.home` that every run writes to."""


@dataclass(frozen=True)
class Invocation:
    """What a command line asks Hydra to do.

    Attributes:
        composed: what Hydra composed; of a sweep without the values that are swept over.
        config: of a single run, checked and resolved; None for a sweep, whose jobs the sweeper checks.
        shows_help: whether nothing is done, so that no more than the composition was checked.
    """

    loader: ConfigLoader
    composed: DictConfig
    config: Config | None
    shows_help: bool = False


@explained()
def check_command_line(argv: Sequence[str]) -> Invocation | None:
    """Compose and check what `argv` asks for.

    Returns:
        None for commands that only show something (`--cfg`, `--info`, `--hydra-help`, shell completion).

    Raises:
        ConfigurationError: with every problem that can be seen.
        TlftError: if nothing answers at the address of the tracking server.
    """
    args = argument_parser().parse_args(list(argv))
    args.overrides = quote_texts(args.overrides)
    if args.hydra_help or args.shell_completion:
        return None
    if args.experimental_rerun:
        raise ConfigurationError(
            "--experimental-rerun: unpickles a file, which may run any code; repeat a run with from_run=RUN"
        )
    if args.multirun and (args.cfg or args.info):
        raise ConfigurationError("--cfg and --info show one configuration; leave -m out")
    if problems := [f"{display_name(text)}: {problem}" for text in args.overrides if (problem := name_problem(text))]:
        raise ConfigurationError(problems)
    composer = Composer.of(args)
    overrides = composer.parse(args.overrides)
    for override in overrides:  # of a sweep over several stores none is composed yet
        if override.get_key_element() == "tracking.uri" and override.is_sweep_override():
            for address in override.sweep_string_iterator():
                hide_password(address.strip("'\""))
    if problems := composer.wrong_forms(overrides):
        raise ConfigurationError(problems)
    try:
        composed = composer.compose([*args.overrides, *(["hydra.mode=MULTIRUN"] if args.multirun else [])])
    except COMPOSITION_ERRORS as error:
        raise ConfigurationError(_explain(composer, args.overrides, error)) from None
    if args.help:
        return Invocation(composer.loader, composed, None, shows_help=True)
    if args.cfg or args.info:
        return None
    subdir = OmegaConf.to_container(composed.hydra.sweep, resolve=False)["subdir"]  # type: ignore[index,call-overload]
    if subdir != _SUBDIR:
        mend = "a job's folder has its number for a name; leave it out (hydra.sweep.dir names the sweep's)"
        raise ConfigurationError(f"hydra.sweep.subdir={subdir}: {mend}")
    uri = OmegaConf.select(composed, "tracking.uri", throw_on_resolution_failure=False)
    wait_for_answer = server.ask_early(str(uri))  # while the checks may import for seconds
    config = None
    if composed.hydra.mode == RunMode.MULTIRUN:
        _check_sweep(composer, overrides, composed)
    else:
        config = _check_single(composer, overrides, composed)
        composed = with_values(composed, {"hydra.mode": RunMode.RUN})
    wait_for_answer()
    return Invocation(composer.loader, composed, config)


def examine(cfg: DictConfig, loader: ConfigLoader) -> Config:
    """Return one composed configuration, typed and resolved, if nothing is wrong with it, its data, network and store.

    Raises:
        ConfigurationError: with every problem.
    """
    try:
        if missing := missing_keys(cfg):
            raise ConfigurationError(missing)
        config = to_config(cfg)
    except COMPOSITION_ERRORS as error:
        raise ConfigurationError(_wrong_references(cfg) or one_line(error)) from None
    hydra = OmegaConf.select(cfg, "hydra") or DictConfig({})
    choices, mode = OmegaConf.select(hydra, "runtime.choices"), OmegaConf.select(hydra, "mode")
    return _checked(config, cfg, choices, mode, loader)


def _wrong_references(cfg: DictConfig) -> list[str]:
    """Return the parts that were set to something that is no part, such as `training=${seed}`, a line each."""
    schema, problems = OmegaConf.structured(Config), []
    for name in map(str, cfg):
        if name not in schema or not isinstance(schema._get_node(name), DictConfig):
            continue
        with suppress(OmegaConfBaseException):  # which is told as it is
            if OmegaConf.is_interpolation(cfg, name) and not OmegaConf.is_config(cfg[name]):
                node: Any = cfg._get_node(name)
                mend = f"give its keys one by one, such as {name}.KEY=..."
                problems.append(f"{name}={node._value()}: comes to {cfg[name]}, which has no keys; {mend}")
    return problems


def examine_keys(job: JobKeys, loader: ConfigLoader) -> tuple[Config, Composition]:
    """Return the same of a job that Hydra has not composed, and its whole configuration.

    Raises:
        ConfigurationError: with every problem.
        Exception: whatever Hydra and OmegaConf raise of what cannot be composed, or lacks a value.
    """
    config, task = job.task()
    checked = _checked(config, task, job.choice.options, job.choice.mode, loader)
    return checked, job.composition(task)


def _checked(
    config: Config, cfg: DictConfig, choices: Mapping[str, Any] | None, mode: RunMode | None, loader: ConfigLoader
) -> Config:
    if missing := options.find_missing(cfg, choices, loader):
        raise ConfigurationError(missing)
    problems, labels = options.find_problems(cfg, choices, loader)
    if problems:  # the others are those of what the options are
        config = to_config(with_values(cfg, labels))
    is_single = not config.plan and mode != RunMode.MULTIRUN
    # A cluster gives the job another machine, of whose devices this one says nothing.
    on_a_node = mode == RunMode.MULTIRUN and (choices or {}).get("hydra/launcher") == "slurm"
    problems += _problems_of(config, is_single=is_single, on_a_node=on_a_node)
    unmapped = _wrong_class_map(config)
    if problems and unmapped is not None:
        raise ConfigurationError([*problems, *unmapped.problems])
    if problems and problems == validate.stages_of_nothing(config):
        raise InapplicableError(problems, "model.stages=N goes with pretrained weights alone, null with any")
    if problems:
        raise ConfigurationError(problems)
    if (unmapped := unmapped or weights.find_other_outputs(config)) is not None:
        raise unmapped
    return resolve(config)


def _wrong_class_map(config: Config) -> ConfigurationError | None:
    """Return what is wrong with the class map, which may be that there is none."""
    configured = config.data.class_map
    if (config.head.name != "imagenet1k" and not configured) or not isinstance(configured, dict | str | None):
        return None
    classes, _ = dataset.find_problems(config.data, config.home)
    return class_map.find_error(configured, classes, leave_out=config.data.unmapped == "leave_out")


def _problems_of(config: Config, *, is_single: bool, on_a_node: bool) -> list[str]:
    problems = validate.find_problems(config) + algorithms.find_problems(config.optimizer)
    if config.arch.library in ("torchvision", "timm"):
        problems += weights.find_problems(config, is_single=is_single)
    if not dataset.has_holdout(config.data, config.home):
        problems += say_missing_holdout(config)
    return (
        problems
        + dataset.find_problems(config.data, config.home)[1]
        + device.find_problems(config, on_a_node=on_a_node)
        + look(("home", config.home), lambda: _wrong_home(config.home))
        + look(("store", config.tracking.uri, config.home), lambda: store.find_problems(config))
    )


def _explain(composer: Composer, overrides: Sequence[str], error: Exception) -> list[str]:
    """Say what cannot be composed, and what is wrong with the values of all that can."""
    problems, composable = composer.explain(overrides, error)
    for texts in composable:
        try:
            examine(composer.compose(texts), composer.loader)
        except ConfigurationError as wrong:
            problems += wrong.problems
    return list(dict.fromkeys(problems))


def _check_single(composer: Composer, overrides: Sequence[Override], composed: DictConfig) -> Config:
    mend = f"several values need -m ({invocation('run')} -m ...); if it is one value, put it in quotes"
    problems = [f"{override.input_line}: {mend}" for override in overrides if override.is_sweep_override()]
    try:
        config = examine(composed, composer.loader)
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return config


def _check_sweep(composer: Composer, overrides: Sequence[Override], composed: DictConfig) -> None:
    """Refuse what cannot be swept over, and options that are not there; the jobs themselves are the sweeper's."""
    params = OmegaConf.select(composed, "hydra.sweeper.params") or {}
    replaced = {override.key_or_group for override in overrides}
    axes = [f"{key}={value}" for key, value in params.items() if key not in replaced]
    parsed = [*composer.parse(axes), *overrides]
    problems: list[str] = []
    if composed.plan and (sweeper := composed.hydra.runtime.choices["hydra/sweeper"]) != "tlft":
        problems.append(
            f"plan=true: hydra/sweeper={sweeper} plans nothing and would run the jobs; leave one of them out"
        )
    for override in (override for override in parsed if override.is_sweep_override()):
        text, key = override.input_line, override.key_or_group
        if key == "sweep" or key.startswith("hydra"):
            problems.append(f"{text}: cannot be swept over; give one value")
        elif not override.is_discrete_sweep():
            problems.append(f"{text}: only lists, choice(...) and range(...) can be swept over")
    if problems:
        raise ConfigurationError(problems)
    if any(_has_wrong_option(composer, override) for override in parsed):
        error = ConfigurationError("a group has no such option")
        raise ConfigurationError(_explain(composer, [str(override.input_line) for override in parsed], error))


def _has_wrong_option(composer: Composer, override: Override) -> bool:
    is_axis = override.is_sweep_override() and composer.is_group(override)
    return is_axis and not set(override.sweep_string_iterator()) <= set(composer.options(override.key_or_group))


def _wrong_home(home: Path) -> list[str]:
    """Return what hinders a run from writing to `paths.home`, of which nothing need be there yet."""
    if problem := name_problem(str(home)):
        return [f"paths.home={display_name(home)}: {problem}"]
    existing = next((folder for folder in (home, *home.parents) if folder.exists()), home)
    if not existing.is_dir():
        return [f"paths.home={home}: {existing} is a file; name a folder"]
    try:
        with TemporaryFile(dir=existing) as file:
            file.write(bytes(_LEAST_ROOM))
    except OSError as error:
        mend = "free some space" if error.errno == errno.ENOSPC else "take the right to"
        return [
            f"paths.home={home}: cannot write in {existing} ({error.strerror}); {mend}, or set paths.home or TLFT_HOME "
            "to a folder of yours"
        ]
    problems = []
    for folder in (home / name for name in _WRITTEN if (home / name).exists()):
        if not folder.is_dir():
            problems.append(f"{folder}: is a file where a folder belongs; move it away, or set paths.home")
        elif not os.access(folder, os.W_OK | os.X_OK):
            problems.append(f"{folder}: may not be written to; take the right to (chmod u+rwx), or set paths.home")
    return problems
