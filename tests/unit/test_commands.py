"""The one door to all commands, how each is said to be typed, and what a shell is told of them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from tlft import commands
from tlft.__main__ import main
from tlft.commands import COMMANDS, invocation
from tlft.completion import candidates


@pytest.fixture(autouse=True)
def _restored_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tlft` sets them as if the command had been called by itself."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))


def test_every_command_is_there_and_describes_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name, (module, purpose) in COMMANDS.items():
        assert f"  {name:<12}{purpose}\n" in listed
        assert callable(import_module(module).main)
        if name != "run":
            parser = import_module(module).build_parser()
            assert parser.prog == invocation(name)
            assert parser.description


@pytest.mark.parametrize(
    ("argv", "message"), [(["tabel"], "tlft tabel: no such command; did you mean table?"), ([], "")]
)
def test_what_is_no_command_is_refused(argv: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert message in shown.err if message else "COMMAND" in shown.out


@pytest.mark.parametrize(
    ("typed", "is_checkout", "run", "table"),
    [
        ("run.py", True, "python run.py", "python -m analysis.table"),
        ("tlft run", True, "tlft run", "tlft table"),
        ("tlft run", False, "tlft run", "tlft table"),
        ("/somewhere/analysis/table.py", False, "tlft run", "python -m analysis.table"),
    ],
)
def test_commands_are_named_as_they_were_typed(
    typed: str, is_checkout: bool, run: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [typed])
    monkeypatch.setattr(commands, "IS_CHECKOUT", is_checkout)
    assert (invocation("run"), invocation("table")) == (run, table)


def test_an_example_is_typed_as_the_command_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tlft table"])
    text = import_module("analysis.table").build_parser().format_help()
    assert "  tlft table --published " in text
    assert "python -m" not in text


@pytest.mark.parametrize(
    ("line", "some", "none"),
    [
        ("tlft ", ["run", "table", "completion"], []),
        ("tlft ta", ["table"], ["run"]),
        ("tlft nothing ", [], ["run"]),
        ("tlft run mod", ["model=", "model."], ["head="]),
        ("tlft run model=", ["model=pretrained", "model=scratch"], []),
        ("tlft run -m seed=0,1 optimizer=a", ["optimizer=adam", "optimizer=adamw"], ["optimizer=sgd"]),
        ("tlft run optimizer=adamw optimizer.be", ["optimizer.beta1=", "optimizer.beta2="], []),
        ("tlft run precision=", ["precision=float32", "precision=bfloat16"], []),
        ("tlft run training.flip=f", ["training.flip=false"], ["training.flip=true"]),
        ("tlft run model=run model.keep_head=", ["model.keep_head=true", "model.keep_head=false"], []),
        ("tlft run hydra.launcher.jobs=", [], ["hydra.launcher.jobs=true"]),
        ("tlft run nothing.of.the.kind=", [], []),
        ("tlft run device=c", ["device=cpu", "device=cuda"], ["device=auto"]),
        ("tlft run sweep=", ["sweep=comparison", "sweep=demo"], []),
        ("tlft run --he", ["--help"], ["--cfg"]),
        ("tlft table --st", ["--stats"], ["--out"]),
        ("tlft table --stats ", ["none", "short", "full"], ["--out"]),
        ("tlft table --published ", ["--stats"], ["none"]),
        ("tlft completion ", ["bash", "zsh", "fish"], ["query"]),
        ("tlft run optimizer.", ["optimizer.lr="], ["optimizer.name="]),
        ("tlft run model.n", [], ["model.name="]),
        ("tlft run arch=timm arch.", ["arch.name="], ["arch.library="]),
    ],
)
def test_what_may_follow_is_told(line: str, some: list[str], none: list[str]) -> None:
    told = candidates(line)
    assert set(some) <= set(told)
    assert not set(none) & set(told)
    if not some and not none:
        assert not told


MODELS = ("file", "moments", "pretrained", "run", "scratch", "shuffled")


def test_bash_completes_commands_groups_and_options() -> None:
    """A bash that has read the script asks as it would for a user who presses the tabulator."""
    script = f"""
    eval "$({sys.executable} -m tlft completion bash)"
    tlft() {{ {sys.executable} -m tlft "$@"; }}
    ask() {{
        COMP_LINE=$1 COMP_POINT=${{#1}}
        _tlft_completion
        printf '%s|' "${{COMPREPLY[@]}}"
        echo
    }}
    ask 'tlft ta'; ask 'tlft run model='; ask 'tlft run training.ep'; ask 'tlft table --form'
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    offered = ["table |", " |".join(f"model={name}" for name in MODELS) + " |", "training.epochs=|", "--format |"]
    assert done.stdout.splitlines() == offered


def test_what_shells_ask_with_is_not_shown_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["completion", "--help"], ["completion", "no_shell"]):
        with pytest.raises(SystemExit):
            main(argv)
    shown = capsys.readouterr()
    assert "fish" in shown.out and "fish" in shown.err
    assert "query" not in shown.out + shown.err


def test_the_scripts_of_the_other_shells_ask_too(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("zsh", "fish"):
        assert main(["completion", shell]) == 0
        assert "tlft completion query" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["table", "--colums", "all"], "unrecognized arguments: --colums all; did you mean --columns?; "),
        (["ui", "--port", "abc"], "argument --port: invalid int value: 'abc'; "),
        (["models", "--library", "foo"], "argument --library: invalid choice: 'foo' (choose from"),
        (["register", "7a6a"], "the following arguments are required: --name; "),
    ],
)
def test_a_wrong_option_is_one_line(argv: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert line in said and said.endswith(f"`tlft {argv[0]} --help` lists the options\n")


def test_a_port_that_is_taken_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert main(["ui", "--port", port]) == 2
    assert capsys.readouterr().err == f"--port {port}: is taken by another server; give another number\n"
    assert main(["ui", "--port", port]) == 2
    assert "tlft: no runs of such an experiment" in capsys.readouterr().err


def test_help_is_no_wider_than_a_terminal() -> None:
    for name, (module, _) in COMMANDS.items():
        if name != "run":
            _, _, rest = import_module(module).build_parser().format_help().partition("\n\n")
            description = rest.partition("\n\n")[0]
            assert max(map(len, description.splitlines())) <= 79, name


def test_a_shell_that_asks_as_it_starts_hears_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["completion", "bash"]) == 0
    assert main(["completion", "query", "tlft ta"]) == 0
    assert capsys.readouterr().err == ""


def test_the_script_of_a_shell_is_there_without_the_libraries() -> None:
    program = "import sys, tlft.completion as c; c.main(['bash']); print('hydra' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
