"""Let one process at a time do something, also where a (shared) folder has no locks."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


def lacks_locks(error: BaseException) -> bool:
    """Tell whether an error says that a file system has no locks, such as NFS without lockd; any other is a fault."""
    return isinstance(error, NotImplementedError) or (isinstance(error, OSError) and error.errno in _NO_LOCKS)


_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def locked(lock_file: Path, seconds: float = -1) -> Iterator[None]:
    """Hold a lock; where its folder has none, one in this machine's folder for temporary files stands for it.

    Raises:
        filelock.Timeout: if another process has it after so many seconds; a negative number waits for ever.
        OSError: if the file cannot be written.
    """
    lock = FileLock(lock_file, fallback_to_soft=False)  # a soft one would outlive a machine that was lost
    try:
        lock.acquire(timeout=seconds)
    except (OSError, NotImplementedError) as error:
        if not lacks_locks(error):
            raise
        log.debug("%s: no file lock (%s)", lock_file, error)
        name = hashlib.sha256(os.fsencode(lock_file.absolute())).hexdigest()[:32]
        folder = Path(tempfile.gettempdir()) / f"tlft-locks-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        lock.acquire(timeout=seconds)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def one_at_a_time(lock_file: Path, waiting: str, seconds: float = -1) -> Iterator[None]:
    """Hold a lock that every process takes which makes one and the same thing; `waiting` is said if another has it.

    The lock file stays: to delete it would let two processes hold two locks of one name.

    Raises:
        filelock.Timeout: if another process has it after so many seconds; a negative number waits for ever.
        OSError: if the file cannot be written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(lock_file, 0))
        except Timeout:
            log.info("%s", waiting)
            held.enter_context(locked(lock_file, seconds))
        yield
