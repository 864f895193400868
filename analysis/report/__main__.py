"""`python -m analysis.report`: make one HTML page of what the runs in MLflow show."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace

from tlft.terminal.greeting import begin

if __name__ == "__main__":
    begin()

from analysis.query import TableQuery, add_table_options, load_table
from analysis.report.material import collect
from analysis.report.page import render_report, title_of
from tlft.storage.files import atomic_write
from tlft.terminal.command_line import add_out, command_parser, exit_status, refuse_folder, typed_command

_EXAMPLES = """\
  python -m analysis.report                             report.html, from the runs that MLflow keeps
  python -m analysis.report --data hymenoptera          some of them
  python -m analysis.report --columns all --out all.html
  python -m analysis.report --x data.train_fraction     with a picture along a setting
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if the store fails; 2 if there is nothing to show."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _write(arguments, typed_command("report", argv)))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser(
        "report",
        "Make one HTML page of what the runs in MLflow show: it needs no network and nothing beside it.",
        _EXAMPLES,
    )
    add_table_options(parser)
    parser.add_argument("--x", metavar="KEY", help="show all columns along a setting too, as analysis.curve does")
    add_out(parser, "report.html")
    return parser


def _write(arguments: Namespace, command: str) -> int:
    refuse_folder(arguments.out)
    columns = {} if arguments.x is None else {"columns": "all"}  # stages, say, are columns
    table, reader = load_table(TableQuery.from_arguments(arguments, **columns), command)
    table = replace(table, full=len(table.rows) > 1)
    material = collect(table, reader, arguments.uri, along=arguments.x)
    page = render_report(material, title_of(arguments.experiment, table)).encode()
    atomic_write(arguments.out, page)
    print(f"wrote {arguments.out} ({len(page) / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
