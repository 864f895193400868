"""Measure: `python -m bench`, or `make bench`."""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from bench import decoding, epochs, planning, probes, tables
from bench.page import write_page
from bench.pairs import SMALL, Comparison, Figure, Sizes, measure, ratio_of
from bench.results import FOLDER, PAGE, PICTURE, raw_of, write_raw, write_results
from tlft.errors import ConfigurationError, nearest
from tlft.terminal.command_line import exit_status

COMPARISONS = tuple(each for module in (epochs, probes, decoding, tables, planning) for each in module.comparisons())


def figures() -> list[Figure]:
    """Return every figure, in the order of the table."""
    return [figure for comparison in COMPARISONS for figure in comparison.figures]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = ArgumentParser(prog="python -m bench", description="Measure ratios of times, side by side.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures, or how their names begin; default: all")
    parser.add_argument(
        "--pairs", type=int, default=5, metavar="N", help="rounds, in which each side is measured once (5)"
    )
    parser.add_argument("--small", action="store_true", help="small sizes, to see that all works; nothing is kept")
    parser.add_argument("--list", action="store_true", help="list the figures, and measure nothing")
    parser.add_argument("--page", action="store_true", help="make table and picture of what was measured before")
    arguments = parser.parse_args(argv)
    if arguments.list:
        print("\n".join(f"{figure.name}: {figure.meaning}" for figure in figures()))
        return 0
    if arguments.page:
        return exit_status(_write)
    return exit_status(lambda: _measure(arguments.names, arguments.pairs, SMALL if arguments.small else None))


def _measure(names: Sequence[str], pairs: int, small: Sizes | None) -> int:
    """Measure what is asked for; raw files are written when all of their set are there, the rest when all is."""
    if pairs < 1:
        raise ConfigurationError(f"--pairs {pairs}: give 1 or more")
    refuse_unknown(names)
    for comparison in COMPARISONS:
        if chosen := comparison.chosen(names):
            seconds = _measure_one(comparison, chosen, pairs, small or Sizes())
            for figure in chosen:
                ratio = ratio_of(seconds[figure.theirs], seconds[figure.ours])
                print(f"{figure.name}: {ratio.median:.3g} ({ratio.min:.3g} to {ratio.max:.3g}, {ratio.n} pairs)")
            if small is None:
                write_raw(raw_of(figure, seconds) for figure in chosen)
    return 0 if small is not None else _write()


def refuse_unknown(names: Sequence[str]) -> None:
    """Raise ConfigurationError for names that no figure begins with."""
    every = [figure.name for figure in figures()]
    unknown = [name for name in names if not any(f"{each}/".startswith(f"{name}/") for each in every)]
    if unknown:
        raise ConfigurationError(f"{name}: no such figure{nearest(name, every)}" for name in unknown)


def _measure_one(comparison: Comparison, chosen: Sequence[Figure], pairs: int, sizes: Sizes) -> dict[str, list[float]]:
    """Measure the sides of some figures of a comparison, in a folder of its own that is gone afterwards."""
    print(f"{', '.join(figure.name for figure in chosen)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tlft-bench-") as folder:
        sides = comparison.prepare(Path(folder), sizes)
        needed = {name for figure in chosen for name in (figure.theirs, figure.ours)}
        needed_sides = {name: side for name, side in sides.items() if name in needed}
        return measure(needed_sides, pairs, lambda line: print(line, flush=True))


def _write() -> int:
    write_page(write_results(), figures(), PAGE, PICTURE)
    print(f"wrote {FOLDER / 'results.json'}, {PAGE} and {PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
