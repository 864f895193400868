"""A wheel holds every package with its data, and works where the checkout is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from conftest import TINY_ARCH, copy_project

from tlft.config.paths import PROJECT

IMPORT_ALL = """
import importlib, pkgutil, sys
import analysis, hydra_plugins, tlft
packages = (tlft, analysis, hydra_plugins)
names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names), *{list(p.__path__)[0] for p in packages})
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of a new environment with the wheel, which takes other packages from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    project = copy_project(folder / "project")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(folder)]
    subprocess.run([*build, str(project)], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "fresh", symlinks=True)
    python = folder / "fresh" / "bin" / "python"
    (site,) = (folder / "fresh").glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files do not count
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--quiet", str(wheel)]
    subprocess.run(install, check=True, cwd=folder)
    return python


def test_every_module_is_in_the_wheel_and_can_be_imported(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run([installed, "-c", IMPORT_ALL], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, *folders = done.stdout.split()
    sources = [p for top in ("tlft", "analysis", "hydra_plugins") for p in (PROJECT / top).rglob("*.py")]
    tops = 2  # `tlft` and `analysis` themselves; the plugins' package has no file of its own
    assert int(count) == len(sources) - tops
    site = str(installed.parents[1])
    assert len(folders) == 3 and all(folder.startswith(site) for folder in folders)


def test_commands_and_their_data_are_there(installed: Path, tmp_path: Path) -> None:
    shown = subprocess.run([installed, "-m", "analysis.table", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "python -m analysis.table --published" in shown.stdout
    program = "from tlft.data.class_map import class_names; from analysis.html_page import render_page; "
    program += "print(len(class_names())); import analysis, pathlib; "
    program += "print(len(list((pathlib.Path(analysis.__file__).parent / 'templates').iterdir())))"
    done = subprocess.run([installed, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1000", str(len(list((PROJECT / "analysis" / "templates").iterdir())))]


def test_an_installed_tlft_works_in_an_empty_folder(installed: Path, tmp_path: Path, tiny_folder: Path) -> None:
    """Its groups and keys are within the wheel, and all that is written lies where the command is typed."""
    tlft, folder = installed.with_name("tlft"), tmp_path / "empty"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("TLFT_HOME", "PYTHONPATH")}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([tlft, *arguments], cwd=folder, env=environment, capture_output=True, text=True)

    tiny = ("data=imagefolder", f"data.root={tiny_folder}", *TINY_ARCH, "model=scratch", "training.epochs=1")
    swept = call("run", "-m", *tiny, "seed=0,1", "hydra/launcher=parallel")
    assert swept.returncode == 0, swept.stderr
    table = call("table", "--format", "json")
    assert table.returncode == 0, table.stderr
    (row,) = json.loads(table.stdout)["rows"]
    assert row["cells"]["from_scratch"]["n"] == 2
    assert {path.name for path in folder.iterdir()} == {"cache", "checkpoints", "mlflow.db", "mlruns", "multirun"}
    assert "2 jobs: 2 done before" in call("run", "-m", *tiny, "seed=0,1", "plan=true").stdout
    wrong = call("run", "sedd=1")
    assert (wrong.returncode, wrong.stderr) == (2, "sedd=1: no such key; did you mean seed?\n")
    assert "tlft run -m" in call("run", "seed=0,1").stderr
