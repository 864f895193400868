"""The comparison table: a row per data set, architecture and recipe, and a column per use of the network.

It is made of records alone; only the command, which fetches them, asks the tracking store.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.columns import order_columns, select_runs
from analysis.correctness import Frames
from analysis.evidence import CellEvidence, Evidence, gather
from analysis.narrative import ACCURACY, head_row, notes, rounded
from analysis.render import FORMATS, render
from analysis.rows import Row, arch_of, build_rows
from analysis.statistics import Interval
from tlft.config.columns import Column, column_of
from tlft.errors import ConfigurationError
from tlft.runtime.command_line import exit_status
from tlft.tracking.records import Record

if TYPE_CHECKING:
    from pandas import DataFrame


__all__ = ["Table", "add_evidence", "build_table", "main", "render"]


@dataclass(frozen=True)
class Table:
    """The comparison, and all that must be said of it.

    Attributes:
        metric: which figure the cells hold.
        columns: the three, then others if they were asked for.
        left_out: reason -> number of runs that are not in the table.
        runs: those that are, the oldest first.
        command: what makes this table again.
        evidence: intervals and comparisons, if they were asked for.
        full: whether all that is known of them is said below the table.
    """

    metric: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    left_out: dict[str, int]
    runs: tuple[Record, ...]
    command: str
    evidence: Evidence | None = None
    full: bool = False

    def evidence_of(self, row: Row, column: str) -> CellEvidence | None:
        """Return what is known of a cell beyond its mean, if it was asked for and its predictions could be read."""
        return self.evidence.cells[self.rows.index(row)].get(column) if self.evidence is not None else None

    def interval(self, row: Row, column: str) -> Interval | None:
        """Return the interval of a cell, if it is known."""
        found = self.evidence_of(row, column)
        return None if found is None else found.interval

    def to_frame(self) -> DataFrame:
        """Return a line per row: `data`, `arch`, `recipe`, then the figures of each column, missing ones as NA."""
        import pandas as pd

        kinds = {"accuracy": "Float64", "std": "Float64", "n": "Int64", "closed_set_accuracy": "Float64"}
        frame = pd.DataFrame({name: [getattr(row, name) for row in self.rows] for name in ("data", "arch", "recipe")})
        for column in self.columns:
            cells = [row.cells.get(column.key) for row in self.rows]
            for name, kind in kinds.items():
                figures = [None if cell is None else getattr(cell, name) for cell in cells]
                frame[f"{column.key}_{name}"] = pd.Series(figures, dtype=kind)
            if self.evidence is not None:
                intervals = [self.interval(row, column.key) for row in self.rows]
                for end in ("low", "high"):
                    ends = [None if found is None else getattr(found, end) for found in intervals]
                    frame[f"{column.key}_{end}"] = pd.Series(ends, dtype="Float64")
        return frame

    @property
    def footnotes(self) -> tuple[str, ...]:
        """What a reader must know to believe the figures, a sentence or two each."""
        notes = [
            f"Figures: {self.metric}{_spread(self.rows)}.",
            self._closed_set() if self.metric == ACCURACY else "",
            self._precisions(),
            *self._evidence(),
            *self._leaks(),
            "Left out: " + (count_reasons(self.left_out) or "nothing") + ".",
            "Code: " + (", ".join(_commits(self.runs)) or "unknown") + "." if self.runs else "",
        ]
        return tuple(note for note in notes if note)

    def _closed_set(self) -> str:
        precision = {run.run_id: run.params.get("precision", "") for run in self.runs}
        several = len(set(precision.values())) > 1
        figures: dict[tuple[str, tuple[str, ...]], str] = {}  # a cell that stands in several rows is told once
        for row in self.rows:
            cell = row.cells.get("zero_shot")
            if cell is not None and cell.closed_set_accuracy is not None:
                which = f", precision {precision[cell.run_ids[0]]}" if several else ""
                told = f"{rounded(100 * cell.closed_set_accuracy, 3)} %"
                figures.setdefault((f"{row.data}, {row.arch}{which}", cell.run_ids), told)
        if not figures:
            return ""
        names = [name for name, _ in figures]
        listed = [
            f"{name}{f' (run {runs[0][:8]})' if names.count(name) > 1 else ''} {told}"
            for (name, runs), told in figures.items()
        ]
        return (
            "The 1000-class head is scored over all its outputs; closed-set (only the data's classes compete): "
            + "; ".join(listed)
            + "."
        )

    def _evidence(self) -> list[str]:
        row = head_row(self)
        if self.evidence is None or row is None:
            return []
        return notes(self, self.evidence, row, full=self.full)

    def _leaks(self) -> list[str]:
        """Say which evaluation images were trained on, nearly; each run was told when it looked at its images."""
        told = ((run.tags.get("data", "the data"), run.tags.get("near_duplicates")) for run in self.runs)
        return [
            f"{data}: {leaks}, which flatters the trained networks." for data, leaks in dict.fromkeys(told) if leaks
        ]

    def _precisions(self) -> str:
        resolved = {run.tags.get("precision", "") for run in self.runs if run.params.get("precision") == "auto"} - {""}
        return f"precision=auto was {' in some runs, '.join(sorted(resolved))} in others." if len(resolved) > 1 else ""


def _spread(rows: Sequence[Row]) -> str:
    repeated = any(cell.n > 1 for row in rows for cell in row.cells.values())
    return "; mean ± sample standard deviation over n seeds" if repeated else ""


def count_reasons(left_out: dict[str, int]) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in left_out.items())


def _commits(runs: Sequence[Record]) -> list[str]:
    commits = [
        run.tags.get("commit", "unknown")[:7] + (" (dirty)" if run.tags.get("dirty") == "true" else "") for run in runs
    ]
    return list(dict.fromkeys(commits))


def build_table(
    records: Sequence[Record],
    *,
    metric: str = ACCURACY,
    data: Collection[str] | None = None,
    arch: Collection[str] | None = None,
    all_columns: bool = False,
    published: bool = False,
    command: str = "",
) -> Table:
    """Select runs, put them into rows, and count what is left out.

    Args:
        records: runs of any kind, in any order.
        metric: the figure of a cell.
        data: names of data sets (those of `data_names`); None takes all.
        arch: names of architectures, with or without the library's name; None takes all.
        all_columns: add a column for every other use of the network that was run.
        published: add the published figures as a row.
        command: what makes this table again, for the footnote.
    """
    names = data_names(records)
    wanted = [
        record
        for record in records
        if (data is None or not names[record.run_id].isdisjoint(as_set(data)))
        and (arch is None or not arch_names(record).isdisjoint(as_set(arch)))
    ]
    selection = select_runs(wanted, metric, all_columns=all_columns)
    columns = {column for run in selection.runs if (column := column_of(run.params)) is not None}
    return Table(
        metric=metric,
        columns=order_columns(columns),
        rows=build_rows(selection.runs, metric, published=published),
        left_out=selection.left_out,
        runs=selection.runs,
        command=" ".join(command.splitlines()),
    )


def add_evidence(table: Table, frames: Frames, *, full: bool = False) -> Table:
    """Return the table with intervals and comparisons; one of another metric than the accuracy stays as it is.

    Args:
        table: whose runs `frames` are of.
        frames: run id -> its predictions (`tlft.tracking.ArtifactReader.predictions`).
        full: say all that is known below the table, not only what concerns its fullest row.
    """
    if table.metric != ACCURACY:
        return table
    return replace(table, evidence=gather(table, frames), full=full)


def as_set(names: Collection[str]) -> set[str]:
    """Return names as a set; one text is one name."""
    return {names} if isinstance(names, str) else set(names)


def data_names(records: Sequence[Record]) -> dict[str, set[str]]:
    """Return what each run's data set is called: by its own tag, or by that of any run with the same images."""
    names: dict[str, set[str]] = {}
    for record in records:
        names.setdefault(_images(record), set()).add(record.tags.get("data", "unknown"))
    return {record.run_id: names[_images(record)] for record in records}


def _images(record: Record) -> str:
    return record.params.get("data.eval") or record.run_id


def arch_names(record: Record) -> set[str]:
    library, name = arch_of(record)
    return {name, name.removeprefix("tf_"), f"{library}/{name}"}


_EXAMPLES = """examples:
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


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.table",
        description="Regenerate the comparison table from the runs that MLflow keeps.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    from analysis.query import STATS, add_selection

    add_selection(parser)
    parser.add_argument("--metric", default=ACCURACY, help=f"the figure of a cell (default: {ACCURACY})")
    parser.add_argument(
        "--stats",
        choices=STATS,
        default="short",
        help="intervals and paired comparisons: of the fullest row (short, the default), or of all, with calibration",
    )
    parser.add_argument("--format", choices=FORMATS, help="default: by the ending of FILE, else terminal")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a file instead of standard output")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if the store fails; 2 if there is nothing to show."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = _parse(argv)
    command = shlex.join(["python", "-m", "analysis.table", *argv])
    return exit_status(lambda: _show(arguments, command))


def _show(arguments: argparse.Namespace, command: str) -> int:
    try:
        from analysis.query import Wanted, fetch_table

        _write(fetch_table(Wanted.of(arguments), command)[0], arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
    return 0


def _write(table: Table, arguments: argparse.Namespace) -> None:
    out: Path | None = arguments.out
    format = arguments.format or (_ENDINGS.get(out.suffix, "terminal") if out else "terminal")
    text = render(table, format)
    if format == "csv":  # which has no place for what must be said
        print(*table.footnotes, sep="\n", file=sys.stderr)
    if out is None:
        print(_encodable(text, sys.stdout.encoding or "utf-8"))
        return
    from tlft.runtime.files import atomic_write

    if out.is_dir():
        raise ConfigurationError(f"--out {out}: is a folder; name a file in it")
    atomic_write(out, f"{text}\n".encode())
    print(f"wrote {out}", file=sys.stderr)


def _encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace("±", "+/-").replace("─", "-").encode(encoding, "replace").decode(encoding)
    return text


if __name__ == "__main__":
    sys.exit(main())
