"""What a person sees on a terminal of 80 columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import TINY_ARCH
from screen import Terminal

from tlft.commands import COMMANDS

INTERRUPTED = "interrupted: the same command goes on where it stopped"


@pytest.mark.parametrize(
    ("options", "shown", "states"),
    [
        (("training.epochs=90000",), r"epoch.1/", None),
        (("-m", "seed=0,1", "training.epochs=90000"), r"epoch.2/", ("interrupted", "not started")),
        (
            ("-m", "seed=0,1,2", "training.epochs=90000", "hydra/launcher=parallel", "hydra.launcher.jobs=2"),
            r"job.1:.*loss",
            ("interrupted", "interrupted", "not started"),
        ),
    ],
    ids=["single", "basic", "parallel"],
)
def test_ctrl_c_says_the_same_everywhere_and_leaves_no_bar(
    tmp_path: Path, tiny_folder: Path, options: tuple[str, ...], shown: str, states: tuple[str, ...] | None
) -> None:
    flags = [text for text in options if text.startswith("-")]
    common = ("data=imagefolder", f"data.root={tiny_folder}", "model=scratch", "training.batch_size=6", "threads=1")
    arguments = ["run.py", *flags, *common, *TINY_ARCH, *options[len(flags) :]]
    terminal = Terminal(*arguments, env={"TLFT_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}, width=80)
    terminal.read_until(shown)
    terminal.press("\x03")
    status, lines = terminal.end()
    assert status == 130
    assert lines.count(INTERRUPTED) == 1
    assert [line for line in lines if "━" in line or "^C" in line] == []
    assert sum("loading the libraries" in line for line in lines) == 1
    table = lines[lines.index(INTERRUPTED) :]
    if states is not None:
        assert tuple(re.findall(r"^\d +s\d +(interrupted|not started) ", "\n".join(table), re.MULTILINE)) == states
    for line in lines:
        assert len(line) < 80 or " " not in line


HEAVY = ("torch", "timm", "mlflow", "pandas", "numpy", "scipy", "matplotlib", "sklearn")
TELLS_OF_IMPORTS = f"""\
import sys

class Telling:
    def find_spec(self, name, path=None, target=None):
        if name in {HEAVY}:
            sys.stderr.write(f"importing {{name}}\\n")

sys.meta_path.insert(0, Telling())
"""


def first_line(tmp_path: Path, *arguments: str) -> str:
    """Return what stands first on the terminal of a command that tells of each import that takes time."""
    (tmp_path / "sitecustomize.py").write_text(TELLS_OF_IMPORTS)
    terminal = Terminal(*arguments, env={"PYTHONPATH": str(tmp_path), "TLFT_HOME": str(tmp_path / "home")}, width=80)
    _, lines = terminal.end()
    return lines[0]


NEEDED = {
    "diff": ("00000000", "11111111"),
    "models": ("no_such",),
    "predict": ("00000000", "a.jpg"),
    "register": ("--name", "a"),
}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("run", "completion", "ui")])
@pytest.mark.parametrize("door", ["tlft", "module"])
def test_a_word_comes_before_what_takes_time(tmp_path: Path, name: str, door: str) -> None:
    command = ["-m", "tlft", name] if door == "tlft" else ["-m", COMMANDS[name][0].removesuffix(".__main__")]
    assert first_line(tmp_path, *command, *NEEDED.get(name, ())) == "loading the libraries ..."


def test_a_run_and_a_shell_that_asks_hear_what_they_heard(tmp_path: Path) -> None:
    run = ("-m", "tlft", "run", "seed=abc")
    assert first_line(tmp_path, *run) == "loading the libraries and reading the configuration ..."
    assert first_line(tmp_path, "-m", "tlft", "completion", "bash") == "_tlft_completion() {"
    assert "loading" not in first_line(tmp_path, "-m", "tlft", "table", "--help")
