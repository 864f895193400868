"""Every console line of README and docs does what it says: it is run, or a comment before its block says what it needs.

A line is run as it stands, in a home that holds a few small runs, with four exceptions. `python run.py` would compute
for hours: `plan=true` is put behind it, which checks everything and computes nothing (with `from_run` it is run).
`make` is run dry. Words such as RUN stand for what is there. And where a line has nothing for a shell, `python` is
forked from a process that has the imports done.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import TINY_ARCH, draw_folder, run_py
from documents import PAGES, blocks
from PIL import Image
from warm import WarmCommand

from tlft.config.paths import PROJECT

RECIPE = ("model=scratch", *TINY_ARCH, "training.epochs=1", "training.batch_size=8", "data.holdout_fraction=0.25")


@dataclass(frozen=True)
class Place:
    """Where lines are run: a home, in which a user also types; the words that stand for something in it."""

    home: Path
    words: dict[str, str]
    photographs: Path

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a line, and return its status and what it said."""
        for word, meaning in self.words.items():
            command = re.sub(rf"\b{word}\b", meaning, command)
        arguments = shlex.split(command, comments=True)
        shell = re.search(r"[|<>&;$]", re.sub(r"'[^']*'|\"[^\"]*\"", "", command)) is not None
        if arguments[0] == "make":
            return self._run(["make", "--dry-run", "--directory", str(PROJECT), *arguments[1:]])
        if arguments[0] == "tlft" and not shell:
            return self._start(arguments[1:], "tlft")
        if arguments[0] not in ("python", ".venv/bin/python") or shell:
            return self._run(["bash", "-e", "-o", "pipefail", "-c", command])
        if arguments[1] == "-m":
            return self._start(arguments[3:], arguments[2])
        assert arguments[1] == "run.py"
        planned = any(argument.startswith("from_run=") for argument in arguments) or "plan=true" in arguments
        return self._start([*arguments[2:], *(() if planned else ("plan=true",))])

    @property
    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        names = {"TLFT_HOME": str(self.home), "TLFT_HYMENOPTERA": str(self.photographs), "PYTHONPATH": str(PROJECT)}
        return {**os.environ, "PATH": path, **names}

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.home, env=self._environment, capture_output=True, text=True)

    def _start(self, arguments: list[str], module: str | None = None) -> subprocess.CompletedProcess[str]:
        command = WarmCommand(arguments, self._environment, self.home, module=module)
        said = command.communicate()
        assert command.returncode is not None
        return subprocess.CompletedProcess(arguments, command.returncode, *said)


def draw_nests(root: Path) -> Path:
    """Draw images of two classes, two of each nest, as `ants/ants0_1.png`."""
    for path in list(draw_folder(root).glob("*/*/*.png")):
        number = int(path.stem)
        path.rename(path.with_name(f"{path.parent.name}{path.parts[-3]}{number // 2}_{number % 2}.png"))
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a home with two runs that are alike and two that are another, and files that lines name."""
    home = tmp_path_factory.mktemp("documents")
    photographs = draw_nests(home / "insects")
    pets = home / "pets"
    for split in ("train", "val"):
        for insects, name in (("ants", "cats"), ("bees", "dogs")):
            shutil.copytree(photographs / split / insects, pets / split / name)
    for name in ("photo", "photos/ants/0", "photos/bees/1", "more/2"):
        path = home / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(next(photographs.glob("val/ants/*.png"))).save(path)
    (home / "FILE.yaml").write_text("cats: [tabby]\ndogs: [207]\n")
    listed = [f"{path.relative_to(home)},{path.parts[-2]},{path.parts[-3]}" for path in photographs.rglob("*.png")]
    (home / "labels.csv").write_text("\n".join(["path,label,split", *sorted(listed)]))
    ids = []
    for more in ("force=false", "force=true", "data.train_fraction=0.5", "training.epochs=2"):
        env = {"TLFT_HYMENOPTERA": str(photographs)}
        done = run_py(*RECIPE, more, home=home, env=env)
        assert done.returncode == 0, done.stderr
        ids.append(re.findall(r", run ([0-9a-f]{8}),", done.stdout)[-1])
    words = {
        "RUN": ids[0],
        "OTHER": ids[1],
        "FOLDER": "insects",
        "CLASSES": "insects/train",
        "PETS": "pets",
        "MANIFEST": "labels.csv",
    }
    return Place(home, words, photographs)


def different_lines() -> dict[str, str]:
    """Return the lines that are to be run, each once, by where it first stands."""
    lines: dict[str, tuple[str, str]] = {}
    for path in PAGES:
        for block in blocks(path.read_text(encoding="utf-8")):
            if block.language == "console" and block.needs is None:
                for number, command in block.commands():
                    alike = command.removeprefix(".venv/bin/").removesuffix(" plan=true")
                    lines.setdefault(alike, (f"{path.name}:{number}", command))
    return dict(lines.values())


LINES = different_lines()


@pytest.mark.parametrize("command", LINES.values(), ids=LINES)
def test_a_console_line_does_what_it_says(place: Place, command: str) -> None:
    done = place.run(command)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    "command",
    [
        "python run.py sweep=comparision",
        "python run.py sweep=comparison optimizer.learning_rate=0.1",
        "python -m analysis.tables",
        "python -m analysis.table --statistics full",
        "python -m tlft.predict RUN nowhere/ > predictions.csv",
        "make pudding",
        "mlflow uii",
    ],
)
def test_a_line_that_is_wrong_is_found(place: Place, command: str) -> None:
    assert place.run(command).returncode != 0
