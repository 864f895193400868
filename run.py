"""Run one experiment, or a sweep of them: `python run.py --help` tells the groups and keys."""

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # no stack trace while the imports go on

import hydra
from omegaconf import DictConfig

from tlft.config.schema import register
from tlft.errors import ConfigurationError, TlftError
from tlft.runs.hydra_job import run_job
from tlft.runs.preflight import check_command_line, exit_with
from tlft.runs.replay import expand
from tlft.runtime.signals import listen
from tlft.sweeps.plan import print_plan

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def run(cfg: DictConfig) -> float:
    """Do one job, and return the score that a search may maximise."""
    return run_job(cfg)


def main() -> None:
    """Check the whole command line before Hydra acts on it, then let Hydra act."""
    listen()
    try:
        sys.argv[1:] = expand(sys.argv[1:])
        config = check_command_line(sys.argv[1:])
        if config is not None and config.plan:
            print_plan([config])
        else:
            run()
    except ConfigurationError as error:
        exit_with(error)
    except TlftError as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
