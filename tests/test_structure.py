"""Which way data flows: who may import what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tlft.config.paths import PROJECT


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def importers(package: str, *folders: str) -> set[str]:
    paths = [path for folder in folders for path in (PROJECT / folder).rglob("*.py")]
    return {
        str(path.relative_to(PROJECT))
        for path in paths
        if any(f"{name}.".startswith(f"{package}.") for name in imports(path))
    }


def test_only_tracking_knows_mlflow() -> None:
    found = importers("mlflow", "tlft", "analysis", "hydra_plugins")
    assert found
    assert {name for name in found if not name.startswith("tlft/tracking/")} == set()


def test_analysis_never_trains() -> None:
    for module in ("torch", "tlft.training", "tlft.runs", "tlft.sweeps", "tlft.models"):
        assert importers(module, "analysis") == set()
