from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest
from filelock import FileLock

from tlft.errors import ClaimLostError
from tlft.runtime import claims, squeue
from tlft.runtime.claims import Claim, Owner

NAME = "1-abc"


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(claims, "_LOOK_SECONDS", 0.05)


def leave(folder: Path, owner: Owner, age: float = 0.0) -> Path:
    """Write the files of an owner who renewed his lease so many seconds ago; returns the lease."""
    token = folder / f"{NAME}.claim" / owner.token
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    lease = folder / f"{NAME}.{owner.token}.lease"
    lease.write_text(json.dumps(vars(owner)))
    os.utime(lease, (time.time() - age, time.time() - age))
    return lease


ELSEWHERE = Owner("far/boot", 7, "", 0, "token")


def hold(folder: Path, held: Event) -> None:
    claim = Claim(folder, NAME)
    assert claim.acquire()
    held.set()
    signal.pause()


def test_one_process_holds_a_claim_and_the_next_has_it_when_the_first_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold, args=(tmp_path, held))
    process.start()
    assert held.wait(60)
    claim = Claim(tmp_path, NAME)
    assert not claim.acquire()
    owner = Claim(tmp_path, NAME).owner()
    assert owner is not None
    assert owner.pid == process.pid
    process.kill()
    process.join()
    assert Claim(tmp_path, NAME).owner() is None
    assert claim.acquire()
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_nobody_owns_what_nobody_claimed(tmp_path: Path) -> None:
    assert Claim(tmp_path, NAME).owner() is None
    assert list(tmp_path.iterdir()) == []


def test_release_twice_is_harmless(tmp_path: Path) -> None:
    claim = Claim(tmp_path, NAME)
    assert claim.acquire()
    claim.release()
    claim.release()
    assert Claim(tmp_path, NAME).acquire()


def test_a_lease_of_another_machine_counts_until_it_runs_out(tmp_path: Path) -> None:
    leave(tmp_path, ELSEWHERE, age=claims.LEASE_SECONDS - 10)
    assert Claim(tmp_path, NAME).owner() == ELSEWHERE
    assert not Claim(tmp_path, NAME).acquire()
    leave(tmp_path, ELSEWHERE, age=claims.LEASE_SECONDS + 10)
    assert Claim(tmp_path, NAME).owner() is None
    claim = Claim(tmp_path, NAME)
    assert claim.acquire()
    claim.release()


def test_an_owner_renews_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Claim(tmp_path, NAME)
    assert claim.acquire()
    renewed, real = threading.Event(), os.utime

    def touch(path: Path) -> None:
        real(path)
        if path.parent == tmp_path:  # leases of other tests may be renewed once more
            renewed.set()

    monkeypatch.setattr(os, "utime", touch)
    assert renewed.wait(60)
    claim.release()


def test_a_fault_of_the_lock_is_not_taken_for_a_folder_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(PermissionError):
        Claim(tmp_path, NAME).acquire()
    with pytest.raises(PermissionError):
        Claim(tmp_path, NAME).owner()


def test_with_the_clock_set_back_a_lease_counts_if_it_is_renewed(tmp_path: Path) -> None:
    file = leave(tmp_path, ELSEWHERE, age=-3600)
    assert Claim(tmp_path, NAME).owner() is None  # nobody renewed it while one looked
    reads: list[int] = []
    real = Path.stat

    def renewed(path: Path, **options: bool) -> os.stat_result:
        if path == file:
            reads.append(1)
            os.utime(file, (time.time() + 3600 + len(reads),) * 2)
        return real(path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "stat", renewed)
        assert Claim(tmp_path, NAME).owner() == ELSEWHERE


def test_of_a_torn_lease_the_time_decides(tmp_path: Path) -> None:
    file = leave(tmp_path, ELSEWHERE)
    file.write_text('{"machine": "fa')
    assert not Claim(tmp_path, NAME).acquire()
    os.utime(file, (1, 1))
    claim = Claim(tmp_path, NAME)
    assert claim.acquire()
    claim.release()


def pretend_slurm(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, status: int = 0, error: str = "") -> None:
    """Put a squeue on PATH that knows one answer."""
    command = folder / "bin" / "squeue"
    command.parent.mkdir(exist_ok=True)
    line = f"12_3 {answer} None" if answer else ""
    command.write_text(f"#!/bin/sh\necho '{line}'\necho '{error}' >&2\nexit {status}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")


IN_SLURM = replace(ELSEWHERE, slurm_job="12_3")


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "COMPLETING", "SUSPENDED", "REQUEUED"])
def test_a_job_that_slurm_has_owns_its_run_whatever_the_lease_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    pretend_slurm(tmp_path, monkeypatch, state)
    leave(tmp_path / "locks", IN_SLURM, age=10 * claims.LEASE_SECONDS)
    assert Claim(tmp_path / "locks", NAME).owner() == IN_SLURM


@pytest.mark.parametrize("state", ["CANCELLED", "NODE_FAIL", "TIMEOUT", ""])
def test_a_job_that_is_over_owns_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    pretend_slurm(tmp_path, monkeypatch, state)
    leave(tmp_path / "locks", IN_SLURM)
    assert Claim(tmp_path / "locks", NAME).owner() is None


def test_a_job_that_slurm_has_forgotten_owns_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_slurm(tmp_path, monkeypatch, "", 1, "slurm_load_jobs error: Invalid job id specified")
    leave(tmp_path / "locks", IN_SLURM)
    assert Claim(tmp_path / "locks", NAME).owner() is None


def test_where_slurm_does_not_answer_the_lease_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_slurm(tmp_path, monkeypatch, "", 1, "Unable to contact slurm controller")
    leave(tmp_path / "locks", IN_SLURM)
    assert Claim(tmp_path / "locks", NAME).owner() == IN_SLURM
    leave(tmp_path / "locks", IN_SLURM, age=10 * claims.LEASE_SECONDS)
    assert Claim(tmp_path / "locks", NAME).owner() is None


def test_a_requeued_job_takes_over_from_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_slurm(tmp_path, monkeypatch, "RUNNING")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    leave(tmp_path / "locks", IN_SLURM)
    assert not Claim(tmp_path / "locks", NAME).acquire()  # the same job, on another node of its own
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    claim = Claim(tmp_path / "locks", NAME)
    assert claim.acquire()
    claim.release()


def test_a_submitted_job_owns_its_run_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_slurm(tmp_path, monkeypatch, "PENDING")
    Claim(tmp_path / "locks", NAME).mark_submitted("12_3")
    assert not Claim(tmp_path / "locks", NAME).acquire()
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    claim = Claim(tmp_path / "locks", NAME)
    assert claim.acquire()
    claim.release()


@pytest.mark.parametrize(("state", "free"), [("COMPLETING", False), ("PENDING", False), ("CANCELLED", True)])
def test_a_job_that_is_stopped_owns_its_run_until_slurm_is_done_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, free: bool
) -> None:
    pretend_slurm(tmp_path, monkeypatch, state)
    with monkeypatch.context() as job:
        job.setenv("SLURM_ARRAY_JOB_ID", "12")
        job.setenv("SLURM_ARRAY_TASK_ID", "3")
        claim = Claim(tmp_path / "locks", NAME)
        assert claim.acquire()
        claim.release(stopped=True)
    assert (Claim(tmp_path / "locks", NAME).owner() is None) == free
    another = Claim(tmp_path / "locks", NAME)
    assert another.acquire() == free
    another.release()
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    again = Claim(tmp_path / "locks", NAME)
    assert again.acquire()
    again.release()
    assert list((tmp_path / "locks").iterdir()) == []


def test_a_process_that_is_stopped_outside_slurm_gives_its_claim_back(tmp_path: Path) -> None:
    claim = Claim(tmp_path, NAME)
    assert claim.acquire()
    claim.release(stopped=True)
    assert list(tmp_path.iterdir()) == []


def look_often(folder: Path, begun: Event) -> None:
    begun.set()
    while True:
        Claim(folder, NAME).owner()


def test_who_only_looks_is_not_taken_for_an_owner(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=look_often, args=(tmp_path, begun))
    process.start()
    begun.wait()
    for _ in range(300):
        claim = Claim(tmp_path, NAME)
        assert claim.acquire()
        claim.release()
        assert Claim(tmp_path, NAME).owner() is None
    process.kill()
    process.join()


LACKING = {
    "locks": [(fcntl, "flock", errno.ENOSYS)],
    "lockd": [(fcntl, "flock", errno.ENOLCK)],
    "links": [(os, "link", errno.EPERM)],
    "locks and links": [(fcntl, "flock", errno.EOPNOTSUPP), (os, "link", errno.EOPNOTSUPP)],
}


@pytest.fixture(params=list(LACKING.values()), ids=list(LACKING))
def lacking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file system have no locks, no hard links, or neither."""
    for module, name, number in request.param:

        def refuse(*args: object, number: int = number, **options: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(module, name, refuse)


ROUNDS, CONTENDERS = 40, 4


def contend(folder: Path, together: Barrier, winners: Path) -> None:
    """Try in every round, together with the others, to take what a dead owner has left; the winner dies too."""
    for round_ in range(ROUNDS):
        together.wait()
        claim = Claim(folder, NAME)
        if claim.acquire():
            with (winners / str(round_)).open("a") as file:
                file.write(f"{os.getpid()}\n")
        together.wait()
        if claim._token(claim._process).exists():
            claim._released.set()
            claim._lock.release()
            os.utime(claim._lease(claim._process), (1, 1))


@pytest.mark.usefixtures("lacking")
def test_of_many_that_take_over_from_a_dead_owner_one_succeeds(tmp_path: Path) -> None:
    folder, winners = tmp_path / "locks", tmp_path / "winners"
    winners.mkdir()
    leave(folder, ELSEWHERE, age=2 * claims.LEASE_SECONDS)
    context = multiprocessing.get_context("fork")  # what the file system lacks is inherited
    together = context.Barrier(CONTENDERS)
    processes = [context.Process(target=contend, args=(folder, together, winners)) for _ in range(CONTENDERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * CONTENDERS
    assert [len((winners / str(round_)).read_text().splitlines()) for round_ in range(ROUNDS)] == [1] * ROUNDS


def take_and_give_back(folder: Path, together: Barrier) -> None:
    together.wait()
    for _ in range(100):
        claim = Claim(folder, NAME)
        if claim.acquire():
            inside = os.open(folder.parent / "inside", os.O_CREAT | os.O_EXCL)  # fails if another one is
            claim.confirm()
            os.close(inside)
            (folder.parent / "inside").unlink()
            claim.release()


@pytest.mark.usefixtures("lacking")
def test_at_most_one_holds_what_many_take_and_give_back(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    together = context.Barrier(CONTENDERS)
    folder = tmp_path / "locks"
    processes = [context.Process(target=take_and_give_back, args=(folder, together)) for _ in range(CONTENDERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * CONTENDERS
    claim = Claim(folder, NAME)
    assert claim.acquire()
    claim.release()
    assert list(folder.iterdir()) == []


@pytest.fixture
def lockless(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("lockless")
def test_who_has_seen_a_dead_owner_takes_nothing_from_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path, ELSEWHERE, age=2 * claims.LEASE_SECONDS)
    slow, quick = Claim(tmp_path, NAME), Claim(tmp_path, NAME)
    real = Claim._replace

    def overtaken(self: Claim, stale: Owner | None, owner: Owner) -> bool:
        if self is slow:
            assert quick.acquire()
        return real(self, stale, owner)

    monkeypatch.setattr(Claim, "_replace", overtaken)
    assert not slow.acquire()
    quick.confirm()
    quick.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("lockless")
def test_an_owner_that_renews_while_it_is_taken_for_dead_keeps_its_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 3600.0)
    owner, thief = Claim(tmp_path, NAME), Claim(tmp_path, NAME)
    assert owner.acquire()
    os.utime(owner._lease(owner._process), (1, 1))
    real = Claim._replace

    def wakes_up(self: Claim, stale: Owner | None, new: Owner) -> bool:
        owner.confirm()
        return real(self, stale, new)

    monkeypatch.setattr(Claim, "_replace", wakes_up)
    assert not thief.acquire()
    owner.confirm()
    owner.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("lockless")
def test_an_owner_notices_that_its_lease_was_lost_and_leaves_the_claim_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 3600.0)
    frozen, next_ = Claim(tmp_path, NAME), Claim(tmp_path, NAME)
    assert frozen.acquire()
    assert not next_.acquire()  # also of the same machine, where only a lock would tell that it is dead
    os.utime(frozen._lease(frozen._process), (1, 1))
    assert next_.acquire()
    with pytest.raises(ClaimLostError, match="has taken the run over"):
        frozen.confirm()
    frozen.release()
    next_.confirm()
    owner = Claim(tmp_path, NAME).owner()
    assert owner is not None
    assert owner.token == next_._process.token
    next_.release()
    assert list(tmp_path.iterdir()) == []


def test_who_looks_from_where_the_lock_does_not_reach_leaves_it_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a folder of NFS whose locks are those of each machine."""
    owner = Claim(tmp_path, NAME)
    assert owner.acquire()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(claims, "_machine", lambda: "far/boot")
        elsewhere.setattr(fcntl, "flock", lambda *args: None)
        assert Claim(tmp_path, NAME).owner() == owner._process
        assert not Claim(tmp_path, NAME).acquire()
    assert not Claim(tmp_path, NAME).acquire()
    owner.confirm()
    owner.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [".claim", ".old.lease", ".owner"])
def test_what_an_owner_left_that_was_killed_while_it_gave_back_goes_with_the_next(tmp_path: Path, left: str) -> None:
    path = tmp_path / f"{NAME}{left}"
    path.mkdir() if left == ".claim" else path.touch()
    assert Claim(tmp_path, NAME).has_files()
    assert Claim(tmp_path, NAME).owner() is None
    claim = Claim(tmp_path, NAME)
    assert claim.acquire()
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_many_are_looked_at_in_the_time_of_one_and_slurm_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "bin" / "squeue"
    pretend_slurm(tmp_path, monkeypatch, "RUNNING")
    command.write_text(f"{command.read_text()}".replace("exit", f"echo $@ >> {tmp_path}/asked; exit"))
    for name, job in (("a", "12_3"), ("b", "12_4"), ("c", "12_3")):
        Claim(tmp_path / "locks", name).mark_submitted(job)
    (tmp_path / "asked").unlink(missing_ok=True)
    all_wait, take = threading.Barrier(30, timeout=20), claims._take

    def held_if_all_wait(lock: FileLock) -> bool:
        if Path(lock.lock_file).stem.isdecimal():
            all_wait.wait()
            return False
        return take(lock)

    monkeypatch.setattr(claims, "_take", held_if_all_wait)
    names = [*map(str, range(30)), "a", "b", "c", "d"]
    owned = claims.owners([Claim(tmp_path / "locks", name) for name in names])
    assert [owner is not None for owner in owned] == [True] * 30 + [True, False, True, False]
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert "--jobs=12_3,12_4" in asked


def test_where_slurm_does_not_answer_it_is_asked_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        Claim(tmp_path, str(number)).mark_submitted(f"12_{number}")
    asked = []

    def be_mute(jobs: Sequence[str]) -> None:
        asked.append(jobs)

    monkeypatch.setattr(squeue, "states", be_mute)
    assert all(claims.owners([Claim(tmp_path, str(number)) for number in range(3)]))  # their leases run
    assert asked == [["12_0", "12_1", "12_2"]]
