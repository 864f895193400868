"""What a person sees on a terminal of 80 columns."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY_ARCH
from screen import Terminal

from tlft.commands import COMMANDS
from tlft.config.paths import PROJECT

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


def telling_terminal(tmp_path: Path, *arguments: str) -> Terminal:
    """Begin a command that tells of each import that takes time."""
    (tmp_path / "sitecustomize.py").write_text(TELLS_OF_IMPORTS)
    return Terminal(*arguments, env={"PYTHONPATH": str(tmp_path), "TLFT_HOME": str(tmp_path / "home")}, width=80)


def first_line(tmp_path: Path, *arguments: str) -> str:
    """Return what stands first on the terminal."""
    _, lines = telling_terminal(tmp_path, *arguments).end()
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


NEW_NETWORK = ("data=demo", "arch=timm", "arch.name=resnet18", "model=scratch")


@pytest.mark.parametrize(
    ("arguments", "begun", "said"),
    [
        (("run.py", *NEW_NETWORK), "loading", INTERRUPTED),
        (("run.py", *NEW_NETWORK), "importing torch", INTERRUPTED),
        (("run.py", "-m", *NEW_NETWORK), "importing torch", INTERRUPTED),
        (("-m", "tlft", "run", *NEW_NETWORK), "loading", INTERRUPTED),
        (("-m", "tlft", "table"), "loading", "interrupted"),
        (("-m", "tlft", "models", "resnet"), "importing torch", "interrupted"),
        (("-m", "analysis.table"), "loading", "interrupted"),
        (("-m", "analysis.report"), "importing pandas", "interrupted"),
    ],
)
def test_ctrl_c_while_libraries_are_loaded_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], begun: str, said: str
) -> None:
    terminal = telling_terminal(tmp_path, *arguments)
    terminal.read_until(begun)
    terminal.press("\x03")
    status, lines = terminal.end()
    own = [line for line in lines if line and not line.startswith(("importing ", "loading ", "data: "))]
    assert (status, own) == (130, [said])


def test_a_run_and_a_shell_that_asks_hear_what_they_heard(tmp_path: Path) -> None:
    run = ("-m", "tlft", "run", "seed=abc")
    assert first_line(tmp_path, *run) == "loading the libraries and reading the configuration ..."
    assert first_line(tmp_path, "-m", "tlft", "completion", "bash") == "_tlft_completion() {"
    assert "loading" not in first_line(tmp_path, "-m", "tlft", "table", "--help")


@pytest.mark.parametrize("kind", ["job_logging", "hydra_logging"])
def test_what_an_interrupted_library_tells_of_itself_is_not_shown(kind: str) -> None:
    """PyTorch tells of its caches as a process ends, and keeps that to itself only once it is imported to its end."""
    program = """\
import logging.config, sys, yaml

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if hasattr(sys.modules.get("torch._subclasses.fake_tensor"), "dump_cache_stats"):
            raise KeyboardInterrupt

config = yaml.safe_load(open(f"conf/hydra/{sys.argv[1]}/tlft.yaml"))
config["handlers"].pop("file", None)
config["root"]["handlers"] = ["console"]
logging.config.dictConfig(config)
sys.meta_path.insert(0, Interrupting())
try:
    import torch
except KeyboardInterrupt:
    logging.getLogger("tlft").info("a line of ours")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, kind], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("a line of ours\n", "")
