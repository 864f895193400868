"""`python -m tlft.models [PATTERN]`: the networks that there are, by name, and the weights published for them."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict

from tlft.terminal.greeting import begin

if __name__ == "__main__":
    begin()

from tlft.errors import ConfigurationError, nearest
from tlft.models.catalogue import LIBRARIES, Network, PublishedWeights, describe_network, find_networks
from tlft.models.spec import list_networks
from tlft.terminal.command_line import command_parser, exit_status
from tlft.terminal.progress import progress
from tlft.terminal.text_table import in_columns, render_table, width_of_output

_MOST = 40
"""Networks that are described; of more the names are listed, since each takes up to a second."""

_EXAMPLES = """\
  python -m tlft.models resnet                 all whose names have the word in them
  python -m tlft.models 'vit_*_patch16_224'    a pattern of the shell
  python -m tlft.models --library torchvision  the names of one library's networks
  python -m tlft.models convnext_tiny --format json
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 2 if no network has such a name."""
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _show(arguments))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser(
        "models",
        f"List networks by name. Of up to {_MOST} it tells parameters, multiply-adds of an image, and the weights that "
        "there are, with their top-1 accuracy on ImageNet where the library says it.",
        _EXAMPLES,
    )
    parser.add_argument("pattern", nargs="?", default="", metavar="PATTERN", help="a word, or a pattern of the shell")
    parser.add_argument("--library", choices=LIBRARIES, help="default: both")
    parser.add_argument("--format", choices=("terminal", "json"), default="terminal")
    return parser


def _show(arguments: Namespace) -> int:
    libraries = (arguments.library,) if arguments.library else LIBRARIES
    names = find_networks(arguments.pattern, libraries)
    if not names:
        every = [name for library in libraries for name in list_networks(library)]
        raise ConfigurationError(f"{arguments.pattern}: no network has such a name{_nearest(arguments.pattern, every)}")
    if len(names) > _MOST:
        return _list_names(names, arguments.format)
    networks = []
    with progress("looking at networks", len(names), "networks") as advance:
        for library, name in names:
            networks.append(describe_network(library, name))
            advance(1)
    if arguments.format == "json":
        print(json.dumps([asdict(network) for network in networks], indent=1))
    else:
        print(_as_table(networks))
    return 0


def _nearest(pattern: str, names: Sequence[str]) -> str:
    """Return `; did you mean X?` for a name or a word of names; first for one that the pattern abbreviates."""
    words = sorted({word for name in names for word in (name, *name.split("_"))}, key=len)
    letters = re.compile(".*".join(map(re.escape, pattern.lower())))
    abbreviated = (word for word in words if word[:2] == pattern[:2].lower() and letters.match(word))
    return next((f"; did you mean {word}?" for word in abbreviated), "") or nearest(pattern, words)


def _list_names(names: Sequence[tuple[str, str]], format: str) -> int:
    if format == "json":
        print(json.dumps([{"library": library, "name": name} for library, name in names], indent=1))
        return 0
    for library in dict.fromkeys(library for library, _ in names):
        of_library = [name for other, name in names if other == library]
        print(f"{library}: {len(of_library)} networks (arch={library} arch.name=NAME)\n{in_columns(of_library)}\n")
    print(f"a narrower PATTERN, of at most {_MOST} networks, tells more of each")
    return 0


def _as_table(networks: Sequence[Network]) -> str:
    rows = [
        [
            network.name,
            network.library,
            "-" if network.parameters is None else f"{network.parameters / 1e6:.1f} M",
            "-" if network.multiply_adds is None else f"{network.multiply_adds / 1e9:.2f} G",
            "\n".join(map(_describe, network.weights)) or "none: model=scratch",
        ]
        for network in networks
    ]
    titles = ("arch.name", "arch", "parameters", "mult-adds", "model.weights")
    table = render_table(titles, rows, right=("parameters", "mult-adds"))
    note = "*: model.weights=auto; the accuracy is top-1 on ImageNet, where the library tells it"
    return f"{table}\n{textwrap.fill(note, width_of_output())}"


def _describe(weights: PublishedWeights) -> str:
    accuracy = "" if weights.accuracy is None else f" {100 * weights.accuracy:.1f}\N{NO-BREAK SPACE}%"
    classes = "" if weights.num_classes == 1000 else f", {weights.num_classes or 'no'} classes"
    place = ", on disk" if weights.on_disk else ""
    return f"{weights.name}{'*' if weights.is_default else ''}{accuracy} at {weights.size} px{classes}{place}"


if __name__ == "__main__":
    sys.exit(main())
