"""Commands in processes of their own, forked from one that has the imports done: they start in a moment."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from tlft.config.paths import PROJECT

PRELOAD = (
    "tlft.sweeps.launchers.preload",
    "fresh_database",
)


@cache
def warm_server() -> ForkServerContext:
    """Return a context whose processes start in a moment; the server imports and never computes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    return context


class WarmCommand:
    """`python run.py ...`, with what tests need of a `subprocess.Popen`; standard error has a pipe of its own.

    With a `module` it is `python -m MODULE ...`.

    Attributes:
        returncode: None until `wait` or `communicate` has returned.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cwd: Path = PROJECT,
        *,
        one_pipe: bool = False,
        new_session: bool = False,
        module: str | None = None,
    ) -> None:
        context = warm_server()
        reading, writing = zip(*(context.Pipe(duplex=False) for _ in range(1 if one_pipe else 2)), strict=True)
        words = (list(arguments), dict(env), str(cwd), writing, new_session, module)
        self._process = context.Process(target=_run, args=words)
        self._process.start()
        for end in writing:
            end.close()
        self.stdout, *self._errors = (os.fdopen(os.dup(end.fileno()), errors="replace") for end in reading)
        for end in reading:
            end.close()
        self.stderr = self._errors[0] if self._errors else self.stdout
        self.returncode: int | None = None
        self._waiting = threading.Lock()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        """Wait for the end; returns the exit status, or as negative the signal."""
        with self._waiting:  # two threads may wait, and only one is told
            self._process.join()
        self.returncode = self._process.exitcode
        assert self.returncode is not None
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """Read everything until the end; returns what was said on standard output and on standard error."""
        said = ["", ""]

        def read(index: int) -> None:
            with (self.stdout, *self._errors)[index] as words:
                said[index] = words.read()

        threads = [threading.Thread(target=read, args=(index,)) for index in range(1 + len(self._errors))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.wait()
        return said[0], said[1]


def _run(
    arguments: list[str],
    env: dict[str, str],
    cwd: str,
    words: tuple[Connection, ...],
    new_session: bool,
    module: str | None,
) -> None:
    """Be `python run.py`, or `python -m` with a module."""
    if new_session:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    os.dup2(words[0].fileno(), 1)
    os.dup2(words[-1].fileno(), 2)
    for end in words:
        end.close()
    if module is not None:
        sys.argv = [module, *arguments]
        sys.path.insert(0, str(PROJECT))
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    script = str(PROJECT / "run.py")
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(PROJECT))
    runpy.run_path(script, run_name="__main__")
