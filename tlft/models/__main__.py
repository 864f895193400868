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
from tlft.terminal.text_table import render_table, width_of_output

_MOST = 40
"""Networks of which parameters and multiply-adds are counted, which takes up to a second each."""

_EXAMPLES = """\
  python -m tlft.models resnet                 all whose names have the word in them
  python -m tlft.models 'vit_*_patch16_224'    a pattern of the shell
  python -m tlft.models --library torchvision  all networks of one library
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
        "List networks by name, and the weights that there are, with their image size and whether they are on disk; of "
        f"up to {_MOST} also parameters and multiply-adds of an image. The top-1 accuracy on ImageNet is told of "
        "torchvision's weights: timm's package has none.",
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
    counted = len(names) <= _MOST
    networks = []
    with progress("looking at networks", len(names), "networks") as advance:
        for library, name in names:
            networks.append(describe_network(library, name, counted=counted))
            advance(1)
    if arguments.format == "json":
        print(json.dumps([asdict(network) for network in networks], indent=1))
    else:
        print(_as_table(networks, counted=counted))
    return 0


def _nearest(pattern: str, names: Sequence[str]) -> str:
    """Return `; did you mean X?` for a name or a word of names; first for one that the pattern abbreviates."""
    words = sorted({word for name in names for word in (name, *name.split("_"))}, key=len)
    letters = re.compile(".*".join(map(re.escape, pattern.lower())))
    abbreviated = (word for word in words if word[:2] == pattern[:2].lower() and letters.match(word))
    return next((f"; did you mean {word}?" for word in abbreviated), "") or nearest(pattern, words)


def _as_table(networks: Sequence[Network], *, counted: bool) -> str:
    rows = [
        [
            network.name,
            network.library,
            *(_counts(network) if counted else ()),
            "\n".join(map(_describe, network.weights)) or "none: model=scratch",
        ]
        for network in networks
    ]
    figures = ("parameters", "mult-adds") if counted else ()
    table = render_table(("arch.name", "arch", *figures, "model.weights"), rows, right=figures)
    notes = ["*: model.weights=auto; the accuracy is top-1 on ImageNet: torchvision tells it, timm's package does not"]
    if not counted:
        notes.append(f"parameters and multiply-adds are counted for a PATTERN of at most {_MOST} networks")
    return "\n".join([table, *(textwrap.fill(note, width_of_output()) for note in notes)])


def _counts(network: Network) -> tuple[str, str]:
    parameters, products = network.parameters, network.multiply_adds
    return (
        "-" if parameters is None else f"{parameters / 1e6:.1f} M",
        "-" if products is None else f"{products / 1e9:.2f} G",
    )


def _describe(weights: PublishedWeights) -> str:
    accuracy = "" if weights.accuracy is None else f" {100 * weights.accuracy:.1f}\N{NO-BREAK SPACE}%"
    classes = "" if weights.num_classes == 1000 else f", {weights.num_classes or 'no'} classes"
    place = ", on disk" if weights.on_disk else ""
    return f"{weights.name}{'*' if weights.is_default else ''}{accuracy} at {weights.size} px{classes}{place}"


if __name__ == "__main__":
    sys.exit(main())
