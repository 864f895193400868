"""One process at a time, also where the folder has no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from conftest import Configure
from filelock import Timeout

from tlft.storage.locks import locked, one_at_a_time
from tlft.synthetic.folder import synthetic_folder
from tlft.tracking.store import Store

LACKING = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP]


@pytest.fixture(params=LACKING, ids=[errno.errorcode[number] for number in LACKING])
def without_locks(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder without locks, as NFS is without lockd; all others have them."""
    folder, has_locks = tmp_path / "shared", fcntl.flock
    (folder / "home").mkdir(parents=True)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def flock(descriptor: int, operation: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(folder):
            raise OSError(request.param, os.strerror(request.param))
        has_locks(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    return folder


@pytest.mark.parametrize("lock", [locked, lambda path, seconds: one_at_a_time(path, "waiting", seconds)])
def test_one_at_a_time_holds_where_the_folder_has_no_locks(
    without_locks: Path, lock: Callable[..., AbstractContextManager[None]]
) -> None:
    path = without_locks / "a.lock"
    with lock(path, 0), lock(without_locks / "b.lock", 0), pytest.raises(Timeout), lock(path, 0):
        raise AssertionError
    with lock(path, 0):
        pass


def test_another_error_is_seen(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Not a directory|File exists"), locked(tmp_path / "file" / "a.lock"):
        raise AssertionError


def test_a_home_may_lie_where_there_are_no_locks(without_locks: Path, configure: Configure) -> None:
    config = configure(f"paths.home={without_locks / 'home'}")
    assert Store(config).home_id == Store(config).home_id
    assert synthetic_folder(without_locks / "home" / "data", 0, 2).is_dir()
