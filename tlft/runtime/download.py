"""The one place that fetches files (data set archives, network weights), verifies them and puts them into place."""

from __future__ import annotations

import logging
import math
import re
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

import filelock
import requests
from urllib3.exceptions import HTTPError, MaxRetryError

from tlft.errors import TlftError, one_line
from tlft.runtime.questions import ask_beside
from tlft.storage.files import into_place, one_line_for_the_disk, sha256_of
from tlft.storage.locks import one_at_a_time
from tlft.terminal.progress import progress

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
ATTEMPTS = 4
BACK_OFF_SECONDS = 1.0  # before the second attempt; doubled before each further one
_CHUNK = 1 << 16
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses after which another attempt may go well


class _BrokenOffError(Exception):
    """Say why an attempt ended; the next one may go on from there."""


@dataclass(frozen=True)
class _Download:
    """One file to fetch.

    Attributes:
        part: what has arrived so far; nobody takes it for the file.
        sha256: lower-case hex digits that the digest begins with.
        size: bytes of the whole file, if known.
        deadline: seconds in all.
        end: when they are over, on the monotonic clock.
    """

    url: str
    part: Path
    sha256: str
    size: int | None
    mend: str
    deadline: float
    end: float

    def failure(self, reason: str) -> TlftError:
        return TlftError(f"{self.url}: cannot be fetched ({reason}); {self.mend}")

    def late(self) -> TlftError:
        return self.failure(f"not done within {self.deadline:g} s")

    def time_outs(self) -> tuple[float, float]:
        """Return those of connecting and of reading: one silence takes a quarter of the deadline at most."""
        left = min(self.deadline / 4, self.end - time.monotonic())
        if left <= 0:
            raise self.late()
        return min(CONNECT_SECONDS, left), min(READ_SECONDS, left)


def fetch(
    url: str, target: Path, *, sha256: str, size: int | None = None, mend: str, deadline: float | None = None
) -> Path:
    """Return `target`, fetched if it is not there, its digest verified in either case.

    What a broken or killed download has fetched stays as `target.name + ".part"` and is continued by the next call.
    Processes that ask for the same target at once fetch it once.

    Args:
        url: with the scheme `http`, `https` or `file`.
        target: where the file belongs; its folder is made if need be.
        sha256: hex digits of the whole digest, or the first 8 or more of them.
        size: bytes that the file has, if known; more are refused.
        mend: what the user can do instead, as the last words of an error.
        deadline: seconds after which to give up (a silent server may overrun them by a quarter).

    Raises:
        TlftError: if the file cannot be fetched or written, or its bytes are not those promised.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise ValueError(f"no SHA-256, and no 8 or more first digits of one: {sha256!r}")
    limit = math.inf if deadline is None else deadline
    part = target.with_name(f"{target.name}.part")
    job = _Download(url, part, sha256.lower(), size, mend, limit, time.monotonic() + limit)
    with one_line_for_the_disk(target.parent, mend):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target, job.end, mend):
            if target.exists():
                if not (actual := sha256_of(target)).startswith(job.sha256):
                    raise TlftError(f"{target}: its SHA-256 is {actual}, not {job.sha256}; delete it, or {mend}")
                return target
            _bring(job)
            into_place(part, target)
    return target


def _bring(job: _Download) -> None:
    """Make the part file the whole one; where only its beginning was old, all of it is fetched anew, once."""
    resumed = job.part.exists()
    if job.url.startswith("file:"):
        resumed = False
        shutil.copyfile(url2pathname(urlsplit(job.url).path), job.part)
    else:
        _download(job)
    if (actual := sha256_of(job.part)).startswith(job.sha256):
        return
    job.part.unlink()
    if not resumed:
        raise job.failure(f"what came has the SHA-256 {actual}, not {job.sha256}, and was deleted")
    log.info("%s: what was there of it does not fit; fetching it anew", job.url)
    _bring(job)


def _download(job: _Download) -> None:
    log.info("fetching %s", job.url)
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            pause = BACK_OFF_SECONDS * 2 ** (attempt - 1)
            if time.monotonic() + pause >= job.end:
                raise job.failure(f"{reason}; not done within {job.deadline:g} s")
            log.info("%s: %s; going on", job.url, reason)
            time.sleep(pause)
        try:
            return _attempt(job)
        except _BrokenOffError as error:
            reason = str(error)
        except requests.RequestException as error:
            reason = _reason(error)
            # A machine without a network should hear so at once; a network that was there may come back.
            never_reached = attempt == 0 and any(isinstance(arg, MaxRetryError) for arg in error.args)
            wrong_url = isinstance(error, ValueError)
            if never_reached or wrong_url:
                raise job.failure(reason) from None
    raise job.failure(f"{reason}; {ATTEMPTS} attempts")


def _attempt(job: _Download) -> None:
    """Fetch what the part file lacks."""
    have = job.part.stat().st_size if job.part.exists() else 0
    if job.size is not None and have >= job.size:
        if _is_whole(job):
            return
        have = 0
    headers = {"Accept-Encoding": "identity"}  # a length and a range of compressed bytes would be another file's
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(job.url, headers=headers, stream=True, timeout=job.time_outs()) as response:
        status = response.status_code
        if status in _PASSING:
            raise _BrokenOffError(f"HTTP {status}")
        if status == 416 and have:
            if _is_whole(job):
                return
            raise _BrokenOffError("HTTP 416")
        if status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            job.part.unlink(missing_ok=True)
            raise _BrokenOffError("HTTP 206 with another range than asked for")
        if status not in (200, 206):
            raise job.failure(f"HTTP {status}")
        _receive(job, response, have if status == 206 else 0)


def _is_whole(job: _Download) -> bool:
    """Tell whether the part file, to which nothing can be added, is right; delete it if not."""
    if sha256_of(job.part).startswith(job.sha256):
        return True
    job.part.unlink()
    return False


def _receive(job: _Download, response: requests.Response, have: int) -> None:
    """Write the body behind the first `have` bytes of the part file."""
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else job.size or 0
    _refuse_more(job, total)
    # Where urllib3 has it, read1 returns what has arrived: nothing is lost when the connection breaks.
    read = getattr(response.raw, "read1", response.raw.read)
    name = job.part.name.removesuffix(".part")
    with (
        job.part.open("ab" if have else "wb") as file,
        progress(f"fetching {name}", total, "bytes", done=have) as advance,
    ):
        try:
            while chunk := read(_CHUNK):
                have += len(chunk)
                _refuse_more(job, have)
                file.write(chunk)
                advance(len(chunk))
                if time.monotonic() > job.end:
                    raise job.late()
        except HTTPError as error:
            how = "silent" if isinstance(_root(error), TimeoutError) else "broken off"
            raise _BrokenOffError(f"{how} after {have} of {total or '?'} bytes") from None
    if have < total:
        raise _BrokenOffError(f"broken off after {have} of {total} bytes")


NO_ANSWER = "no answer within"
"""Begins what is said of a server that may only be slow."""


def why_unreachable(url: str, seconds: float = 2.0) -> str:
    """Return in a few words why nothing answers at an address within so many seconds; nothing if something does."""
    try:
        ask_beside(lambda: requests.head(url, timeout=seconds).close(), seconds)()
    except TimeoutError:
        return f"{NO_ANSWER} {seconds:g} s"
    except Exception as error:  # whatever requests and what it is made of raise
        return _reason(error)
    return ""


def _refuse_more(job: _Download, count: int) -> None:
    if job.size is not None and count > job.size:
        job.part.unlink(missing_ok=True)
        raise job.failure(f"the server sends more than the {job.size} bytes that the file has")


def _reason(error: BaseException) -> str:
    """Return in a few words why a server cannot be reached."""
    root = _root(error)
    text = getattr(root, "strerror", None) or str(root) or type(root).__name__
    return ("proxy: " if isinstance(error, requests.exceptions.ProxyError) else "") + one_line(text)


def _root(error: BaseException) -> BaseException:
    """Return the error at the bottom: requests wraps those of urllib3, which wraps those of the socket."""
    for inner in (getattr(error, "reason", None), *error.args, error.__cause__):
        if isinstance(inner, BaseException):
            return _root(inner)
    return error


def unpack_zip(archive: Path, target: Path) -> Path:
    """Return the folder `target`, unpacked from the archive unless it is there already.

    If everything in the archive lies in one folder with the name of `target`, that folder becomes `target`.

    Raises:
        TlftError: if the archive is broken, or an entry would land outside the folder (then nothing is written).
    """
    mend = "make room, or choose another folder"
    with one_line_for_the_disk(target.parent, mend):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target, math.inf, mend):
            beside = target.with_name(f"{target.name}.unpacking")
            shutil.rmtree(beside, ignore_errors=True)  # left by a process that was killed
            if not target.exists():
                try:
                    _extract(archive, beside)
                    inner = beside / target.name
                    only = inner.is_dir() and [*beside.iterdir()] == [inner]
                    (inner if only else beside).rename(target)
                finally:
                    shutil.rmtree(beside, ignore_errors=True)
    return target


def _extract(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            entries = [entry for entry in file.infolist() if not entry.filename.startswith("__MACOSX/")]
            for entry in entries:
                if _leaves_the_folder(entry):
                    raise TlftError(f"{archive}: the entry {entry.filename!r} would leave the folder; not unpacked")
            folder.mkdir()
            file.extractall(folder, entries)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise TlftError(f"{archive}: is no zip file that can be unpacked ({error}); fetch it again") from None


def _leaves_the_folder(entry: zipfile.ZipInfo) -> bool:
    path = PureWindowsPath(entry.filename)  # knows drives, and separators of both kinds
    return bool(path.anchor) or ".." in path.parts or stat.S_ISLNK(entry.external_attr >> 16)


@contextmanager
def _locked(target: Path, end: float, mend: str) -> Iterator[None]:
    """Hold the lock of `target`, for which no other process waits longer than `end` on the monotonic clock."""
    seconds = -1 if math.isinf(end) else max(0.0, end - time.monotonic())
    waiting = f"waiting for another process that makes {target}"
    with ExitStack() as held:
        try:
            held.enter_context(one_at_a_time(Path(f"{target}.lock"), waiting, seconds))
        except filelock.Timeout:
            raise TlftError(f"{target}: another process is still making it; wait for that one, or {mend}") from None
        yield
