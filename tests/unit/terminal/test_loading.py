"""The search for garbage: rare while a command loads its libraries, and as usual while a network is trained."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tlft.config.paths import PROJECT
from tlft.terminal.loading import loaded, search_rarely


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_is_loaded_is_not_searched_and_what_comes_later_is_as_usual() -> None:
    usual = gc.get_threshold()
    search_rarely()
    assert gc.isenabled() and gc.get_threshold()[0] > 100 * usual[0]
    loaded()
    assert gc.get_threshold() == usual and gc.get_freeze_count() > 0


def test_what_becomes_garbage_between_two_runs_is_still_searched() -> None:
    search_rarely()
    loaded()
    frozen = gc.get_freeze_count()
    ring: list[object] = []
    ring.append(ring)
    loaded()  # as the next job of a sweep does
    assert gc.get_freeze_count() == frozen


@pytest.mark.parametrize("command", ["run.py --version", "-m analysis.table --metric", "-m tlft.predict RUN none.jpg"])
def test_every_command_loads_so(command: str) -> None:
    code = f"""
import gc, runpy, sys
sys.argv = {command.removeprefix("-m ").split()!r}
start = runpy.run_path if sys.argv[0].endswith(".py") else runpy.run_module
try:
    start(sys.argv[0], run_name="__main__")
finally:
    print("threshold", gc.get_threshold()[0])
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.stdout.endswith("threshold 100000\n"), ended.stderr
