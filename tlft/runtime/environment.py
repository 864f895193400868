"""A record of what a run is computed with: versions, hardware, and the state of the source."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tlft.config.paths import PROJECT
from tlft.errors import without_passwords
from tlft.names import Tag
from tlft.runtime.device import Machine, describe_hardware

PACKAGES = (
    *("torch", "torchvision", "timm", "mlflow", "hydra-core", "omegaconf"),
    *("numpy", "pandas", "pillow", "safetensors", "scikit-learn", "pyarrow"),
)


def describe_environment(machine: Machine) -> dict[str, Any]:
    """Return versions, hardware and source state, as plain JSON types."""
    source = source_state()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        **describe_hardware(machine),
        Tag.COMMAND: without_passwords(" ".join(sys.argv)),
        Tag.COMMIT: source.commit,
        Tag.DIRTY: source.dirty,
    }


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class SourceState:
    """The commit of the project folder, and what differs from it.

    Attributes:
        commit: 40 hex digits, or `unknown` outside a repository.
        diff: text of the uncommitted changes to tracked files, as far as `LONGEST_DIFF` allows and without the
            passwords of addresses; untracked Python and YAML files are named at its end.
    """

    commit: str
    dirty: bool
    diff: str


LONGEST_DIFF = 1 << 20
"""Characters of a diff that are kept: a notebook with pictures, or a data file under version control, has many more."""


def _bounded(diff: str) -> str:
    left_out = len(diff) - LONGEST_DIFF
    if left_out > 0:
        diff = f"{diff[:LONGEST_DIFF]}\ncut here: {left_out} more characters\n"
    return without_passwords(diff)


@cache
def source_state() -> SourceState:
    """Ask git for the state of the project folder; outside a repository nothing is known."""

    def git(*args: str) -> str:
        command = ["git", "-C", str(PROJECT), *args]
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=True).stdout

    try:
        if Path(git("rev-parse", "--show-toplevel").strip()).resolve() != PROJECT:
            return SourceState("unknown", False, "")
        commit = git("rev-parse", "HEAD").strip()
        diff = _bounded(git("diff", "HEAD"))
        untracked = git("ls-files", "--others", "--exclude-standard", "--", "*.py", "*.yaml").split()
    except (OSError, subprocess.CalledProcessError):
        return SourceState("unknown", False, "")
    diff += "".join(f"untracked: {name}\n" for name in untracked)
    return SourceState(commit, bool(diff), diff)
