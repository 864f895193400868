"""The optimizers that PyTorch and timm have, by name: read from their files, since importing them takes seconds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tlft.config.recipe_schema import OptimizerConfig, TorchConfig
from tlft.errors import nearest

_NO_ALGORITHMS = ("Optimizer",)


def find_problems(config: OptimizerConfig) -> list[str]:
    """Return what is wrong with the name and the options of an optimizer of any name, a line each."""
    if not isinstance(config, TorchConfig):
        return []
    problems, names = [], (*_of_torch(), *_of_timm())
    if config.algorithm not in names and not _timm_has(config.algorithm):
        mend = nearest(config.algorithm, names)
        problems.append(f"optimizer.algorithm={config.algorithm}: neither torch.optim nor timm has it{mend}")
    if not isinstance(config.options, dict | None):
        problems.append(f"optimizer.options={config.options}: write {{name:value,...}}, such as {{betas:[0.9,0.98]}}")
    elif taken := [name for name in ("lr", "weight_decay") if name in (config.options or {})]:
        problems.append(f"optimizer.options: {taken[0]} is a key of its own; give optimizer.{taken[0]}=...")
    return problems


@cache
def _of_torch() -> tuple[str, ...]:
    """Return the classes of `torch.optim`."""
    tree = ast.parse((_package("torch") / "optim" / "__init__.py").read_text(encoding="utf-8"))
    modules = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    names = (
        alias.name
        for node in modules
        if node.level or (node.module or "").startswith("torch.optim.")
        for alias in node.names
    )
    return tuple(name for name in names if name[:1].isupper() and name not in _NO_ALGORITHMS)


@cache
def _of_timm() -> tuple[str, ...]:
    """Return what timm's registry calls its optimizers."""
    return tuple(dict.fromkeys(_registered()))


def _registered() -> Iterator[str]:
    for path in sorted((_package("timm") / "optim").glob("*factory*.py")):
        yield from re.findall(r"OptimInfo\(\s*name=['\"](\w+)['\"]", path.read_text(encoding="utf-8"))


def _timm_has(name: str) -> bool:
    """Ask the library itself, which makes some names of others."""
    import timm.optim

    return name in timm.optim.list_optimizers()


def _package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])
