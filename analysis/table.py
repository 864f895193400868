"""Regenerate the comparison table from the runs that MLflow keeps."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from tlft.terminal.greeting import begin

if __name__ == "__main__":
    begin()

from analysis.comparison_table import Table
from analysis.footnotes import footnotes
from analysis.query import STATS, TableQuery, add_table_options, load_table
from analysis.render import FORMATS, render
from tlft.names import Metric
from tlft.storage.files import atomic_write
from tlft.terminal.command_line import add_out, command_parser, exit_status, refuse_folder, typed_command

_EXAMPLES = """\
  python -m analysis.table                                     what there is, on the terminal
  python -m analysis.table --published                         beside the published figures
  python -m analysis.table --data hymenoptera --arch resnet50  some of it
  python -m analysis.table --columns all                       linear probes and others too
  python -m analysis.table --metric holdout/accuracy           to choose a recipe by
  python -m analysis.table --stats full                        every comparison, calibration, recall
  python -m analysis.table --out table.md                      a file; its ending says the format
  python -m analysis.table --format json                       for programs
"""
_ENDINGS = {".md": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if the store fails; 2 if there is nothing to show."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = build_parser().parse_args(argv)
    command = typed_command("table", argv)
    return exit_status(lambda: _write(load_table(TableQuery.from_arguments(arguments), command)[0], arguments))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser("table", "Regenerate the comparison table from the runs that MLflow keeps.", _EXAMPLES)
    add_table_options(parser)
    parser.add_argument("--metric", default=Metric.ACCURACY, help=f"the figure of a cell (default: {Metric.ACCURACY})")
    parser.add_argument(
        "--stats",
        choices=STATS,
        default="short",
        help="intervals and paired comparisons: of the fullest row (short, the default), or of all, with calibration",
    )
    parser.add_argument("--format", choices=FORMATS, help="default: by the ending of FILE, else terminal")
    add_out(parser)
    return parser


def _write(table: Table, arguments: Namespace) -> int:
    out: Path | None = arguments.out
    format = arguments.format or (_ENDINGS.get(out.suffix, "terminal") if out else "terminal")
    text = render(table, format)
    if format == "csv":  # which has no place for what must be said
        print(*footnotes(table), sep="\n", file=sys.stderr)
    if out is None:
        print(text)
    else:
        refuse_folder(out)
        atomic_write(out, f"{text}\n".encode())
        print(f"wrote {out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
