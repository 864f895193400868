"""`tlft COMMAND ...`: one door to all commands, for an installed tlft and for whoever likes it short.

What a command imports is loaded with it alone, so that the list of them is there at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from tlft.commands import COMMANDS, IS_CHECKOUT
from tlft.errors import nearest
from tlft.terminal.greeting import begin

_SAY_THEMSELVES = ("run", "completion")
"""Commands that greet in other words, or are silent since a shell reads them as it starts."""

_HEAD = """\
usage: tlft COMMAND ...

Does a pretrained image network, fine-tuned or not, beat one trained from scratch?

"""
_FOOT = f"""
`tlft COMMAND --help` tells more. Runs, images and weights lie in the folder that
TLFT_HOME names, else in {"the project's own" if IS_CHECKOUT else "the one where a command is typed"}.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do one command and return its exit status; 2 if there is none of the name.

    Raises:
        SystemExit: with the exit status of a command that ends by itself.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_describe(), end="")
        return 0 if words else 2
    if words[0] == "--version":
        print(f"tlft {version('tlft')}")
        return 0
    if words[0] not in COMMANDS:
        print(
            f"tlft {words[0]}: no such command{nearest(words[0], COMMANDS)}; `tlft --help` lists them", file=sys.stderr
        )
        return 2
    sys.argv[:] = [f"tlft {words[0]}", *words[1:]]  # as if the command had been called by itself
    if words[0] not in _SAY_THEMSELVES:
        begin()
    return int(import_module(COMMANDS[words[0]][0]).main() or 0)


def _describe() -> str:
    lines = "".join(f"  {name:<12}{purpose}\n" for name, (_, purpose) in COMMANDS.items())
    return f"{_HEAD}{lines}{_FOOT}"


if __name__ == "__main__":
    sys.exit(main())
