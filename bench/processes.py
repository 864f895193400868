"""Start the sides, each in a fresh process, and take their times."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tlft.config.paths import PROJECT
from tlft.errors import TlftError

PEERS = PROJECT / ".bench-peers"
"""The environment of the peers, which `make bench-peers` makes."""


def peers_python() -> str:
    """Return the interpreter of the peers, which must compute with the PyTorch that we compute with.

    Raises:
        TlftError: if it is not there, or has another.
    """
    python = str(PEERS / "bin" / "python")
    if not Path(python).exists():
        raise TlftError(f"{PEERS}: is not there; make bench-peers makes it")
    ask = "import importlib.metadata as found; print(found.version('torch'))"
    ours, theirs = (run([each, "-c", ask], PROJECT) for each in (sys.executable, python))
    if ours != theirs:
        raise TlftError(f"{PEERS}: has torch {theirs.strip()}, not {ours.strip()}; delete it, then make bench-peers")
    return python


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a command in a folder, from which the project's packages can be imported too; returns what it printed.

    Raises:
        TlftError: if it fails, with the last line that it said.
    """
    variables = {**os.environ, "PYTHONPATH": str(PROJECT), "HF_HUB_OFFLINE": "1", **(environment or {})}
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["in silence"]
        raise TlftError(f"{' '.join(command)[:200]} ended with {done.returncode}: {lines[-1]}")
    return done.stdout


def whole_time(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> float:
    """Return the seconds from the start of a process to its end."""
    started = time.perf_counter()
    run(command, folder, environment)
    return time.perf_counter() - started


def told_time(command: Sequence[str], folder: Path) -> float:
    """Return the seconds that a side tells in its last line."""
    return float(run(command, folder).splitlines()[-1])


def side(name: str, *arguments: object, python: str = sys.executable) -> list[str]:
    """Return the command of a module of `bench/sides/`."""
    return [python, "-m", f"bench.sides.{name}", *map(str, arguments)]


def tlft(home: Path, *arguments: str) -> tuple[list[str], Path, dict[str, str]]:
    """Return what `run` and `whole_time` take to run `python run.py`, as it is typed, in a home."""
    return [sys.executable, "run.py", *arguments], PROJECT, {"TLFT_HOME": str(home)}
