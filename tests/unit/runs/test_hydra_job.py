from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Configure

from tlft.config.schema import Config
from tlft.errors import out_of_memory
from tlft.planning.jobs import Job
from tlft.runs.context import SweepMembership
from tlft.runs.hydra_job import OUTCOME_FILE, _explain, read_outcome
from tlft.sweeps.launchers.worker import JobOrder, log_end
from tlft.terminal.command_line import exit_status


def catch(size: int) -> list[Exception]:
    """Return what PyTorch and NumPy raise when they are asked for more bytes than a machine can have."""
    caught: list[Exception] = []
    for ask in (lambda: torch.empty(size, dtype=torch.uint8), lambda: np.empty(size, dtype=np.uint8)):
        with pytest.raises((RuntimeError, MemoryError)) as info:
            ask()
        caught.append(info.value)
    return caught


def test_allocators_are_heard() -> None:
    of_torch, of_numpy = catch(2**56)
    assert out_of_memory(of_torch).startswith("DefaultCPUAllocator: ")
    assert str(2**56) in out_of_memory(of_torch)
    assert out_of_memory(of_numpy).startswith("Unable to allocate")
    said = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB"
    assert out_of_memory(torch.OutOfMemoryError(said)) == said
    assert len(out_of_memory(torch.OutOfMemoryError(said * 10))) == 200
    assert out_of_memory(RuntimeError("could not create a primitive")) == "could not create a primitive"
    assert out_of_memory(MemoryError()) == "Python can allocate no more"


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("DefaultCPUAllocator: "), KeyError()],
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert out_of_memory(error) == ""


def test_what_a_user_can_mend_is_a_line_and_the_rest_a_traceback(configure: Configure) -> None:
    def said(error: BaseException, *overrides: str) -> str:
        return str(_explain(error, configure(*overrides)))

    assert said(MemoryError("no")) == "out of memory: no; set training.batch_size below 64"
    assert said(MemoryError("no"), "experiment=zero_shot") == "out of memory: no; a smaller network needs less"
    assert said(OSError(errno.ENOSPC, "No space", "/full")).startswith("/full: the disk is full; ")
    assert said(SystemExit(3)).startswith("something in the run called sys.exit(3); ")
    assert _explain(OSError(errno.EIO, "Input/output error"), configure()) is None
    assert _explain(ValueError(), configure()) is None


def order_in(folder: Path) -> JobOrder:
    (folder / "3").mkdir()
    return JobOrder(Job(3, Config()), folder, SweepMembership("custom", None))


@pytest.mark.parametrize(
    ("status", "failed"), [("done", False), ("skipped", False), ("elsewhere", False), ("failed", True)]
)
def test_only_what_has_failed_is_a_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: str, failed: bool
) -> None:
    order = order_in(tmp_path)
    (order.folder / OUTCOME_FILE).write_text(json.dumps({"status": status, "score": None, "seconds": 1.0}))
    with caplog.at_level("INFO"):
        assert log_end(order, cause=str) == failed
    assert "nan" not in caplog.text


def test_a_job_that_was_killed_has_run_until_now(tmp_path: Path) -> None:
    order = order_in(tmp_path)
    path = order.folder / OUTCOME_FILE
    path.write_text(json.dumps({"status": "running", "run_id": "r", "seconds": 1.0}))
    os.utime(path, (time.time() - 60, time.time() - 60))
    outcome = read_outcome(order.folder)
    assert outcome is not None and outcome.seconds == pytest.approx(61, abs=1)
    assert log_end(order, cause=lambda: "its process was killed")
    outcome = read_outcome(order.folder)
    assert outcome is not None
    assert (outcome.status, outcome.run_id, outcome.error) == ("failed", "r", "its process was killed")
    assert outcome.seconds == pytest.approx(61, abs=1)


def test_an_error_of_the_file_system_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise OSError(errno.EROFS, "Read-only file system", "/home/cache/locks/1.lock")

    assert exit_status(command) == 1
    said = capsys.readouterr().err
    assert said == "failed: /home/cache/locks/1.lock: Read-only file system; give write access, or set TLFT_HOME\n"
