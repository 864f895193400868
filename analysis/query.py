"""Which runs are wanted, said on a command line or in a notebook; and the table that is made of them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from analysis.narrative import ACCURACY
from analysis.table import Table, add_evidence, arch_names, as_set, build_table, count_reasons, data_names
from tlft.errors import ConfigurationError, nearest
from tlft.tracking.records import Record

if TYPE_CHECKING:
    from tlft.tracking.reader import ArtifactReader


COLUMNS = ("three", "all")
STATS = ("none", "short", "full")


@dataclass(frozen=True)
class Wanted:
    """What a table is to be made of.

    Attributes:
        experiment: its name in MLflow.
        uri: of the tracking store; None takes mlflow.db in TLFT_HOME, else in the project folder.
        data: names of data sets; None takes all.
        arch: names of architectures; None takes all.
        columns: `three`, or `all`: those of other uses of the network too.
        published: add the published figures as a row.
        metric: the figure of a cell.
        stats: `none`, `short` or `full`: intervals and comparisons.
    """

    experiment: str = "tlft"
    uri: str | None = None
    data: Collection[str] | None = None
    arch: Collection[str] | None = None
    columns: str = "three"
    published: bool = False
    metric: str = ACCURACY
    stats: str = "short"

    @classmethod
    def of(cls, arguments: Namespace, **others: str) -> Wanted:
        """Build from what a command was told, and from what it decides itself."""
        told = vars(arguments)
        return cls(**{field.name: told[field.name] for field in fields(cls) if field.name in told} | others)


def add_which(parser: ArgumentParser) -> None:
    """Add the options that say which runs are looked at."""
    parser.add_argument("--experiment", default="tlft", metavar="NAME", help="experiment in MLflow (default: tlft)")
    parser.add_argument("--uri", help="tracking store (default: mlflow.db in TLFT_HOME, else in the project folder)")
    parser.add_argument("--data", nargs="+", metavar="NAME", help="only these data sets")
    parser.add_argument("--arch", nargs="+", metavar="NAME", help="only these architectures")


def add_selection(parser: ArgumentParser) -> None:
    """Add the options that say which runs a table is made of."""
    add_which(parser)
    parser.add_argument("--columns", choices=COLUMNS, default="three", help="all: other columns too")
    parser.add_argument("--published", action="store_true", help="add the published figures as a row")


def fetch_table(wanted: Wanted, command: str = "") -> tuple[Table, ArtifactReader]:
    """Fetch the runs that are wanted and put them into a table.

    Args:
        wanted: which.
        command: what makes this table again, for the footnote.

    Returns:
        The table, and what reads the files of its runs.

    Raises:
        ConfigurationError: if there is nothing to show.
        TlftError: if the store does not answer.
    """
    from tlft.tracking.client import tracking_uri
    from tlft.tracking.reader import ArtifactReader, load_records

    for option, choices in (("columns", COLUMNS), ("stats", STATS)):
        if getattr(wanted, option) not in choices:
            raise ConfigurationError(f"{option}={getattr(wanted, option)}: give one of {', '.join(choices)}")
    if wanted.published and wanted.metric != ACCURACY:
        raise ConfigurationError(f"--published --metric {wanted.metric}: the published figures are of {ACCURACY}")
    records = load_records(wanted.experiment, wanted.uri)
    if not records:
        raise ConfigurationError(
            f"no runs in experiment {wanted.experiment} of {tracking_uri(wanted.uri)}: "
            "make some with `python run.py sweep=comparison`, or `make demo`"
        )
    if problems := _unknown_names(wanted, records):
        raise ConfigurationError(problems)
    table = build_table(
        records,
        metric=wanted.metric,
        data=wanted.data,
        arch=wanted.arch,
        all_columns=wanted.columns == "all",
        published=wanted.published,
        command=command,
    )
    if not table.runs:
        hint = "; --columns all shows other columns" if "other columns" in table.left_out else ""
        raise ConfigurationError(f"no run to show; left out: {count_reasons(table.left_out) or 'nothing'}{hint}")
    reader = ArtifactReader(wanted.uri)
    if wanted.stats != "none" and table.metric == ACCURACY:
        table = add_evidence(table, reader.predictions(table.runs), full=wanted.stats == "full")
    return table, reader


def _unknown_names(wanted: Wanted, records: Sequence[Record]) -> list[str]:
    """Return a line for each name that no run has, with the nearest that one has."""
    data = {name for names in data_names(records).values() for name in names}
    archs = {name for record in records for name in arch_names(record)}
    metrics = {ACCURACY, *(name for record in records for name in record.metrics)}
    asked = [("--data", name, data) for name in sorted(as_set(wanted.data or ()))]
    asked += [("--arch", name, archs) for name in sorted(as_set(wanted.arch or ()))]
    asked.append(("--metric", wanted.metric, metrics))
    return [
        f"{option} {name}: no run has it" + (nearest(name, known) or _list(known))
        for option, name, known in asked
        if name not in known
    ]


def _list(known: set[str]) -> str:
    shown = sorted(known)[:12]
    return f"; there are {', '.join(shown)}" + (", ..." if len(shown) < len(known) else "")
