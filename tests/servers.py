"""Real servers on 127.0.0.1, each ready when its constructor returns: PostgreSQL, MLflow, and such as only refuse."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

_DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
_INITDB = str(_DEBIAN[-1]) if _DEBIAN else shutil.which("initdb") or ""


def _why_not() -> str:
    """Say what this machine lacks for a real server with PostgreSQL; nothing if it has all."""
    if not _INITDB:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and not (shutil.which("setpriv") and _has_user("postgres")):
        return "PostgreSQL does not run as root, and there is no setpriv or no user postgres"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed (pip install -e '.[server]')"
    return ""


def _has_user(name: str) -> bool:
    import pwd

    return any(entry.pw_name == name for entry in pwd.getpwall())


needs_postgresql = pytest.mark.skipif(bool(_why_not()), reason=_why_not())


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class _Process:
    """A server in a process of its own, whose words are read until it says that it is ready, and then on."""

    def __init__(self, command: Sequence[str | Path], ready: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self._words = self.process.stdout
        said = ""
        for line in self._words:
            said += line
            if ready in line:
                threading.Thread(target=self._words.read, daemon=True).start()
                return
        raise AssertionError(f"never said {ready}: {said}")

    def _all(self) -> list[psutil.Process]:
        one = psutil.Process(self.process.pid)
        return [*one.children(recursive=True), one]


class PostgreSQL(_Process):
    """PostgreSQL with a user `mlflow`, in a folder that its own system user may enter (pytest's are closed).

    Attributes:
        uri: for `mlflow server --backend-store-uri`.
    """

    def __init__(self) -> None:
        self._folder = folder = Path(tempfile.mkdtemp(prefix="tlft-postgresql-"))
        as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        bin_, data, port = Path(_INITDB).parent, folder / "data", free_port()
        told = ("--username=mlflow", "--auth=trust", "--encoding=UTF8", "--no-sync")
        command = [*as_user, _INITDB, "--pgdata", str(data), *told]
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
        server = (str(bin_ / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", "")
        super().__init__([*as_user, *server], "database system is ready to accept connections", folder)
        self.uri = f"postgresql+psycopg://mlflow@127.0.0.1:{port}/postgres"

    def end(self) -> None:
        """Stop it at once: what it holds is not needed any more."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()
        shutil.rmtree(self._folder)


class MlflowServer(_Process):
    """`mlflow server` with proxied artifacts.

    Args:
        backend: of the runs: PostgreSQL's address or SQLite's.
        folder: gets the artifacts.
        port: a free one, if none is given.
    """

    def __init__(self, backend: str, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.backend, self.folder = backend, folder
        self.artifacts = folder / "artifacts"
        command = (
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--serve-artifacts"),
            *("--backend-store-uri", backend, "--artifacts-destination", str(self.artifacts)),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        )
        super().__init__(command, "Application startup complete", folder)

    def again(self) -> MlflowServer:
        """Start it anew, where it was."""
        return MlflowServer(self.backend, self.folder, self.port)

    def freeze(self) -> None:
        """Stop all its processes, which keep their connections and answer nothing."""
        for process in self._all():
            process.suspend()

    def thaw(self) -> None:
        """Let its processes go on."""
        for process in self._all():
            process.resume()

    def end(self) -> None:
        """End all its processes, as a machine that is lost does."""
        if self.process.poll() is None:
            processes = self._all()
            for process in processes:
                process.kill()
            psutil.wait_procs(processes)
        self.process.wait()
