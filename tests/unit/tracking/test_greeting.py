"""What is said of a tracking server that cannot be used, before any work: one line with its mend."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from conftest import TINY_ARCH, Configure
from servers import free_port

from tlft.config.compose import Composer
from tlft.config.typed import to_config
from tlft.database import schema
from tlft.errors import TlftError
from tlft.runs.preflight import check_command_line
from tlft.tracking import server, store
from tlft.tracking.server import wait_for_server


@contextmanager
def answering_with(status: int, body: str, only_for: str = "") -> Iterator[str]:
    """Yield the address of a server that gives every request one answer; but `{}` and 200 to these credentials."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = only_for and self.headers.get("Authorization", "").endswith(only_for)
            self.send_response(200 if known else status)
            self.end_headers()
            self.wfile.write(b"{}" if known else body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    served = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{served.server_port}"
    finally:
        served.shutdown()
        thread.join()
        served.server_close()


@contextmanager
def listening(first: bytes = b"") -> Iterator[str]:
    """Yield the address of what accepts connections and never says more than a first piece."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        taken: list[socket.socket] = []

        def accept() -> None:
            connection, _ = found.accept()
            connection.sendall(first)
            taken.append(connection)  # or it would be closed

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{found.getsockname()[1]}"
        thread.join()
        for connection in taken:
            connection.close()


def refusal(uri: str) -> str:
    """Return what is said of a server, which must be one line that names the address."""
    with pytest.raises(TlftError) as caught:
        wait_for_server(uri)
    said = str(caught.value)
    assert said.startswith(f"tracking.uri={uri}: ")
    assert len(said.splitlines()) == 1
    return said


def test_a_port_that_nobody_listens_on() -> None:
    said = refusal(f"http://127.0.0.1:{free_port()}")
    assert said.endswith("cannot be opened (Connection refused); start the server, or set tracking.uri")


def test_a_name_that_does_not_resolve() -> None:
    assert "; start the server, or set tracking.uri" in refusal("http://no-such-host.invalid:5000")


def test_one_that_accepts_and_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_ANSWER_SECONDS", 0.1)
    with listening() as uri:
        assert "(it does not answer in time); start the server" in refusal(uri)


def test_one_whose_answer_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_GREETING_SECONDS", 0.1)
    with listening(b"HTTP/1.1 200 OK\r\n") as uri:
        assert "(it does not answer in time)" in refusal(uri)


def test_whether_anything_answers_is_asked_beside_other_work_and_before_a_sweep_is_composed(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_ANSWER_SECONDS", 0.1)
    sweep = ["-m", *TINY_ARCH, "model=scratch", "data=imagefolder", f"data.root={tiny_folder}", "tracking=server"]
    with listening() as uri, pytest.raises(TlftError, match="it does not answer in time"):
        check_command_line([*sweep, f"tracking.uri={uri}"])
    with answering_with(401, "who are you?") as uri:  # is an answer; the greeting asks with the credentials
        assert check_command_line([*sweep, f"tracking.uri={uri}"]) is not None


def test_a_password_in_the_address_is_not_sent() -> None:
    threads = threading.active_count()
    wait = server.ask_early(f"http://me:secret@127.0.0.1:{free_port()}")
    assert threading.active_count() == threads
    wait()


def test_the_greeting_is_bounded_below_ten_seconds() -> None:
    assert server._ANSWER_SECONDS < server._GREETING_SECONDS < 10


@pytest.mark.parametrize(
    ("status", "body", "mend"),
    [
        (200, "<html>a router</html>", "is no MLflow server (200 OK); set tracking.uri=http://HOST:PORT of one"),
        (200, '["json"]', "is no MLflow server (200 OK)"),
        (404, "<html>not found</html>", "is no MLflow server (404 Not Found)"),
        (500, "", "answers with an error (500 Internal Server Error); look into the server's log"),
        (502, "", "answers with an error (502 Bad Gateway)"),
        (
            403,
            "Invalid Host\nheader",
            "Invalid Host header); give the user the right, or start the server with --allow",
        ),
    ],
)
def test_an_answer_that_is_none(status: int, body: str, mend: str) -> None:
    with answering_with(status, body) as uri:
        assert mend in refusal(uri)


def test_credentials_are_mlflows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering_with(401, "who are you?", only_for="dTpw") as uri:  # u:p in base64
        said = refusal(uri)
        assert (
            "refuses the credentials (401 Unauthorized); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASS" in said
        )
        assert "MLFLOW_TRACKING_TOKEN" in said
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "u")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p")
        wait_for_server(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "http://",
        "http://:5000",
        "http://host:port",
        "http://host:99999",
        "http://[::1",
        "http://a b:5",
        "http://h/?x=1",
    ],
)
def test_what_is_no_address_is_a_wrong_configuration(uri: str) -> None:
    (problem,) = schema.find_problems(uri)
    assert problem.startswith(f"tracking.uri={uri}: is no address")
    assert problem.endswith("give http://HOST:PORT of an MLflow server")


@pytest.mark.parametrize("uri", ["http://127.0.0.1:5000", "https://mlflow.example.org/team/", "http://[::1]:5000"])
def test_what_is_an_address(uri: str) -> None:
    assert schema.find_problems(uri) == []


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    (problem,) = schema.find_problems("https://me:secret@mlflow.example.org")
    assert "MLFLOW_TRACKING_PASSWORD" in problem
    assert "secret" not in problem


def test_the_environments_address_counts_under_tracking_server_alone(
    composer: Composer, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert to_config(composer.compose(["tracking=server"])).tracking.uri == "http://127.0.0.1:9"
    assert to_config(composer.compose(["tracking=server", "tracking.uri=http://h:1"])).tracking.uri == "http://h:1"
    local = configure()
    opened = store.Store(local)
    assert opened.uri == f"sqlite:///{local.home}/mlflow.db"
    assert isinstance(opened.client, MlflowClient)
    assert opened.client.tracking_uri == opened.uri
    assert to_config(composer.compose(["tracking=server"])).tracking.uri == "http://127.0.0.1:9"  # as it was before


def test_a_server_without_an_address_is_a_wrong_configuration(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (problem,) = store.find_problems(to_config(composer.compose(["tracking=server"])))
    assert "give tracking.uri=http://HOST:PORT, or set MLFLOW_TRACKING_URI" in problem
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    (problem,) = store.find_problems(to_config(composer.compose(["tracking=server"])))
    assert "tracking.uri: is empty" in problem
