"""The rules of the house: which room may import which, who knows MLflow, Hydra and PyTorch, and how large things are.

Every import counts, also one inside a function or for type checkers alone.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tlft.config.paths import PROJECT
from tlft.tracking.pyfunc_model import CARRIED, REQUIRED

FLOORS = (
    ("bench",),
    ("command",),
    ("sweeps",),
    ("planning",),
    ("runs",),
    ("report",),
    ("curve",),
    ("analysis",),
    ("statistics",),
    ("predictions",),
    ("tracking",),
    ("database",),
    ("records",),
    ("features",),
    ("inference",),
    ("training", "evaluation"),
    ("models",),
    ("duplicates",),
    ("data",),
    ("pixels",),
    ("synthetic",),
    ("runtime",),
    ("terminal",),
    ("storage",),
    ("config",),
    ("words",),
)
"""The rooms, from top to bottom: what stands on a floor imports from its own room and from lower floors alone.

`bench` stands on top, so that nobody may import it, and may use every library. `command` are the modules directly in
`tlft/`, `run.py` and Hydra's plugins; `report`, `curve`, `statistics` and `predictions` are rooms in `analysis/`;
`words` are `commands`, `errors` and `names`, which everybody may import.
"""

_IN_ANALYSIS = (["report"], ["curve"], ["statistics"], ["predictions"])

LARGEST_MODULE = 330
LARGEST_PACKAGE = 2500
LARGEST_ANALYSIS = 3500
"""The one room that is larger: commands, proofs and drawings of one table."""

LARGEST_FUNCTION = 60

KNOW_HYDRA = ("tlft.config.", "tlft.runs.", "tlft.planning.", "tlft.sweeps.", "hydra_plugins.", "tlft.run")
KNOW_TORCH = (
    *(
        "tlft.models.",
        "tlft.training.",
        "tlft.evaluation.",
        "tlft.inference.",
        "tlft.features.",
        "tlft.data.batches",
        "tlft.pixels.augmentation",
    ),
    *("tlft.runtime.device", "tlft.runs.context", "tlft.runs.reporter", "tlft.runs.preflight"),
    "tlft.sweeps.launchers.preload",
)
"""Nothing else may import PyTorch, torchvision or timm, since a run that is skipped passes through it."""

LATE_TORCH = ("tlft.runtime.device", "tlft.runs.preflight", "tlft.models.weights", "tlft.models.spec")
"""They are imported by a run that is skipped, and may import these libraries only where they need them."""

FOR_NOTEBOOKS = ("pixels", "data", "models", "training", "evaluation", "features")
"""Rooms that can be used without Hydra and MLflow, so that nothing they import may need one of them."""


@dataclass(frozen=True)
class Module:
    """A module of the product: its dotted name, its source, and all that it imports."""

    name: str
    path: Path
    project: frozenset[str] = field(repr=False)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @property
    def room(self) -> str:
        parts = self.name.split(".")
        if parts[0] == "bench":
            return "bench"
        if parts[0] != "tlft":
            return "command" if parts[0] != "analysis" else parts[1] if parts[1:2] in _IN_ANALYSIS else "analysis"
        if parts[-1] == "__main__":
            return "command"
        if len(parts) > 2 or self.path.name == "__init__.py":
            return parts[1] if len(parts) > 1 else "words"
        return "words" if parts[1] in ("commands", "errors", "names") else "command"

    @cached_property
    def imports(self) -> frozenset[str]:
        """Dotted names of all that is imported; a module of the project by its own name."""
        return frozenset(self._imports())

    def _imports(self) -> Iterator[str]:
        for node in ast.walk(self.tree):
            yield from self._imported_by(node)

    def _imported_by(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{self.name}: imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in self.project or node.module not in self.project else node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))

    @property
    def imports_at_once(self) -> set[str]:
        """What is imported when the module is, and not later in a function or for type checkers."""
        return {name for node in self.tree.body for name in self._imported_by(node)}

    def uses(self, *libraries: str, at_once: bool = False) -> bool:
        imports = self.imports_at_once if at_once else self.imports
        return any(f"{name}.".startswith(f"{library}.") for name in imports for library in libraries)

    def is_in(self, places: tuple[str, ...]) -> bool:
        return any(f"{self.name}.".startswith(place if place.endswith(".") else f"{place}.") for place in places)


def modules_in(root: Path) -> dict[str, Module]:
    paths = [
        *root.glob("run.py"),
        *(p for top in ("tlft", "analysis", "hydra_plugins", "bench") for p in (root / top).rglob("*.py")),
    ]
    names = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in sorted(paths)
    }
    return {name: Module(name, path, frozenset(names)) for name, path in names.items()}


def find_wrong_arrows(modules: Mapping[str, Module]) -> list[str]:
    floors = {room: index for index, rooms in enumerate(FLOORS) for room in rooms}
    if nowhere := [module.name for module in modules.values() if module.room not in floors]:
        return [f"{name} stands in a room that has no floor: name it in FLOORS" for name in nowhere]
    return [
        f"{module.name} ({module.room}) imports {name} ({modules[name].room})"
        for module in modules.values()
        for name in sorted(module.imports & modules.keys())
        if modules[name].room != module.room and floors[modules[name].room] <= floors[module.room]
    ]


def find_circle(modules: Mapping[str, Module]) -> list[str]:
    """Return the modules of one circle, or nothing; a package's `__init__` is no part of what it holds."""
    graph = {name: module.imports & modules.keys() - {name} for name, module in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def find_wrong_libraries(modules: Mapping[str, Module]) -> list[str]:
    problems = []
    for module in modules.values():
        if module.room == "bench":
            continue
        if module.uses("mlflow") and module.room != "tracking":
            problems.append(f"{module.name} imports mlflow, which tlft.tracking alone knows")
        if module.uses("hydra") and not module.is_in(KNOW_HYDRA):
            problems.append(f"{module.name} imports hydra")
        if module.uses("tlft.training", "tlft.models") and module.room == "analysis":
            problems.append(f"{module.name} imports what trains")
        if module.uses("hydra._internal") and module.name != "tlft.config.hydra_internals":
            problems.append(f"{module.name} imports Hydra's private modules")
        heavy = ("torch", "torchvision", "timm")
        if module.uses(*heavy) and not module.is_in(KNOW_TORCH):
            problems.append(f"{module.name} imports torch, torchvision or timm")
        if module.uses(*heavy, at_once=True) and module.is_in(LATE_TORCH):
            problems.append(f"{module.name} imports torch, torchvision or timm before it needs it")
    for room in FOR_NOTEBOOKS:
        for name in sorted(reachable(modules, {name for name, module in modules.items() if module.room == room})):
            problems += [
                f"{name} imports {library}, and tlft.{room} needs it"
                for library in ("hydra", "mlflow")
                if modules[name].uses(library)
            ]
    return list(dict.fromkeys(problems))


def reachable(modules: Mapping[str, Module], names: Iterable[str], *, at_once: bool = False) -> set[str]:
    """Return some modules with all modules of the project that they import, directly or not."""
    pending = list(names)
    reached: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            imports = modules[name].imports_at_once if at_once else modules[name].imports
            pending += imports & modules.keys()
    return reached


def find_large(modules: Mapping[str, Module]) -> list[str]:
    found = []
    packages: dict[str, int] = {}
    for module in modules.values():
        lines = module.path.read_text(encoding="utf-8").count("\n")
        if lines > LARGEST_MODULE:
            found.append(f"{module.name} has {lines} lines: look for its second story")
        if module.room != "command":
            packages[module.room] = packages.get(module.room, 0) + lines
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > LARGEST_FUNCTION:
                    found.append(f"{module.name}.{node.name} has {length} lines: more than a screen")
    limits = {"analysis": LARGEST_ANALYSIS}
    found += [
        f"{room} has {lines} lines" for room, lines in packages.items() if lines > limits.get(room, LARGEST_PACKAGE)
    ]
    return found


CHECKS = (find_wrong_arrows, find_circle, find_wrong_libraries, find_large)


@pytest.fixture(scope="module")
def house() -> dict[str, Module]:
    found = modules_in(PROJECT)
    assert len(found) > 80
    assert {module.room for module in found.values()} == {room for floor in FLOORS for room in floor}
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_the_house_keeps_its_rules(house: dict[str, Module], check: object) -> None:
    assert callable(check)
    assert check(house) == []


def test_what_a_skipped_run_imports_is_light() -> None:
    """Neither PyTorch nor MLflow nor pandas is there before somebody needs it."""
    heavy = ("torch", "torchvision", "timm", "mlflow", "pandas", "scipy", "sklearn", "matplotlib")
    names = "tlft.runs.hydra_job, tlft.sweeps.execute, tlft.sweeps.summary, tlft.planning.plan, analysis.table"
    program = f"import sys, {names}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_logged_model_takes_with_it_what_it_imports_and_requires_the_rest(house: dict[str, Module]) -> None:
    for name in reachable(house, ["tlft.inference.classifier"]):
        place = house[name].path.relative_to(PROJECT / "tlft")
        assert place.parts[0] in CARRIED, f"{name} is not among what a model takes with it"
    distributions = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
    for name in reachable(house, ["tlft.inference.classifier"], at_once=True):
        libraries = {imported.partition(".")[0] for imported in house[name].imports_at_once}
        required = {distributions.get(library, library) for library in libraries - {"tlft"} - sys.stdlib_module_names}
        assert required <= {*REQUIRED}, f"{name} imports what a model does not require"


def build(root: Path, **sources: str) -> dict[str, Module]:
    """Make a house of some modules, named with `__` for the dot."""
    for name, source in sources.items():
        path = root / Path(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return modules_in(root)


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("from tlft.runs import experiment", "tlft__runs__experiment"),
        ("def f():\n    from tlft.runs.experiment import x", "tlft__runs__experiment"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tlft.planning.plan", "tlft__planning__plan"),
        ("from analysis.rows import Row", "analysis__rows"),
        ("import tlft.clean", "tlft__clean"),
        ("import bench.pairs", "bench__pairs"),
    ],
)
def test_an_arrow_upwards_is_found_wherever_it_stands(tmp_path: Path, source: str, imported: str) -> None:
    house = build(tmp_path, tlft__data__dataset=source, **{imported: ""})
    (problem,) = find_wrong_arrows(house)
    assert problem.startswith(f"tlft.data.dataset (data) imports {imported.replace('__', '.')}")


def test_a_room_without_a_floor_is_found(tmp_path: Path) -> None:
    (problem,) = find_wrong_arrows(build(tmp_path, tlft__utils__all="import tlft.errors", tlft__errors=""))
    assert problem == "tlft.utils.all stands in a room that has no floor: name it in FLOORS"


def test_rooms_of_one_floor_do_not_import_each_other(tmp_path: Path) -> None:
    house = build(tmp_path, tlft__training__loop="import tlft.evaluation.metrics", tlft__evaluation__metrics="")
    assert len(find_wrong_arrows(house)) == 1


def test_arrows_downwards_and_within_a_room_are_right(tmp_path: Path) -> None:
    house = build(
        tmp_path,
        run="from tlft.planning import plan",
        tlft__planning__plan="from tlft.planning.jobs import Job\nfrom tlft import errors",
        tlft__planning__jobs="import tlft.data.dataset",
        tlft__data__dataset="",
        tlft__errors="",
    )
    assert [check(house) for check in CHECKS] == [[], [], [], []]


def test_a_circle_is_found_also_between_functions(tmp_path: Path) -> None:
    house = build(
        tmp_path,
        tlft__runs__a="def f():\n    from tlft.runs import b",
        tlft__runs__b="from tlft.runs.c import x",
        tlft__runs__c="import tlft.runs.a",
    )
    (circle,) = find_circle(house)
    assert {"tlft.runs.a", "tlft.runs.b", "tlft.runs.c"} <= set(circle.split(" -> "))


@pytest.mark.parametrize(
    ("name", "source", "problem"),
    [
        ("tlft__runs__experiment", "def f():\n    import mlflow.pyfunc", "imports mlflow"),
        ("tlft__runs__experiment", "import importlib\nimportlib.import_module('mlflow')", "imports mlflow"),
        ("tlft__clean", "import hydra", "imports hydra"),
        ("tlft__runs__experiment", "from hydra import _internal", "private modules"),
        ("tlft__tracking__store", "def f():\n    import timm", "imports torch, torchvision or timm"),
        ("tlft__runtime__device", "import torch", "before it needs it"),
        ("tlft__data__dataset", "from hydra.core import x", "imports hydra"),
        ("tlft__config__compose", "from hydra._internal.utils import x", "private modules"),
        ("tlft__terminal__progress", "def f():\n    import torch", "imports torch"),
        ("tlft__config__schema", "import torch.nn", "imports torch"),
        ("analysis__table", "from torch import nn", "imports torch"),
        ("analysis__table", "def f():\n    from tlft.training import loop", "imports what trains"),
    ],
)
def test_a_library_in_the_wrong_room_is_found(tmp_path: Path, name: str, source: str, problem: str) -> None:
    assert problem in find_wrong_libraries(build(tmp_path, **{name: source}))[0]


def test_hydra_behind_what_a_notebook_imports_is_found(tmp_path: Path) -> None:
    house = build(
        tmp_path, tlft__models__build="import tlft.config.schema", tlft__config__schema="from hydra import compose"
    )
    assert find_wrong_libraries(house) == ["tlft.config.schema imports hydra, and tlft.models needs it"]


def test_what_is_large_is_found(tmp_path: Path) -> None:
    long = "def f():\n" + "    x = 1\n" * LARGEST_FUNCTION
    house = build(
        tmp_path, tlft__data__long=long, **{f"tlft__data__part{n}": "x = 1\n" * LARGEST_MODULE for n in range(8)}
    )
    assert find_large(house) == ["tlft.data.long.f has 61 lines: more than a screen", "data has 2701 lines"]
    house = build(tmp_path / "other", tlft__data__long="x = 1\n" * (LARGEST_MODULE + 1))
    assert find_large(house) == ["tlft.data.long has 331 lines: look for its second story"]
