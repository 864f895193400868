"""What was measured: a raw file for each figure, and the results that are made of them.

bench/raw/NAME.json     the seconds of both sides, by round; where, with what and of which commit
bench/raw/set.json      all of a set, there only while its files are written
bench/results.json      the ratios of all raw files of one machine and the same versions

A set is what was measured of one comparison, its sides in turn.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.pairs import Figure, ratio_of
from bench.processes import PEERS
from tlft.config.paths import PROJECT
from tlft.runtime.device import Machine, available_threads, describe_hardware, resolve_precision
from tlft.storage.files import atomic_write

FOLDER = Path(__file__).parent
PAGE, PICTURE = PROJECT / "docs" / "performance.md", PROJECT / "docs" / "pictures" / "performance.png"
_WRITTEN = ("bench/raw", "bench/results.json", "docs/performance.md", "docs/pictures/performance.png")
_SET = "set.json"
_PACKAGES = ("torch", "torchvision", "timm", "pillow", "numpy", "mlflow", "hydra-core")
_OF_PEERS = ("fastai", "lightning")


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    cpu = torch.device("cpu")
    precision = resolve_precision("auto", cpu)
    hardware = describe_hardware(Machine(cpu, precision, available_threads()))
    return {
        "processor": hardware["hardware"],
        "vectors": hardware["cpu_capability"],
        "threads": hardware["threads"],
        "precision": precision,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(),
    }


def describe_versions() -> dict[str, str]:
    """Return the versions of all that is compared; the peers' are those of their own environment."""
    versions = {"python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in _PACKAGES}
    places = [str(place) for place in PEERS.glob("lib/python*/site-packages")]
    found = {each.name.lower(): each.version for each in metadata.distributions(path=places)} if places else {}
    return versions | {name: found[name] for name in _OF_PEERS if name in found}


def commit() -> str:
    """Return the commit that is measured; with `-dirty` where other files differ from it than those written here."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT), *arguments]
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".", *(f":(exclude){path}" for path in _WRITTEN))
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def raw_of(figure: Figure, seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return what is kept of a figure that was measured just now, as plain JSON types."""
    return {
        "name": figure.name,
        "machine": describe_machine(),
        "versions": describe_versions(),
        "commit": commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "theirs": list(seconds[figure.theirs]),
        "ours": list(seconds[figure.ours]),
    }


def write_raw(raws: Iterable[Mapping[str, Any]], folder: Path = FOLDER) -> None:
    """Keep a set: all of it, or nothing if the process is killed before."""
    _finish_set(folder)
    _write_json(folder / "raw" / _SET, list(raws))  # from here on it is kept: whoever reads finishes what is left
    _finish_set(folder)


def _finish_set(folder: Path) -> None:
    """Write the files of a set that is kept as a whole, if there is one."""
    whole = folder / "raw" / _SET
    if whole.exists():
        for raw in json.loads(whole.read_text(encoding="utf-8")):
            _write_json(folder / "raw" / f"{raw['name']}.json", raw)
        whole.unlink()


def read_raw(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Return all that was measured, the oldest first; a set that a killed process has left is finished before."""
    _finish_set(folder)
    raws = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "raw").rglob("*.json")]
    return sorted(raws, key=lambda raw: (raw["time"], raw["name"]))


def results_of(raws: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Return the results, and the names of figures that are left out.

    Machine, versions and commit are those of the newest figure. What was measured on another machine or with other
    versions is left out; a figure of another commit says so.
    """
    if not raws:
        return {}, []
    newest = raws[-1]
    ratios: dict[str, dict[str, Any]] = {}
    left_out, versions = [], dict(newest["versions"])
    for raw in sorted(raws, key=lambda raw: str(raw["name"])):
        if raw["machine"] != newest["machine"] or not _agree(raw["versions"], newest["versions"]):
            left_out.append(str(raw["name"]))
            continue
        versions |= raw["versions"]
        ratios[raw["name"]] = asdict(ratio_of(raw["theirs"], raw["ours"]))
        if raw["commit"] != newest["commit"]:
            ratios[raw["name"]]["commit"] = raw["commit"]
    return {"machine": newest["machine"], "versions": versions, "commit": newest["commit"], "ratios": ratios}, left_out


def _agree(some: Mapping[str, str], others: Mapping[str, str]) -> bool:
    """Tell whether all packages that both name have one version: where the peers are missing they are not compared."""
    return all(others.get(name, version) == version for name, version in some.items())


def write_results(folder: Path = FOLDER) -> dict[str, Any]:
    """Make `results.json` of the raw files, and return it."""
    results, left_out = results_of(read_raw(folder))
    for name in left_out:
        print(f"{name}: left out, of another machine or other versions; measure it again", file=sys.stderr)
    _write_json(folder / "results.json", results)
    return results


def _write_json(path: Path, content: object) -> None:
    atomic_write(path, f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode())
