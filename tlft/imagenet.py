"""`python -m tlft.imagenet WORD`: which of ImageNet's 1000 outputs a class of your own may stand for."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict

from tlft.terminal.greeting import begin

if __name__ == "__main__":
    begin()

from tlft.commands import invocation
from tlft.data.class_map import class_names, list_outputs
from tlft.data.wordnet import Synset, search, synsets
from tlft.errors import ConfigurationError, nearest
from tlft.terminal.command_line import command_parser, exit_status
from tlft.terminal.text_table import render_table

_MOST = 30
_TITLES = ("WordNet id", "words", "outputs", "which")

_EXAMPLES = """\
  python -m tlft.imagenet dog             all that is called so, with the outputs that are kinds of it
  python -m tlft.imagenet n02084071       the outputs of one WordNet id
  python -m tlft.imagenet 310             what an output stands for, and what it is a kind of"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 2 if nothing is called so."""
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _show(arguments))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser(
        "imagenet",
        "Look in ImageNet's 1000 classes, and in what WordNet puts above them, for what data.class_map may name: an "
        "output's index, its name, or a WordNet id, which stands for all outputs that are kinds of it.",
        _EXAMPLES,
    )
    parser.add_argument("word", metavar="WORD", help="a word or words, a WordNet id, or the index of an output")
    parser.add_argument("--format", choices=("terminal", "json"), default="terminal")
    return parser


def _show(arguments: Namespace) -> int:
    found = _look_up(arguments.word)
    if arguments.format == "json":
        print(json.dumps([asdict(synset) for synset in found], indent=1))
        return 0
    rows = [[synset.id, ", ".join(synset.words[:3]), *_count(synset)] for synset in found[:_MOST]]
    print(render_table(_TITLES, rows, right=("outputs",), whole=("WordNet id",)))
    if len(found) > _MOST:
        print(f"and {len(found) - _MOST} more; --format json lists all")
    example = next((synset for synset in found if len(synset.outputs) > 1), found[0])
    print(f"\nsuch as: {invocation('run')} experiment=zero_shot 'data.class_map={{CLASS:{example.id}}}'")
    return 0


def _count(synset: Synset) -> tuple[str, str]:
    return str(len(synset.outputs)), list_outputs(synset.outputs, 3)


def _look_up(word: str) -> list[Synset]:
    """Return what is called so, or what an output is a kind of, the narrowest first.

    Raises:
        ConfigurationError: if there is nothing.
    """
    if word.isdecimal():
        if int(word) > 999:
            raise ConfigurationError(f"{word}: the outputs are 0 to 999")
        above = [synset for synset in synsets().values() if int(word) in synset.outputs]
        return sorted(above, key=lambda synset: len(synset.outputs))
    if found := search(word):
        return found
    words = {*class_names(), *(name for synset in synsets().values() for name in synset.words)}
    raise ConfigurationError(f"{word}: nothing above ImageNet's 1000 classes is called so{nearest(word, words)}")


if __name__ == "__main__":
    sys.exit(main())
