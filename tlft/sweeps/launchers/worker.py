"""One job of a sweep in a process of its own: do it there, and say here how it ended.

How it gets its process is the launcher's story (parallel.py, slurm.py); what it does is job.py's.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig

from tlft.config.paths import PROJECT
from tlft.config.schema import register
from tlft.errors import TlftError
from tlft.runs.hydra_job import OUTCOME_FILE, read_outcome
from tlft.runtime.files import atomic_write

log = logging.getLogger(__name__)

OUTPUT_FILE = "output.log"
PROGRESS_FILE = "progress.json"


def folder_of(config: DictConfig) -> Path:
    """Return the folder of a job's output."""
    return Path(config.hydra.sweep.dir) / str(config.hydra.sweep.subdir)


def python_path() -> str:
    """Return the PYTHONPATH with which another process finds this very copy of tlft, wherever it is started."""
    return os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))


def do_job(config: DictConfig, callbacks: Callbacks) -> None:
    """Do one job in this process, which is there for it alone; all that it prints goes into its folder.

    Args:
        config: as Hydra composed it, with `hydra.job.num`, `hydra.sweep.dir` and `hydra.sweep.subdir`.
        callbacks: Hydra's.

    Raises:
        SystemExit: with status 1 if the job failed; it was said why.
    """
    from tlft.runs.hydra_job import JobError
    from tlft.runs.hydra_job import run_job as run
    from tlft.runtime import progress, signals

    folder = folder_of(config)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / OUTPUT_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    progress.report_to(folder / PROGRESS_FILE)
    signals.listen()
    register()
    setup_globals()
    HydraConfig.instance().set_config(config)
    result = run_job(
        task_function=run,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=HydraContext(cast(Any, None), callbacks),  # nothing is composed any more
    )
    try:
        _ = result.return_value
    except JobError:
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def say_end(number: int, folder: Path, cause: Callable[[], str]) -> bool:
    """Say how a job has ended, in a line; tells whether it has failed.

    Args:
        number: of the job in the sweep.
        folder: of the job.
        cause: is asked what ended a process that could not say it itself.
    """
    outcome = read_outcome(folder)
    if outcome.get("status", "running") == "running":
        outcome = {"run_id": "", "seconds": 0.0, **outcome, "status": "failed", "error": cause()}
        try:
            atomic_write(folder / OUTCOME_FILE, json.dumps(outcome).encode())
        except TlftError as error:
            log.warning("%s", error)
    score = f", accuracy {100 * outcome['score']:.3f} %" if outcome.get("score") is not None else ""
    said = f": {outcome['error']}" if "error" in outcome else ""
    status = "running elsewhere" if outcome["status"] == "elsewhere" else outcome["status"]
    log.info("job %d: %s%s%s, %.1f s", number, status, score, said, outcome["seconds"])
    return bool(outcome["status"] == "failed")
