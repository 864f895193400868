"""What the commands share: options, exit statuses, and readers that have seen enough."""

from __future__ import annotations

import codecs
import io
import json
import os
import shlex
import sys
import textwrap
from argparse import ArgumentParser, ArgumentTypeError, HelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn

from tlft.commands import as_typed, invocation
from tlft.config.addresses import hide_known, hide_password
from tlft.errors import ConfigurationError, TlftError, nearest, without_passwords
from tlft.storage.files import display_name, name_problem
from tlft.terminal.ctrl_c import INTERRUPTED, interrupt_at_ctrl_c, say_at_ctrl_c, status_of_ctrl_c
from tlft.terminal.greeting import greet
from tlft.terminal.line_breaks import fitting


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        if "unrecognized arguments: " in message:
            typed = message.partition(": ")[2].split()[0].partition("=")[0]
            message += nearest(typed, options)
        self.exit(2, f"{self.prog}: {without_passwords(message)}; `{self.prog} --help` lists the options\n")


def command_parser(name: str, description: str, examples: str = "") -> ArgumentParser:
    """Return a parser for one of `COMMANDS`; examples stand at the end of its help, as the command is typed here."""
    return _Parser(
        prog=invocation(name),
        description=textwrap.fill(" ".join(description.split()), 79),
        epilog=f"examples:\n{as_typed(examples)}" if examples else None,
        formatter_class=RawDescriptionHelpFormatter if examples else HelpFormatter,
    )


def add_uri(parser: ArgumentParser, purpose: str = "") -> None:
    """Add the option that names another tracking store than the home's own; `purpose` begins its help."""
    parser.add_argument(
        "--uri",
        type=hide_password,
        help=f"{purpose}tracking store (default: mlflow.db in TLFT_HOME, else in the project folder)",
    )


def add_experiment(parser: ArgumentParser, purpose: str = "") -> None:
    """Add the option that names the experiment in MLflow; `purpose` begins its help."""
    meaning = f"{purpose}experiment in MLflow (default: tlft)"
    parser.add_argument("--experiment", type=_text, default="tlft", metavar="NAME", help=meaning)


def _text(typed: str) -> str:
    if problem := name_problem(typed):
        raise ArgumentTypeError(f"{display_name(typed)}: {problem}")
    return typed


def add_out(parser: ArgumentParser, default: str | None = None) -> None:
    """Add the option that names the file to write; without a default the command writes to standard output."""
    meaning = f"default: {default}" if default else "write a file instead of standard output"
    parser.add_argument("--out", type=Path, default=default, metavar="FILE", help=meaning)


def refuse_folder(out: Path) -> None:
    """Raise ConfigurationError if the file to write is a folder."""
    if out.is_dir():
        raise ConfigurationError(f"--out {out}: is a folder; name a file in it")


_SPELLED = {"±": "+/-", "─": "-"}


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Write letters that an encoding lacks in others: as JSON does, so that what is JSON stays so."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_SPELLED.get(letter) or json.dumps(letter)[1:-1] for letter in letters), error.end


codecs.register_error("tlft_spell", _spell)


def write_to_any_terminal() -> None:
    """Have standard output and error spell what their encoding lacks, and bytes of names that are no text.

    Python's own way is an exception, which would cost a run that is done its last line.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # it is set, and only then fails for a file that has become a pipe since
                stream.reconfigure(errors="tlft_spell")


def print_into(path: str | Path) -> None:
    """From now on append to a file all that this process prints."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def typed_command(name: str, argv: Sequence[str]) -> str:
    """Return one of `COMMANDS` with what was typed behind it as it may be written down, without passwords."""
    return shlex.join([*invocation(name).split(), *(display_name(without_passwords(text)) for text in argv)])


class _Unread:
    """Standard output whose reader may go, as `head` does: what is written after that goes nowhere."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except BrokenPipeError:
            _write_nowhere()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            _write_nowhere()
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Discreet:
    """An output that passes on no password."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(hide_known(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def without_shown_passwords() -> Iterator[None]:
    """Keep passwords out of what others, such as Hydra, write to standard output and error within the block."""
    with redirect_stdout(_Discreet(sys.stdout)), redirect_stderr(_Discreet(sys.stderr)):
        yield


def outlive_reader() -> None:
    """Let work go on when nobody reads standard output any more, as after `python run.py ... | head`."""
    sys.stdout = _Unread(sys.stdout)


def _write_nowhere() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends


def exit_status(command: Callable[[], int]) -> int:
    """Run a command and return its exit status: what it returns; 2 if it was asked for wrongly; 1 if it failed.

    An error of the file system, such as a folder that may not be written to, is a failure in one line; a reader that
    has seen enough, as `head` does, is none. Ctrl-C is one line too, and 130.
    """
    write_to_any_terminal()
    greet()
    try:
        interrupt_at_ctrl_c()
        status = command()
        sys.stdout.flush()
        return status
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except TlftError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say_at_ctrl_c(INTERRUPTED)
        return status_of_ctrl_c()
    except BrokenPipeError:
        _write_nowhere()
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"failed: {where}{error.strerror or error}; give write access, or set TLFT_HOME", file=sys.stderr)
        return 1


def exit_with(error: ConfigurationError) -> NoReturn:
    """Print each problem on a line of its own and leave with status 2."""
    print(fitting(str(error), sys.stderr), file=sys.stderr)
    sys.exit(2)
