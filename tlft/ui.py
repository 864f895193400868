"""`python -m tlft.ui`: show every run in MLflow's pages, at an address that leads to the runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from tlft.config.paths import existing_home
from tlft.errors import ConfigurationError, TlftError
from tlft.terminal.command_line import add_experiment, command_parser, exit_status
from tlft.terminal.greeting import greet

_HOST = "127.0.0.1"
_LOG = "mlflow-ui.log"
_LOOK_SECONDS, _PATIENCE_SECONDS, _END_SECONDS = 0.2, 180.0, 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the pages until Ctrl-C; returns 1 if the server ends by itself, 2 if it was asked for wrongly."""
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _serve(arguments.port, arguments.experiment, existing_home()))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser("ui", "Show every run in MLflow's pages; the address that is told opens on the runs.")
    parser.add_argument("--port", type=int, default=5000, help="default: 5000")
    add_experiment(parser, "that is opened: ")
    return parser


def _serve(port: int, experiment: str, home: Path) -> int:
    from tlft.database.places import tracking_uri
    from tlft.tracking.client import experiment_page

    if not 0 < port < 1 << 16:
        raise ConfigurationError(f"--port {port}: give a number from 1 to 65535")
    if _answers(port):
        raise ConfigurationError(f"--port {port}: is taken by another server; give another number")
    page = experiment_page(experiment, home, f"http://{_HOST}:{port}")
    greet("starting MLflow's server, which takes some seconds")
    # MLflow starts its server by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port)]
    command += ["--backend-store-uri", tracking_uri(None, home)]
    for number in (signal.SIGTERM, signal.SIGHUP):  # a terminal that is closed ends the server too
        signal.signal(number, lambda *_: sys.exit(0))
    log = home / "cache" / _LOG
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, cwd=home, env=os.environ | {"PATH": path}, stdout=file, stderr=file, start_new_session=True
        )
    try:
        _wait_for(server, port, log)
        print(f"open {page} (Ctrl-C ends it)", flush=True)
        server.wait()
        raise TlftError(f"MLflow's server has ended; {log} says why")
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the server answers; TlftError says why it does not."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            raise TlftError(f"MLflow's server does not answer; {log} says why")
        time.sleep(_LOOK_SECONDS)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server with its processes, which may take their time."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(_END_SECONDS)
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _answers(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with closing(socket.socket()) as asking:
        asking.settimeout(1.0)
        return asking.connect_ex((_HOST, port)) == 0


if __name__ == "__main__":
    sys.exit(main())
