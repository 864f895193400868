"""`python -m analysis.curve`: what the runs in MLflow show along one setting, as a picture and in sentences."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from tlft.terminal.greeting import begin

if __name__ == "__main__":
    begin()

from analysis.curve.material import collect_curves
from analysis.narrative import capitalize
from analysis.query import TableQuery, add_run_options, load_table
from tlft.errors import ConfigurationError
from tlft.names import Metric
from tlft.storage.files import atomic_write
from tlft.terminal.command_line import add_out, command_parser, exit_status, refuse_folder, typed_command
from tlft.terminal.line_breaks import fitting

_EXAMPLES = """\
  python -m analysis.curve --x data.train_fraction           after sweep=data_efficiency: curve.png
  python -m analysis.curve --x training.epochs --out up.svg  after sweep=catch_up
  python -m analysis.curve --x model.stages                  after sweep=ladder
  python -m analysis.curve --x arch.name --data hymenoptera  after sweep=architectures
"""
_KINDS = (".png", ".svg")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if the store fails; 2 if no run varies the setting."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _write(arguments, typed_command("curve", argv)))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser(
        "curve", "Draw what the runs in MLflow show along one setting, and say it in sentences.", _EXAMPLES
    )
    add_run_options(parser)
    parser.add_argument("--x", required=True, metavar="KEY", help="the setting, such as data.train_fraction")
    parser.add_argument("--group", metavar="REGEX", help="which images belong together, as data.group does")
    parser.add_argument("--metric", default=Metric.ACCURACY, help=f"the figure (default: {Metric.ACCURACY})")
    add_out(parser, "curve.png")
    return parser


def _write(arguments: Namespace, command: str) -> int:
    out: Path = arguments.out
    refuse_folder(out)
    if out.suffix.lower() not in _KINDS:
        raise ConfigurationError(f"--out {out}: give a file that ends in {' or '.join(_KINDS)}")
    table, reader = load_table(TableQuery.from_arguments(arguments, columns="all"), command)
    curves = collect_curves(table, arguments.x, reader)
    from analysis.curve.drawing import (
        draw_curve,
        numbered,
    )  # matplotlib takes a second, and there may be nothing to draw

    for number, (curve, sentences) in enumerate(curves, start=1):
        for sentence in sentences:
            print(fitting(f"{capitalize(sentence)}.", sys.stdout))
        path = Path(numbered(str(out), number))
        atomic_write(path, draw_curve(curve, path.suffix.lower().removeprefix(".")))
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
