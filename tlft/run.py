"""`python run.py`: run one experiment, or a sweep of them; `--help` tells the groups and keys."""

import os
import sys
from collections.abc import Sequence
from functools import partial

from tlft.terminal.ctrl_c import GOES_ON, leave_at_ctrl_c, status_of_ctrl_c
from tlft.terminal.greeting import greet

leave_at_ctrl_c(GOES_ON)
greet("loading the libraries and reading the configuration")

import hydra
from omegaconf import DictConfig

from tlft.commands import invocation
from tlft.config.help import render_help
from tlft.config.hydra_internals import argument_parser, explained, run_multirun, run_single
from tlft.config.output_dir import with_claimed_folder
from tlft.config.paths import CONF, config_folder
from tlft.config.typed import register
from tlft.errors import ConfigurationError, TlftError, one_line, without_passwords
from tlft.planning.jobs import Job
from tlft.planning.plan import describe_plan, plan_jobs, print_jobs
from tlft.runs.hydra_job import run_job, run_job_of_hydra
from tlft.runs.preflight import check_command_line
from tlft.runs.replay import expand
from tlft.runtime.signals import listen, say_interrupted
from tlft.storage.looking import looking_once
from tlft.terminal.command_line import exit_with, outlive_reader, without_shown_passwords, write_to_any_terminal
from tlft.terminal.line_breaks import fitting
from tlft.terminal.text_table import width_of_output

register()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def run_by_hydra(cfg: DictConfig) -> float:
    """Let Hydra compose and run."""
    return run_job_of_hydra(cfg)


def show(argv: Sequence[str]) -> None:
    """Have Hydra show what --cfg, --info, --hydra-help and the completion of shells ask for."""
    args = argument_parser().parse_args(list(argv))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra itself prints what was raised, and leaves
    if args.config_path:
        sys.argv += ["--config-path", str(config_folder(args.config_path))]  # Hydra would look beside this module
    try:
        with without_shown_passwords():
            run_by_hydra()
    except Exception as error:  # of a command that Hydra cannot make sense of
        typed = " ".join(argv)
        raise ConfigurationError(
            f"{typed}: {one_line(error)}; {invocation('run')} --help says what there is"
        ) from error


@looking_once()
def main() -> None:
    """Check the whole command line before anything is written, then do what it asks for."""
    listen()
    write_to_any_terminal()
    outlive_reader()
    argv = sys.argv[1:]
    sys.argv[1:] = map(without_passwords, argv)  # what is said and written of the command
    try:
        argv = expand(argv)
        sys.argv[1:] = map(without_passwords, argv)
        asked = check_command_line(argv)
        if asked is None:
            show(argv)
        elif asked.shows_help:
            with without_shown_passwords(), explained():
                print(render_help(asked.composed, asked.loader, width_of_output()))
        elif asked.config is None:
            run_multirun(run_job_of_hydra, asked.composed, asked.loader)
        elif asked.config.plan:
            jobs = plan_jobs([Job(0, asked.config)])
            print(fitting(describe_plan(jobs), sys.stdout))
            print_jobs(jobs)
        else:
            run_single(partial(run_job, config=asked.config), asked.composed, with_claimed_folder)
    except ConfigurationError as error:
        exit_with(error)
    except TlftError as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        say_interrupted()
        sys.exit(status_of_ctrl_c())


if __name__ == "__main__":
    main()
