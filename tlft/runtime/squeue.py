"""Ask Slurm about jobs, and this process which Slurm job it is; nothing is submitted or changed here."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Sequence

OVER = {  # the states that are a job's last
    *("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "REVOKED", "PREEMPTED"),
}
_PATIENCE_SECONDS = 20


def own_job() -> str:
    """Return the id of the Slurm job that this process is, as `squeue` spells it, or an empty text."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def states(jobs: Sequence[str]) -> dict[str, tuple[str, str]] | None:
    """Return job -> state and reason, such as `("PENDING", "Resources")`, as far as Slurm knows; None if it is mute."""
    output = _ask("squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(jobs)}", "--format=%i %T %r")
    if output is None:
        return None
    rows = (line.split(maxsplit=2) for line in output.splitlines())
    return {row[0]: (row[1], row[2] if len(row) > 2 else "") for row in rows if len(row) > 1}


def in_queue(jobs: Sequence[str]) -> dict[str, bool | None]:
    """Return job -> whether Slurm has it waiting or running; None if Slurm does not answer."""
    by_job = states(jobs) if jobs else {}
    if by_job is None:
        return dict.fromkeys(jobs)
    alive = {job for job, (state, _) in by_job.items() if state not in OVER}
    alive |= {re.split(r"[_+]", job)[0] for job in alive}  # of an array, or of several parts
    return {job: job in alive for job in jobs}


def last_words(job: str) -> str:
    """Return what Slurm's accounting says of a job that is over: its state, and its memory where that ended it."""
    output = _ask("sacct", "--noheader", "--parsable2", f"--jobs={job}", "--format=State,MaxRSS,ReqMem") or ""
    rows = [line.split("|") for line in output.splitlines() if line.count("|") == 2]
    if not rows:
        return "unknown to Slurm's accounting"
    state, _, limit = rows[0]
    peaks = [peak for _, peak, _ in rows if peak]
    return f"{state}, seen with {max(peaks, key=_bytes)} of {limit or '?'} memory" if peaks else state


def longest_array() -> int | None:
    """Return how many jobs the cluster takes in one array; None if it does not say."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config") or "", re.MULTILINE)
    return max(int(match[1]), 1) if match else None  # the least index that is refused; they count from 0


def free_places() -> int | None:
    """Return how many more jobs this user may have in the queue; None if there is no limit, or nobody tells."""
    user = getpass.getuser()
    limits = _ask("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={user}", "format=MaxSubmitJobs")
    numbers = [int(text) for text in (limits or "").split() if text.isdecimal()]
    if not numbers:
        return None
    queued = _ask("squeue", "--noheader", "--array", f"--user={user}", "--format=%i")
    return None if queued is None else max(min(numbers) - len(queued.split()), 0)


def _bytes(text: str) -> float:
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    try:
        return float(text.rstrip("KMGT")) * units.get(text[-1], 1)
    except ValueError:
        return 0.0


def _ask(*command: str) -> str | None:
    """Return what one of Slurm's commands prints; nothing for jobs it has forgotten, None if it does not answer."""
    if shutil.which(command[0]) is None:
        return None
    try:
        answer = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=_PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return "" if "Invalid job id" in answer.stderr else None
    return answer.stdout
