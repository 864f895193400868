"""Write files so that neither a reader nor a crash ever sees half of one, and digest them, whatever they hold."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tlft.errors import TlftError


def sha256_of(path: Path) -> str:
    """Return the 64 hex digits of the file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def last_change(folder: Path) -> int:
    """Return when anything below a folder was last written, in milliseconds since 1970; 0 if nothing is there."""
    with suppress(OSError):  # somebody deletes it in this moment
        return round(1000 * max((path.stat().st_mtime for path in folder.rglob("*")), default=0.0))
    return 0


def display_name(path: str | Path) -> str:
    r"""Return a path as text that can be written anywhere, the same in every locale: UTF-8, else escaped (`caf\xe9`).

    Python keeps bytes of a name that are no text in the encoding of the locale as surrogates, which no file, database
    or terminal takes.
    """
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:  # no name of this system: a locale without these letters, and a name that was typed
        name = str(path).encode("utf-8", "backslashreplace")
    return name.decode("utf-8", "backslashreplace")


def relative_name(path: Path, root: Path) -> str:
    """Return what a file is called below a folder, as text; its whole name if it lies elsewhere."""
    return display_name(str(path).removeprefix(str(root)).lstrip("/\\"))


def path_of(name: str, root: Path) -> Path:
    """Return the path below a folder that `relative_name` calls so, in whatever locale it did."""
    path = root / os.fsdecode(name.encode())
    if "\\x" in name and not path.exists():
        unescaped = re.sub(rb"\\x([89a-f][0-9a-f])", lambda match: bytes.fromhex(match[1].decode()), name.encode())
        return root / os.fsdecode(unescaped)
    return path


def name_problem(name: str) -> str:
    """Return why a name that was typed cannot be written into a run, with the mend; nothing if it can."""
    try:
        name.encode()
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        if encoding != "utf-8":
            return f"has letters that the encoding of this locale ({encoding}) lacks; set PYTHONUTF8=1"
        return "is no UTF-8; rename it, or make a link to it that has a plain name (ln -s)"
    return ""


def atomic_write(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write the file, in a folder that is made if need be, so that no reader ever sees half of it.

    A `durable` one survives a power cut, which takes some milliseconds.

    Raises:
        TlftError: if it cannot be written.
    """
    beside = _beside(path)
    with one_line_for_the_disk(path.parent, "make room, or choose another folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _make(beside, data, durable=durable)
            beside.replace(path)
            if durable:
                _sync_folder(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")


_TEMPORARY = re.compile(r"(.+)\.(?:[0-9a-f]{8}|[0-9a-f]{32})\.tmp(-(wal|shm|journal))?")


def temporary_files(folder: Path, *names: str, below: bool = False) -> Iterator[Path]:
    """Yield the files in a folder, or also `below` it, that are temporary ones of ours, by the exact form of a name.

    `names` ask for those that were to become a file of such a name; SQLite writes three more beside a database.
    """
    for path in folder.rglob("*.tmp*") if below else folder.glob("*.tmp*"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and (not names or match[1] in names) and path.is_file() and not path.is_symlink():
            yield path


def _make(path: Path, data: bytes, *, durable: bool) -> None:
    """Make a file that has a name only once it is whole: a process that is killed meanwhile leaves nothing.

    Where the system knows no files without names, it has one from the beginning.
    """
    descriptor = _open_nameless(path.parent)
    if descriptor is not None:
        with os.fdopen(descriptor, "wb") as file:
            _write(file, data, durable=durable)
            if _give_name(descriptor, path):
                return
    with path.open("xb") as file:
        _write(file, data, durable=durable)


def _write(file: IO[bytes], data: bytes, *, durable: bool) -> None:
    file.write(data)
    file.flush()
    if durable:
        os.fsync(file.fileno())


_DESCRIPTORS = Path("/proc/self/fd")


def _open_nameless(folder: Path) -> int | None:
    """Open a file without a name (O_TMPFILE, see open(2)); None where that cannot be done."""
    if not hasattr(os, "O_TMPFILE") or not _DESCRIPTORS.is_dir():
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):  # by kind and age of the system
            return None
        raise


def _give_name(descriptor: int, path: Path) -> bool:
    """Give an open file a name; tells whether it has it now: a folder may have nameless files and no hard links."""
    descriptors = os.open(_DESCRIPTORS, os.O_RDONLY)
    try:
        os.link(str(descriptor), path, src_dir_fd=descriptors)  # with a folder named, it follows the link to the file
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            return False
        raise
    finally:
        os.close(descriptors)
    return True


def into_place(written: Path, target: Path) -> None:
    """Rename, once the bytes are on the disk: after a power cut the new name must not stand for a hole."""
    with written.open("rb+") as file:
        os.fsync(file.fileno())
    written.replace(target)
    _sync_folder(target.parent)


def _sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk; elsewhere than on POSIX a folder cannot be opened."""
    if os.name == "posix":
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def one_line_for_the_disk(folder: Path, mend: str) -> Iterator[None]:
    """Turn an error of the file system, such as a full disk, into one line."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise TlftError(f"{where}: {error.strerror or error}; {mend}") from None


def mend_of_home(error: OSError) -> str:
    """Return what can be done where the home takes no more, or nothing."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{'free space there' if is_full else 'let it be written to'}, or set paths.home"


def artifact_folder(mlruns: Path, experiment: str) -> Path:
    """Return the folder for the files of an experiment: of its name, or of one that leads nowhere else.

    A name is MLflow's business and may be anything, such as `/Shared/x` or `../x`.
    """
    if re.fullmatch(r"[\w .@+=,()&-]{1,60}", experiment) and experiment.strip(". ") == experiment:
        return mlruns / experiment
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", experiment).strip("-")[:40]
    return mlruns / f"{plain}-{hashlib.sha256(experiment.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
