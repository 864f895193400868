"""`tlft completion SHELL`: print what makes a shell complete `tlft`, which then asks here what may follow.

The groups, options and keys of `tlft run` are Hydra's to tell, which reads them from the configuration.
"""

from __future__ import annotations

import sys
from argparse import Action, ArgumentParser
from collections.abc import Iterable, Sequence
from importlib import import_module

from tlft.commands import COMMANDS
from tlft.terminal.command_line import command_parser

_QUERY = "query"  # the first word of such a question

_BASH = """\
_tlft_completion() {
    local IFS=$'\\n'
    COMPREPLY=($(tlft completion query "${COMP_LINE:0:$COMP_POINT}" 2> /dev/null))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _tlft_completion tlft
"""
_SCRIPTS = {
    "bash": _BASH,
    "zsh": f"autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n{_BASH}",
    "fish": """\
complete -c tlft -n 'not __fish_seen_subcommand_from predict data' -f
complete -c tlft -a '(tlft completion query (commandline -cp | string collect) 2> /dev/null | string trim -r)'
""",
}
_EXAMPLES = """\
  eval "$(tlft completion bash)"       in ~/.bashrc
  eval "$(tlft completion zsh)"        in ~/.zshrc
  tlft completion fish | source        in ~/.config/fish/config.fish
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Print a shell's script, or what may follow what was typed; nothing else, since a shell asks as it starts."""
    typed = list(sys.argv[1:] if argv is None else argv)
    if typed[:1] == [_QUERY]:
        words = candidates(*typed[1:2])
        # What ends with one of these has more behind it.
        print(*(f"{word}{'' if word.endswith(('=', '.', '/')) else ' '}" for word in words), sep="\n")
    else:
        print(_SCRIPTS[build_parser().parse_args(typed).shell], end="")
    return 0


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options; what shells ask with is no word for people."""
    parser = command_parser("completion", "Complete commands, groups and keys in your shell.", _EXAMPLES)
    parser.add_argument("shell", choices=[*_SCRIPTS])
    return parser


def candidates(line: str = "tlft ") -> list[str]:
    """Return the words that may stand where a command line ends, which begin with what of its last word is there."""
    _, *words = line.split() or [""]
    word = "" if line.endswith(" ") or not words else words.pop()
    if not words:
        return [name for name in COMMANDS if name.startswith(word)]
    name, *before = words
    if name not in COMMANDS:
        return []
    if name == "run":
        from tlft.config.hydra_internals import argument_parser, complete_overrides
        from tlft.config.typed import register
        from tlft.config.validate import choices_of

        if not word.startswith("-"):
            key, equals, value = word.partition("=")
            if equals and (choices := choices_of(key)):
                return [f"{key}={choice}" for choice in choices if choice.startswith(value)]
            register()
            return complete_overrides(" ".join([*before, word]))
        parser = argument_parser()
    else:
        parser = import_module(COMMANDS[name][0]).build_parser()
    return [text for text in _options(parser._actions, before[-1:]) if text.startswith(word)]


def _options(actions: Iterable[Action], previous: Sequence[str]) -> list[str]:
    """Return what an option that was typed before may be set to, or all options."""
    by_name = {name: action for action in actions for name in action.option_strings}
    typed = by_name.get(previous[0]) if previous else None
    if typed is not None and typed.nargs != 0:
        return [str(choice) for choice in typed.choices or ()]
    positional = [str(choice) for action in actions if not action.option_strings for choice in action.choices or ()]
    return [*positional, *(name for name in by_name if name.startswith("--"))]


if __name__ == "__main__":
    sys.exit(main())
