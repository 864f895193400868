"""What a person sees on a terminal of 80 columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import TINY_ARCH
from screen import Terminal

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
