"""Say who works on a run, so that no two processes do, on one machine, under Slurm, or on machines that share a folder.

1. A file lock, which dies with its process: decides on one machine, and wherever the shared folder has locks.
2. Beside it files that name the owner. Under Slurm its job is asked for; elsewhere it is a lease, which its owner
   renews and which runs out when nobody does. They need neither locks nor hard links, only renames that are atomic.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from tlft.errors import ClaimLostError
from tlft.runtime import squeue
from tlft.storage.files import atomic_write
from tlft.storage.locks import lacks_locks

log = logging.getLogger(__name__)

BEAT_SECONDS = 15.0
LEASE_SECONDS = 90.0  # since a lease was renewed; six beats, since a busy file server may swallow some
_FUTURE_SECONDS = 5.0
_LOOK_SECONDS = 0.2  # whoever looks who works on a run takes its lock for a moment, which must not pass for work
_LOOKERS = 64  # threads, which do nothing but wait


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
        """Return what the file of its lease holds."""
        return json.dumps(asdict(self)).encode()


class Claim:
    """The right to work on one run, whoever has it.

    `NAME.claim` is a folder with one empty file, whose name is its owner's token; the lease `NAME.TOKEN.lease` says who
    that is, and its time when it was renewed. The owner changes by one rename, of which only one process's succeeds: of
    a prepared folder, which replaces none that has a file, or of the file of a token, which no other owner ever has.
    """

    def __init__(self, folder: Path, name: str) -> None:
        # The library's own stand-in on a folder without locks would outlive a machine that was lost.
        self._lock = FileLock(folder / f"{name}.lock", fallback_to_soft=False)
        self._folder, self._name = folder, name
        self._owner_folder = folder / f"{name}.claim"
        self._process = _this_process()
        self._released = threading.Event()

    def acquire(self) -> bool:
        """Take the claim unless somebody holds it; tells whether it was taken."""
        if not _take(self._lock):
            return False
        owner = self._read()
        if self._is_at_work(owner) or not self._replace(owner, self._process):
            self._lock.release()
            return False
        if not self._renew():  # its lease was swept away by the owner before
            self._remove(self._process)
            self._lock.release()
            return False
        self._sweep()
        threading.Thread(target=self._keep_renewing, name="lease", daemon=True).start()
        return True

    def confirm(self) -> None:
        """Return if this process still holds the claim that it has acquired.

        Raises:
            ClaimLostError: if it does not: it stood still (a suspended laptop, a file server that hung) until its lease
                ran out, and another process may have taken the run over.
        """
        if not self._released.is_set() and not self._renew():
            raise ClaimLostError(
                f"{self._owner_folder}: this process stood still until its claim ran out, and another one has taken "
                "the run over, or the file was deleted; it is left to that, and the same command goes on where it is"
            )

    def release(self, *, stopped: bool = False) -> None:
        """Give the claim back; once is enough. One that was lost stays with whoever has it now.

        If a signal has `stopped` the work, Slurm may put this job back into its queue, and until it is known to be over
        the run is this job's, as it was between its submission and its start.
        """
        if self._released.is_set():
            return
        self._released.set()
        if not self._renew():
            self._lease(self._process).unlink(missing_ok=True)
            self._lock.release()
            return
        if stopped and self._process.slurm_job:
            submitted = replace(self._process, machine="", pid=0, restarts=0)
            atomic_write(self._lease(self._process), submitted.to_json())
        else:
            self._remove(self._process)
        _let_go(self._lock)

    def owner(self, in_queue: Mapping[str, bool | None] | None = None) -> Owner | None:
        """Return who works on the run (or will, being a submitted Slurm job), or None if nobody does.

        `in_queue` is what Slurm has just said of some jobs; of any other it is asked.
        """
        owner = self._read()
        if not _take(self._lock):
            return owner or Owner("", 0, "", 0, "")
        if self._is_at_work(owner, in_queue):
            self._lock.release()  # and leave its file: the owner may be where this lock does not reach
            return owner
        _let_go(self._lock)
        return None

    def has_files(self) -> bool:
        """Tell whether there is a file of a process that works on the run, or was killed at it."""
        return any(self._folder.glob(f"{self._name}.*"))

    def mark_submitted(self, slurm_job: str) -> None:
        """Leave word that a Slurm job will work on the run, so that nobody submits it a second time.

        The job may have begun meanwhile, or somebody else's: then their word stands.
        """
        if self.owner() is None:
            self._replace(self._read(), Owner("", 0, slurm_job, 0, uuid.uuid4().hex))

    def _is_at_work(self, owner: Owner | None, in_queue: Mapping[str, bool | None] | None = None) -> bool:
        """Tell whether an owner still works, given that its lock is free for this process, or that there are none."""
        if owner is None:
            return False
        is_this_job = owner.slurm_job == self._process.slurm_job
        is_here = owner.machine == self._process.machine and self._lock.is_locked
        if is_here and (not owner.slurm_job or is_this_job):
            return False  # its lock has died with it
        if owner.slurm_job:
            if is_this_job and (not owner.machine or owner.restarts < self._process.restarts):
                return False  # submitted, or started before and put back into the queue
            if in_queue is None or owner.slurm_job not in in_queue:
                in_queue = squeue.in_queue([owner.slurm_job])
            if (is_in_queue := in_queue[owner.slurm_job]) is not None:
                return is_in_queue
        return _lease_runs(self._lease(owner))

    def _read(self) -> Owner | None:
        """Return whom the files name, dead or alive."""
        try:
            token = next((path.name for path in self._owner_folder.iterdir()), None)
        except FileNotFoundError:
            return None
        if token is None:  # its owner is about to delete it, or was killed there
            return None
        nobody = Owner("unknown", 0, "", 0, token)  # its lease decides
        try:
            return replace(Owner(**json.loads((self._folder / f"{self._name}.{token}.lease").read_text())), token=token)
        except (OSError, ValueError, TypeError):
            return nobody

    def _replace(self, stale: Owner | None, owner: Owner) -> bool:
        """Put an owner where nobody's or a dead one's token was; tells whether nobody else did so first."""
        lease, beside = self._lease(owner), self._folder / f"{self._name}.{owner.token}.tmp"
        atomic_write(lease, owner.to_json(), durable=False)
        try:
            if stale is None:
                beside.mkdir()
                (beside / owner.token).touch()
                beside.rename(self._owner_folder)
            else:
                self._token(stale).rename(self._token(owner))
        except OSError as error:
            log.debug("%s: %s", self._owner_folder, error)
        # Looked for, since a request that a file server got twice fails though it was carried out.
        if not self._token(owner).exists():
            shutil.rmtree(beside, ignore_errors=True)
            lease.unlink(missing_ok=True)
            return False
        # Its owner renews before it looks, so one of the two sees the other.
        if stale is not None and self._is_at_work(stale):
            with suppress(OSError):
                self._token(owner).rename(self._token(stale))
            lease.unlink(missing_ok=True)
            return False
        return True

    def _remove(self, owner: Owner) -> None:
        """Delete an owner's files, in an order that leaves nothing which passes for an owner."""
        with suppress(OSError):
            self._token(owner).unlink()
            self._owner_folder.rmdir()  # fails if somebody has taken the claim meanwhile
        self._lease(owner).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Delete what killed processes left of this claim; one that is about to take it sees that it has not."""
        for path in self._folder.glob(f"{self._name}.*"):
            if path.suffix in (".lease", ".owner") and path != self._lease(self._process):  # .owner: earlier versions'
                path.unlink(missing_ok=True)
            elif path.suffix == ".tmp" and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)

    def _lease(self, owner: Owner) -> Path:
        return self._folder / f"{self._name}.{owner.token}.lease"

    def _token(self, owner: Owner) -> Path:
        return self._owner_folder / owner.token

    def _renew(self) -> bool:
        """Renew the lease, then tell whether the claim is still this process's."""
        try:
            os.utime(self._lease(self._process))
            self._token(self._process).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:  # of a file server, which tells nothing of the claim
            log.debug("%s: %s", self._owner_folder, error)
        return True

    def _keep_renewing(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            if not self._renew():
                return  # whoever works is told by `confirm`


def owners(claims: Sequence[Claim]) -> list[Owner | None]:
    """Return of each claim what `Claim.owner` does; all locks are waited for together, and Slurm is asked once."""
    named = (claim._read() for claim in claims)
    in_queue = squeue.in_queue(sorted({owner.slurm_job for owner in named if owner and owner.slurm_job}))
    with ThreadPoolExecutor(_LOOKERS) as pool:
        return list(pool.map(lambda claim: claim.owner(in_queue), claims))


def _take(lock: FileLock) -> bool:
    """Acquire a lock unless somebody holds it; where the (shared) folder has no locks, the lease decides alone."""
    try:
        lock.acquire(timeout=_LOOK_SECONDS, poll_interval=_LOOK_SECONDS / 20)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        if not lacks_locks(error):
            raise
        log.debug("%s: no file lock (%s); the lease decides alone", lock.lock_file, error)
        Path(lock.lock_file).unlink(missing_ok=True)
    return True


def _let_go(lock: FileLock) -> None:
    """Release a lock and leave no file: who has opened it meanwhile sees that it has no name, and opens it anew."""
    if lock.is_locked:  # else the folder has no locks
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
