"""Fetching from a real server on this machine that breaks off, falls silent, lies or behaves; and unpacking."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import pytest
import requests
from conftest import files_in

from tlft.config.paths import PROJECT
from tlft.errors import TlftError
from tlft.runtime import download
from tlft.runtime.download import fetch, unpack_zip

BODY = bytes(range(251)) * 1200
SHA256 = hashlib.sha256(BODY).hexdigest()
MEND = "put it there by hand"
PATIENCE = 60.0

Behaviour = Callable[["Handler", int], None]
"""Answers one GET that wants the body from this byte on."""


class Site(ThreadingHTTPServer):
    """A server of one file, which behaves as planned.

    Attributes:
        plan: one behaviour for each GET; the last one goes on.
        ranges: the Range header of each GET, empty where there was none.
        served: bytes of bodies that were sent in all.
        asked: set as soon as there was a GET.
        released: ends the silence of a behaviour that waits.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/file.bin"
        self.plan: list[Behaviour] = [right]
        self.ranges: list[str] = []
        self.served = 0
        self.body = BODY
        self.asked, self.released = threading.Event(), threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may go away
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        behave = self.server.plan[min(len(self.server.ranges), len(self.server.plan) - 1)]
        self.server.ranges.append(wanted)
        self.server.asked.set()
        match = re.fullmatch(r"bytes=(\d+)-", wanted)
        behave(self, int(match[1]) if match else 0)

    def head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, data: bytes) -> None:
        self.server.served += len(data)
        self.wfile.write(data)

    def head_of_rest(self, start: int) -> bytes:
        """Send the headers for the rest of the body, and return that rest."""
        body = self.server.body
        rest, total = body[start:], len(body)
        if start >= total:
            self.head(416, Content_Range=f"bytes */{total}", Content_Length="0")
            return b""
        length = str(len(rest))
        if start:
            self.head(206, Content_Length=length, Content_Range=f"bytes {start}-{total - 1}/{total}")
        else:
            self.head(200, Content_Length=length)
        return rest

    def log_message(self, format: str, *args: Any) -> None:
        pass


def right(handler: Handler, start: int) -> None:
    handler.send(handler.head_of_rest(start))


def ignores_range(handler: Handler, start: int) -> None:
    handler.send(handler.head_of_rest(0))


def breaks_off(count: int) -> Behaviour:
    return lambda handler, start: handler.send(handler.head_of_rest(start)[:count])


def falls_silent(count: int) -> Behaviour:
    def behave(handler: Handler, start: int) -> None:
        rest = handler.head_of_rest(start)
        handler.send(rest[:count])
        handler.server.released.wait(PATIENCE)
        handler.send(rest[count:])

    return behave


def answers(status: int) -> Behaviour:
    return lambda handler, start: handler.head(status, Content_Length="0")


def other_range(handler: Handler, start: int) -> None:
    handler.head(206, Content_Range=f"bytes 0-9/{len(BODY)}", Content_Length="10")
    handler.send(BODY[:10])


def without_length(extra: bytes) -> Behaviour:
    def behave(handler: Handler, start: int) -> None:
        handler.head(200)
        handler.send(handler.server.body + extra)

    return behave


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "BACK_OFF_SECONDS", 0)
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,))
        thread.start()
        yield site
        site.released.set()
        site.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.bin"


def get(site: Site, target: Path, sha256: str = SHA256, **options: Any) -> Path:
    return fetch(site.url, target, sha256=sha256, mend=MEND, **options)


def part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def leave_part(target: Path, data: bytes) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(data)


def refusal(site: Site, target: Path, **options: Any) -> str:
    """Return the one line that `fetch` refuses with, and check what every such line must hold."""
    with pytest.raises(TlftError) as caught:
        get(site, target, **options)
    line = str(caught.value)
    assert "\n" not in line and "ConnectionPool" not in line
    assert line.endswith(MEND)
    assert not target.is_file() or target.read_bytes() != BODY
    return line


# -- what arrives ----------------------------------------------------------------------------------------------------


def test_fetched_file_is_whole_and_nothing_else_is_left(site: Site, target: Path) -> None:
    assert get(site, target, size=len(BODY)) == target
    assert target.read_bytes() == BODY
    assert files_in(target.parent) == ["file.bin", "file.bin.lock"]


def test_prefix_of_digest_is_enough(site: Site, target: Path) -> None:
    assert get(site, target, sha256=SHA256[:8].upper()).read_bytes() == BODY


@pytest.mark.parametrize("digits", ["", SHA256[:7], SHA256 + "0", "not hex digits"])
def test_less_than_eight_hex_digits_are_a_mistake_of_the_caller(site: Site, target: Path, digits: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        get(site, target, sha256=digits)


def test_file_that_is_there_is_not_fetched(site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(BODY)
    get(site, target)
    assert site.ranges == []


def test_file_with_wrong_bytes_is_never_used(site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"something else")
    line = refusal(site, target)
    for expected in (str(target), SHA256, hashlib.sha256(b"something else").hexdigest(), "delete it"):
        assert expected in line
    assert target.read_bytes() == b"something else"
    assert site.ranges == []


def test_wrong_bytes_from_the_server_are_deleted(site: Site, target: Path) -> None:
    site.body = b"x" + BODY[1:]
    line = refusal(site, target)
    assert SHA256 in line and hashlib.sha256(site.body).hexdigest() in line
    assert files_in(target.parent) == ["file.bin.lock"]


def test_file_url_is_copied_and_verified(tmp_path: Path, target: Path) -> None:
    mirror = tmp_path / "a mirror.bin"
    mirror.write_bytes(BODY)
    fetch(mirror.as_uri(), target, sha256=SHA256, mend=MEND)
    assert target.read_bytes() == BODY


def test_missing_file_of_a_file_url_is_one_line(tmp_path: Path, target: Path) -> None:
    with pytest.raises(TlftError, match=r"nowhere: No such file.*by hand$"):
        fetch((tmp_path / "nowhere").as_uri(), target, sha256=SHA256, mend=MEND)


# -- what breaks off is continued ------------------------------------------------------------------------------------


def test_broken_download_goes_on_where_it_ended(site: Site, target: Path) -> None:
    site.plan = [breaks_off(100_000), breaks_off(50_000), right]
    assert get(site, target).read_bytes() == BODY
    assert site.ranges == ["", "bytes=100000-", "bytes=150000-"]
    assert site.served == len(BODY)


def test_silent_server_is_left_and_asked_for_the_rest(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "READ_SECONDS", 0.5)
    site.plan = [falls_silent(1000), right]
    assert get(site, target).read_bytes() == BODY
    assert site.ranges == ["", "bytes=1000-"]


def test_server_that_always_breaks_off_is_given_up_and_the_part_stays(site: Site, target: Path) -> None:
    site.plan = [breaks_off(1000)]
    line = refusal(site, target)
    assert f"broken off after 4000 of {len(BODY)} bytes; 4 attempts" in line
    assert site.ranges == ["", "bytes=1000-", "bytes=2000-", "bytes=3000-"]
    assert part_of(target).read_bytes() == BODY[:4000]


def test_part_of_an_earlier_call_is_continued(site: Site, target: Path) -> None:
    leave_part(target, BODY[:200_000])
    assert get(site, target).read_bytes() == BODY
    assert site.ranges == ["bytes=200000-"]
    assert site.served == len(BODY) - 200_000


def test_server_without_ranges_makes_it_start_over(site: Site, target: Path) -> None:
    site.plan = [breaks_off(100_000), ignores_range]
    assert get(site, target).read_bytes() == BODY
    assert site.ranges == ["", "bytes=100000-"]
    assert site.served == 100_000 + len(BODY)


def test_another_range_than_asked_for_is_not_appended(site: Site, target: Path) -> None:
    leave_part(target, BODY[:500])
    site.plan = [other_range, right]
    assert get(site, target).read_bytes() == BODY
    assert site.ranges == ["bytes=500-", ""]


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_whole_part_is_taken(site: Site, target: Path, size: int | None) -> None:
    leave_part(target, BODY)
    assert get(site, target, size=size).read_bytes() == BODY
    assert site.served == 0
    assert site.ranges == ([] if size else [f"bytes={len(BODY)}-"])


@pytest.mark.parametrize("size", [None, len(BODY)])
@pytest.mark.parametrize("extra", [b"", b"more"])
def test_part_that_is_long_enough_but_wrong_is_fetched_anew(
    site: Site, target: Path, size: int | None, extra: bytes
) -> None:
    leave_part(target, b"x" + BODY[1:] + extra)
    assert get(site, target, size=size).read_bytes() == BODY
    assert site.ranges[-1] == ""


def test_body_without_length_that_ends_early_is_continued(site: Site, target: Path) -> None:
    def grow(handler: Handler, start: int) -> None:
        site.body = BODY
        right(handler, start)

    site.body = BODY[:1000]
    site.plan = [without_length(b""), grow]
    assert get(site, target, size=len(BODY)).read_bytes() == BODY
    assert site.ranges == ["", "bytes=1000-"]


# -- what is refused -------------------------------------------------------------------------------------------------


def test_more_bytes_than_promised_are_refused_before_they_fill_the_disk(site: Site, target: Path) -> None:
    site.plan = [without_length(b"x" * 10_000_000)]
    assert f"more than the {len(BODY)} bytes" in refusal(site, target, size=len(BODY))
    assert files_in(target.parent) == ["file.bin.lock"]


def test_announcement_of_more_bytes_is_refused_unread(site: Site, target: Path) -> None:
    site.plan = [falls_silent(0)]
    assert "more than the 1000 bytes" in refusal(site, target, size=1000)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusal_by_the_server_is_not_asked_again(site: Site, target: Path, status: int) -> None:
    site.plan = [answers(status)]
    assert refusal(site, target) == f"{site.url}: cannot be fetched (HTTP {status}); {MEND}"
    assert len(site.ranges) == 1


def test_failing_server_is_asked_again(site: Site, target: Path) -> None:
    site.plan = [answers(500), answers(503), right]
    assert get(site, target).read_bytes() == BODY


def test_server_that_keeps_failing_is_given_up(site: Site, target: Path) -> None:
    site.plan = [answers(500)]
    assert "(HTTP 500; 4 attempts)" in refusal(site, target)
    assert len(site.ranges) == 4


def test_host_that_is_not_reached_is_asked_once(site: Site, target: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/file.bin"
        with pytest.raises(TlftError) as caught:
            fetch(url, target, sha256=SHA256, mend=MEND)
    assert str(caught.value) == f"{url}: cannot be fetched ({os.strerror(errno.ECONNREFUSED)}); {MEND}"


def test_proxy_that_is_not_reached_is_named(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://user:password@127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(TlftError, match=r"\(proxy: Connection refused\)") as caught:
            fetch("http://example.invalid/file.bin", target, sha256=SHA256, mend=MEND)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("url", ["gopher://127.0.0.1/file.bin", "file.bin", "http://", "http://[/"])
def test_url_that_is_none_is_one_line(site: Site, target: Path, url: str) -> None:
    with pytest.raises(TlftError, match=rf"^{re.escape(url)}: cannot be fetched .*by hand$"):
        fetch(url, target, sha256=SHA256, mend=MEND)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_disk_is_one_line_that_names_the_folder(site: Site, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).symlink_to("/dev/full")
    assert refusal(site, target) == f"{target.parent}: {os.strerror(errno.ENOSPC)}; {MEND}"


def test_folder_that_cannot_be_made_is_one_line(site: Site, target: Path) -> None:
    target.parent.write_text("a file where the folder should be")
    assert str(target.parent) in refusal(site, target)


# -- deadlines -------------------------------------------------------------------------------------------------------


def test_silence_ends_with_the_deadline_and_the_part_stays(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "BACK_OFF_SECONDS", 1e6)
    site.plan = [falls_silent(1000)]
    line = refusal(site, target, deadline=2)
    assert f"silent after 1000 of {len(BODY)} bytes; not done within 2 s" in line
    assert part_of(target).read_bytes() == BODY[:1000]


def test_slow_download_ends_with_the_deadline_and_is_continued(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    @contextmanager
    def slow(*_: Any, **__: Any) -> Iterator[Callable[[int], None]]:
        yield lambda n: clock.__setitem__(0, clock[0] + 15)

    with monkeypatch.context() as patch:
        patch.setattr(download, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        patch.setattr(download, "progress", slow)
        assert "(not done within 20 s)" in refusal(site, target, deadline=20)
    have = part_of(target).stat().st_size
    assert 0 < have < len(BODY)
    assert get(site, target).read_bytes() == BODY
    assert site.ranges == ["", f"bytes={have}-"]


@pytest.mark.parametrize(("deadline", "expected"), [(None, (10.0, 30.0)), (8, (2.0, 2.0)), (80, (10.0, 20.0))])
def test_one_silence_takes_a_quarter_of_the_deadline_at_most(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch, deadline: float | None, expected: tuple[float, float]
) -> None:
    real, time_outs = requests.get, []

    def spy(url: str, **options: Any) -> requests.Response:
        time_outs.append(options["timeout"])
        return real(url, **options)

    monkeypatch.setattr(requests, "get", spy)
    get(site, target, deadline=deadline)
    assert time_outs == [expected]


def test_nobody_is_asked_after_the_deadline(site: Site, target: Path) -> None:
    assert "(not done within 0 s)" in refusal(site, target, deadline=0)
    assert site.ranges == []


def test_deadline_also_ends_the_wait_for_another_process(site: Site, target: Path) -> None:
    target.parent.mkdir()
    with filelock.FileLock(f"{target}.lock"):
        assert "another process" in refusal(site, target, deadline=0)


# -- several processes, and killed ones ------------------------------------------------------------------------------

PROGRAM = """
import logging, sys
from pathlib import Path
from tlft.runtime.download import fetch
logging.basicConfig(level="INFO", format="%(message)s")
fetch(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3], mend="")
"""


def start(site: Site, target: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, site.url, str(target), SHA256]
    return subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)


def test_processes_that_start_together_fetch_once(site: Site, target: Path) -> None:
    site.plan = [falls_silent(1000)]
    with start(site, target) as first:
        assert site.asked.wait(PATIENCE)
        with start(site, target) as second:
            assert second.stderr is not None
            assert any("waiting for another process" in line for line in second.stderr)
            assert not target.exists()
            site.released.set()
    assert (first.returncode, second.returncode) == (0, 0)
    assert target.read_bytes() == BODY
    assert len(site.ranges) == 1


def test_killed_process_leaves_nothing_that_looks_whole(site: Site, target: Path) -> None:
    site.plan = [falls_silent(1000), right]
    with start(site, target) as process:
        assert site.asked.wait(PATIENCE)
        process.kill()
    assert not target.exists()
    assert get(site, target).read_bytes() == BODY


def test_interrupted_download_is_continued(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def interrupt(*_: Any, **__: Any) -> Iterator[Callable[[int], None]]:
        def advance(n: int) -> None:
            raise KeyboardInterrupt

        yield advance

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(download, "progress", interrupt)
        get(site, target)
    assert not target.exists()
    have = part_of(target).stat().st_size
    assert 0 < have < len(BODY)
    assert get(site, target).read_bytes() == BODY
    assert site.ranges == ["", f"bytes={have}-"]


# -- unpacking -------------------------------------------------------------------------------------------------------


def pack(path: Path, *names: str, link: str = "") -> Path:
    """Write a zip file whose files hold their own names; `link` is a symbolic link to /etc."""
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, name)
        if link:
            entry = zipfile.ZipInfo(link)
            entry.create_system = 3
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(entry, "/etc")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "insects"


def test_top_folder_of_the_same_name_becomes_the_folder(tmp_path: Path, folder: Path) -> None:
    archive = pack(tmp_path / "a.zip", "insects/", "insects/train/1.jpg", "insects/val/2.jpg", "__MACOSX/insects/._1")
    assert unpack_zip(archive, folder) == folder
    assert files_in(folder) == ["train", "train/1.jpg", "val", "val/2.jpg"]
    assert (folder / "train" / "1.jpg").read_text() == "insects/train/1.jpg"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["insects", "insects.lock"]


@pytest.mark.parametrize("names", [("train/1.jpg", "val/2.jpg"), ("insects/1.jpg", "readme.txt"), ("insects",)])
def test_other_archives_are_unpacked_as_they_are(tmp_path: Path, folder: Path, names: tuple[str, ...]) -> None:
    unpack_zip(pack(tmp_path / "a.zip", *names), folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == sorted(names)


def test_folder_that_is_there_is_left_alone(tmp_path: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    unpack_zip(pack(tmp_path / "a.zip", "train/1.jpg"), folder)
    assert files_in(folder) == []


@pytest.mark.parametrize(
    "name", ["../evil", "train/../../evil", "/tmp/evil", "C:/evil", "C:evil", "..\\evil", "\\evil", "//host/share/evil"]
)
def test_entry_that_would_leave_the_folder_is_refused(tmp_path: Path, folder: Path, name: str) -> None:
    with pytest.raises(TlftError, match=re.escape(repr(name))):
        unpack_zip(pack(tmp_path / "a.zip", "train/1.jpg", name), folder)
    assert files_in(tmp_path) == ["a.zip", "data", "data/insects.lock"]


def test_symbolic_link_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(TlftError, match="'train/etc'"):
        unpack_zip(pack(tmp_path / "a.zip", "train/1.jpg", link="train/etc"), folder)
    assert files_in(folder.parent) == ["insects.lock"]


def test_what_is_no_zip_file_is_named(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "a.zip").write_bytes(BODY)
    with pytest.raises(TlftError, match=r"a\.zip: is no zip file"):
        unpack_zip(tmp_path / "a.zip", folder)


def test_spoilt_entry_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    archive = pack(tmp_path / "a.zip", "train/1.jpg", "train/2.jpg")
    data = archive.read_bytes()
    archive.write_bytes(data.replace(b"train/2.jpgtrain/2.jpg", b"train/2.jpgtrain/3.jpg"))
    assert archive.read_bytes() != data
    with pytest.raises(TlftError, match=r"a\.zip: .*CRC"):
        unpack_zip(archive, folder)
    assert files_in(folder.parent) == ["insects.lock"]


def test_missing_archive_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(TlftError, match=r"a\.zip: No such file"):
        unpack_zip(tmp_path / "a.zip", folder)


def test_killed_unpacking_leaves_no_folder_and_the_next_one_cleans_up(tmp_path: Path, folder: Path) -> None:
    archive = pack(tmp_path / "a.zip", "train/1.jpg", "train/2.jpg")
    program = (
        "import os, sys, zipfile\nfrom pathlib import Path\nfrom tlft.runtime.download import unpack_zip\n"
        "def killed(self, path, members):\n    self.extract(members[0], path)\n    os.kill(os.getpid(), 9)\n"
        "zipfile.ZipFile.extractall = killed\nunpack_zip(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(archive), str(folder)], cwd=PROJECT)
    assert done.returncode == -9
    assert not folder.exists()
    assert any(name.endswith("1.jpg") for name in files_in(folder.parent))
    unpack_zip(archive, folder)
    assert files_in(folder.parent) == [
        "insects", "insects.lock", "insects/train", "insects/train/1.jpg", "insects/train/2.jpg"
    ]  # fmt: skip


# -- small ones ------------------------------------------------------------------------------------------------------
