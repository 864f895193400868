"""Say who works on a run, so that no two processes do, on one machine, under Slurm, or on machines that share a folder.

1. A file lock, which dies with its process: decides on one machine, and wherever the shared folder has locks.
2. Beside it a file that names the owner. Under Slurm its job is asked for; elsewhere it is a lease, which its owner
   renews and which runs out when nobody does.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from tlft.runtime import squeue
from tlft.runtime.files import atomic_write, write_new

log = logging.getLogger(__name__)

BEAT_SECONDS = 15.0
LEASE_SECONDS = 90.0  # since a lease was renewed; six beats, since a busy file server may swallow some
_FUTURE_SECONDS = 5.0
_LOOK_SECONDS = 0.2  # whoever looks who works on a run takes its lock for a moment, which must not pass for work


@dataclass(frozen=True)
class Owner:
    """Who works on a run.

    Attributes:
        machine: host name and boot id; empty for a Slurm job that was submitted and has not started.
        slurm_job: `123` or `123_4`; empty outside Slurm.
        restarts: how often Slurm has started the job anew.
        token: tells this claim from every other.
    """

    machine: str
    pid: int
    slurm_job: str
    restarts: int
    token: str

    def to_json(self) -> bytes:
        """Return what its file holds."""
        return json.dumps(asdict(self)).encode()


class Claim:
    """The right to work on one run, whoever has it."""

    def __init__(self, folder: Path, name: str) -> None:
        # The library's own stand-in on a folder without locks would outlive a machine that was lost.
        self._lock = FileLock(folder / f"{name}.lock", fallback_to_soft=False)
        self._owner_file = folder / f"{name}.owner"
        self._process = _this_process()
        self._released = threading.Event()

    def acquire(self) -> bool:
        """Take the claim unless somebody holds it; tells whether it was taken."""
        if not _take(self._lock):
            return False
        owner = _read(self._owner_file)
        if self._is_at_work(owner) or not self._take_owner_file(owner):
            self._lock.release()
            return False
        threading.Thread(target=self._renew, name="lease", daemon=True).start()
        return True

    def release(self, *, stopped: bool = False) -> None:
        """Give the claim back; once is enough.

        If a signal has `stopped` the work, Slurm may put this job back into its queue, and until it is known to be over
        the run is this job's, as it was between its submission and its start.
        """
        if self._released.is_set():
            return
        self._released.set()
        if _read(self._owner_file) == self._process:
            if stopped and self._process.slurm_job:
                atomic_write(self._owner_file, replace(self._process, machine="", pid=0, restarts=0).to_json())
            else:
                self._owner_file.unlink(missing_ok=True)
        _let_go(self._lock)

    def owner(self) -> Owner | None:
        """Return who works on the run (or will, being a submitted Slurm job), or None if nobody does."""
        owner = _read(self._owner_file)
        if not _take(self._lock):
            return owner or Owner("", 0, "", 0, "")
        if self._lock.is_locked:  # else the folder has no locks
            _let_go(self._lock)
        return owner if self._is_at_work(owner) else None

    def has_files(self) -> bool:
        """Tell whether there is a file of a process that works on the run, or was killed at it."""
        return self._owner_file.exists() or Path(self._lock.lock_file).exists()

    def mark_submitted(self, slurm_job: str) -> None:
        """Leave word that a Slurm job will work on the run, so that nobody submits it a second time.

        The job may have begun meanwhile, or somebody else's: then their word stands.
        """
        if self.owner() is None:
            self._owner_file.unlink(missing_ok=True)
            write_new(self._owner_file, Owner("", 0, slurm_job, 0, uuid.uuid4().hex).to_json())

    def _is_at_work(self, owner: Owner | None) -> bool:
        """Tell whether an owner still works, given that its lock is free for this process."""
        if owner is None:
            return False
        is_this_job = owner.slurm_job == self._process.slurm_job
        if owner.machine == self._process.machine and (not owner.slurm_job or is_this_job):
            return False  # its lock has died with it
        if owner.slurm_job:
            if is_this_job and (not owner.machine or owner.restarts < self._process.restarts):
                return False  # submitted, or started before and put back into the queue
            if (is_in_queue := squeue.knows(owner.slurm_job)) is not None:
                return is_in_queue
        return _lease_runs(self._owner_file)

    def _take_owner_file(self, stale: Owner | None) -> bool:
        """Put this process's name where nobody's or a dead one's was; where locks do not reach, one of two wins."""
        if stale is not None:
            aside = self._owner_file.with_suffix(f".{self._process.token}.tmp")
            try:
                self._owner_file.rename(aside)
            except FileNotFoundError:
                return False  # another process took it over first
            aside.unlink(missing_ok=True)
        return write_new(self._owner_file, self._process.to_json())

    def _renew(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            try:
                os.utime(self._owner_file)
            except OSError as error:
                log.warning("%s: the claim could not be renewed (%s)", self._owner_file, error.strerror)


def _take(lock: FileLock) -> bool:
    """Acquire a lock unless somebody holds it; where the (shared) folder has no locks, the lease decides alone."""
    try:
        lock.acquire(timeout=_LOOK_SECONDS, poll_interval=_LOOK_SECONDS / 20)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise  # any other is a fault to be seen
        log.debug("%s: no file lock (%s); the lease decides alone", lock.lock_file, error)
    return True


def _let_go(lock: FileLock) -> None:
    """Release a lock and leave no file: who has opened it meanwhile sees that it has no name, and opens it anew."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _this_process() -> Owner:
    text = os.environ.get("SLURM_RESTART_COUNT", "")
    restarts = int(text) if text.isdecimal() else 0
    return Owner(_machine(), os.getpid(), squeue.own_job(), restarts, uuid.uuid4().hex)


@cache
def _machine() -> str:
    boot = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()}/{boot}"


def _read(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text()))
    except OSError:
        return None
    except (ValueError, TypeError):
        return Owner("unknown", 0, "", 0, "")  # torn, or of another version: its lease decides


def _lease_runs(file: Path) -> bool:
    """Tell whether a lease was renewed lately, by the clock of the file server, which all machines share."""
    try:
        renewed, now = file.stat().st_mtime, _clock_of(file.parent)
        if renewed <= now + _FUTURE_SECONDS:
            return now - renewed < LEASE_SECONDS
        log.warning("%s: was renewed in the future, so a clock was set back; waiting whether it is renewed again", file)
        deadline = time.monotonic() + 2 * BEAT_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.1)
            if file.stat().st_mtime != renewed:
                return True
    except FileNotFoundError:
        pass
    return False


def _clock_of(folder: Path) -> float:
    probe = folder / f"{uuid.uuid4().hex}.now"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
