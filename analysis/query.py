"""Which runs a person asks for, on a command line or in a notebook; and the table that is made of them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

from analysis.comparison_table import Table, add_evidence, arch_names, as_set, build_table, data_names
from analysis.footnotes import list_reasons
from analysis.predictions.correctness import Frames
from analysis.predictions.remembered import memory_of, recall_predictions
from tlft.commands import IS_CHECKOUT, invocation
from tlft.config.paths import home_folder
from tlft.config.validate_data import group_problem
from tlft.data.splits import find_groups
from tlft.database.places import tracking_uri
from tlft.errors import ConfigurationError, nearest
from tlft.names import GROUP, Metric, Tag
from tlft.records.folds import looks_at_classes
from tlft.records.record import Record
from tlft.terminal.command_line import add_experiment, add_uri
from tlft.tracking.reader import ArtifactReader, load_records

COLUMNS = ("three", "all")
STATS = ("none", "short", "full")


@dataclass(frozen=True)
class TableQuery:
    """What a table is to be made of; `data`, `arch`, `published` and `metric` are as for `build_table`.

    Attributes:
        experiment: its name in MLflow.
        uri: of the tracking store; None takes mlflow.db in TLFT_HOME, else in the project folder.
        columns: `three`, or `all`: those of other uses of the network too.
        stats: `none`, `short` or `full`: intervals and comparisons.
        group: a regular expression with one group, on the evaluation images' files: which are not independent of each
            other; None takes what the runs say (`data.group`).
    """

    experiment: str = "tlft"
    uri: str | None = None
    data: Collection[str] | None = None
    arch: Collection[str] | None = None
    columns: str = "three"
    published: bool = False
    metric: str = Metric.ACCURACY
    stats: str = "short"
    group: str | None = None

    @classmethod
    def from_arguments(cls, arguments: Namespace, **fixed: str) -> TableQuery:
        """Build from the options that a command has, and from what is fixed for it."""
        options = vars(arguments)
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options} | fixed)


def add_run_options(parser: ArgumentParser) -> None:
    """Add the options that say which runs are looked at."""
    add_experiment(parser)
    add_uri(parser)
    parser.add_argument("--data", nargs="+", metavar="NAME", help="only these data sets")
    parser.add_argument("--arch", nargs="+", metavar="NAME", help="only these architectures")


def add_table_options(parser: ArgumentParser) -> None:
    """Add the options that say which runs a table is made of."""
    add_run_options(parser)
    parser.add_argument("--columns", choices=COLUMNS, default="three", help="all: other columns too")
    parser.add_argument("--published", action="store_true", help="add the published figures as a row")
    parser.add_argument("--group", metavar="REGEX", help="which images belong together, as data.group does")


def load_table(query: TableQuery, command: str = "") -> tuple[Table, ArtifactReader]:
    """Load runs from the tracking store and put them into a table; return it, and what reads the files of its runs.

    Raises:
        ConfigurationError: if there is nothing to show.
        TlftError: if the store does not answer.
    """
    for option, choices in (("columns", COLUMNS), ("stats", STATS)):
        if getattr(query, option) not in choices:
            raise ConfigurationError(f"{option}={getattr(query, option)}: give one of {', '.join(choices)}")
    if query.published and query.metric != Metric.ACCURACY:
        raise ConfigurationError(f"--published --metric {query.metric}: the published figures are of {Metric.ACCURACY}")
    records = load_records(query.experiment, query.uri)
    if not records:
        demo = "make demo" if IS_CHECKOUT else "tlft run sweep=demo"
        raise ConfigurationError(
            f"no runs in experiment {query.experiment} of {tracking_uri(query.uri)}: "
            f"make some with `{invocation('run')} sweep=comparison`, or `{demo}`"
        )
    if problems := _unknown_names(query, records):
        raise ConfigurationError(problems)
    reader = ArtifactReader(query.uri)
    folds = [record for record in records if Tag.FOLD in record.tags] if looks_at_classes(query.metric) else []
    table = build_table(
        records,
        metric=query.metric,
        data=query.data,
        arch=query.arch,
        all_columns=query.columns == "all",
        published=query.published,
        command=command,
        of_folds=reader.predictions(folds) if folds else None,
    )
    if not table.runs:
        hint = "; --columns all shows other columns" if "other columns" in table.left_out else ""
        raise ConfigurationError(f"no run to show; left out: {list_reasons(table.left_out)}{hint}")
    if query.stats != "none" and table.metric == Metric.ACCURACY:
        frames = _read_predictions(records, table.runs, reader, query)
        table = add_evidence(table, frames, full=query.stats == "full", grouping=query.group)
    return table, reader


def _read_predictions(
    records: Sequence[Record], runs: Sequence[Record], reader: ArtifactReader, query: TableQuery
) -> Frames:
    """Return what the table needs of the predictions of its runs; groups that are asked for are told by file names."""
    if query.group is not None:
        return _in_groups(reader.predictions(runs), query.group)
    home = home_folder()
    if not home.is_dir():  # a store elsewhere is looked at, and no home is made for that
        return reader.predictions(runs)
    existing = {record.run_id for record in records if not record.deleted}
    memory = memory_of(home, query.uri, records[0].experiment_id)
    return recall_predictions(memory, runs, reader, existing)


def _in_groups(frames: Frames, pattern: str) -> Frames:
    if problem := group_problem(pattern):
        raise ConfigurationError(f"--group {pattern}: {problem}")
    try:
        return {
            run_id: frame.assign(**{GROUP: find_groups(frame["file"].tolist(), pattern, "--group")})
            for run_id, frame in frames.items()
        }
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; of several data sets show one (--data NAME)") from None


def _unknown_names(query: TableQuery, records: Sequence[Record]) -> list[str]:
    """Return a line for each name that no run has, with the nearest that one has."""
    options = {
        "--data": (query.data or (), set().union(*data_names(records).values())),
        "--arch": (query.arch or (), set().union(*map(arch_names, records))),
        "--metric": (query.metric, {Metric.ACCURACY}.union(*(record.metrics for record in records))),
    }
    problems = []
    for option, (names, existing) in options.items():
        some = ", ".join([*sorted(existing)[:12], *(["..."] if len(existing) > 12 else [])])
        for name in sorted(as_set(names) - existing):
            problems.append(f"{option} {name}: no run has it" + (nearest(name, existing) or f"; there are {some}"))
    return problems
