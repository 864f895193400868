"""`python -m analysis.diff RUN RUN`: in what two runs differ, from their configuration to their predictions.

The order is that of cause and effect: configuration, code, environment, then metrics, weights, images.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from tlft.terminal.greeting import begin

if __name__ == "__main__":
    begin()

import numpy as np
from pandas import DataFrame

from analysis.predictions.correctness import index_by_image
from tlft.errors import ConfigurationError
from tlft.names import PROBABILITY, Artifact, Metric, Tag, flatten
from tlft.records.record import Record
from tlft.terminal.command_line import add_uri, command_parser, exit_status
from tlft.tracking.reader import ArtifactReader, load_curves, load_record

_CODE = (Tag.COMMIT, Tag.DIRTY)
_MISSING, _NOT_KEPT = "missing", "not kept"
_MAX_LISTED = 10

History = Sequence[tuple[int, float]]  # of a metric: (step, value)


@dataclass(frozen=True)
class RunContents:
    """A run with what was kept of it.

    Attributes:
        environment: flattened: name -> text.
        histories: of each metric.
        weights: SHA-256 of the file, or `missing`; None if none were kept.
        predictions: a row per evaluation image, or None.
    """

    record: Record
    environment: Mapping[str, str]
    histories: Mapping[str, History]
    weights: str | None
    predictions: DataFrame | None


@dataclass(frozen=True)
class Difference:
    """One thing in which two runs differ; its kind is one of those that the module's docstring puts in order."""

    kind: str
    name: str
    first: str
    second: str


def compare_runs(first: RunContents, second: RunContents) -> list[Difference]:
    """Return every difference between two runs, causes before effects; none if they agree to the bit."""
    code = [{name: run.record.tags.get(name, "unknown") for name in _CODE} for run in (first, second)]
    return [
        *_compare_texts("configuration", *(_settings(run.record) for run in (first, second))),
        *_compare_texts("code", *code),
        *_compare_texts("environment", first.environment, second.environment),
        *_compare_metrics(first.histories, second.histories),
        *_compare_weights(first.weights, second.weights),
        *_compare_images(first.predictions, second.predictions),
    ]


def _settings(record: Record) -> dict[str, str]:
    """Return what makes a run's key, and what finds its groups, which may have drawn the splits."""
    grouping = record.tags.get(Tag.GROUPING)
    return {**record.params, **({"data.group": grouping} if grouping else {})}


def _compare_texts(kind: str, first: Mapping[str, str], second: Mapping[str, str]) -> list[Difference]:
    pairs = [Difference(kind, name, first.get(name, "-"), second.get(name, "-")) for name in sorted({*first, *second})]
    return [pair for pair in pairs if pair.first != pair.second]


def _compare_metrics(first: Mapping[str, History], second: Mapping[str, History]) -> list[Difference]:
    """Return for each metric the first step at which the runs part; what is not a number equals itself."""
    differences = []
    for name in sorted({*first, *second}):
        if name.startswith(Metric.OF_THE_MACHINE):
            continue
        a, b = ({step: repr(value) for step, value in run.get(name, ())} for run in (first, second))
        step = min((step for step in {*a, *b} if a.get(step) != b.get(step)), default=None)
        if step is not None:
            differences.append(Difference("metrics", f"{name} at step {step}", a.get(step, "-"), b.get(step, "-")))
    return differences


def _compare_weights(first: str | None, second: str | None) -> list[Difference]:
    """Compare the bytes; where the file of one run is missing nothing can be the same."""
    alike = first == second and first != _MISSING
    return [] if alike else [Difference("weights", "sha256", first or _NOT_KEPT, second or _NOT_KEPT)]


def _compare_images(first: DataFrame | None, second: DataFrame | None) -> list[Difference]:
    """Return the images that only one run saw, then those with another prediction, then those with other bits."""
    if first is None or second is None:
        states = ["there" if frame is not None else "missing or damaged" for frame in (first, second)]
        return [Difference("images", Artifact.PREDICTIONS, *states)]
    a, b = index_by_image(first), index_by_image(second)
    only_a, only_b = a.drop(b.index, errors="ignore"), b.drop(a.index, errors="ignore")
    differences = [
        *(Difference("images", str(row.file), str(row.predicted), "not seen") for row in only_a.itertuples()),
        *(Difference("images", str(row.file), "not seen", str(row.predicted)) for row in only_b.itertuples()),
    ]
    common = a.index.intersection(b.index, sort=False)
    a, b = a.loc[common], b.loc[common]
    numbers = ["confidence", *(name for name in a.columns if name.startswith(PROBABILITY) and name in b.columns)]
    other_class = a["predicted"].to_numpy(str) != b["predicted"].to_numpy(str)
    other_bits = (a[numbers].to_numpy() != b[numbers].to_numpy()).any(axis=1) & ~other_class
    for place in (*np.flatnonzero(other_class), *np.flatnonzero(other_bits)):
        texts = [f"{frame['predicted'].iloc[place]} {frame['confidence'].iloc[place]:.7f}" for frame in (a, b)]
        differences.append(Difference("images", str(a["file"].iloc[place]), *texts))
    return differences


def load_run_contents(run_id: str, uri: str | None, home: Path | None = None) -> RunContents:
    """Load a run and what was kept of it.

    Raises:
        ConfigurationError: if the store has no such run.
        TlftError: if it does not answer.
    """
    record = load_record(run_id, uri, home)
    reader = ArtifactReader(uri, home)
    try:
        environment, files = flatten(json.loads(reader.text(record, Artifact.ENVIRONMENT) or "{}")), record.files
    except ValueError:
        environment, files = {}, {}
    return RunContents(
        record=record,
        environment={name: text for name, text in environment.items() if name not in (*_CODE, Tag.COMMAND)},
        histories=load_curves([record], list(record.metrics), uri, home)[record.run_id],
        weights=reader.digest(record, Artifact.WEIGHTS) or _MISSING if Artifact.WEIGHTS in files else None,
        predictions=reader.predictions([record]).get(record.run_id),
    )


def describe_differences(differences: Sequence[Difference]) -> str:
    """Return the differences for people, each kind with at most ten of them."""
    if not differences:
        return "no difference: the same configuration, code and environment, and the same bits"
    lines = []
    for kind, group in groupby(differences, key=attrgetter("kind")):
        members = list(group)
        lines.append(f"{kind}: {len(members)} differ{'s' if len(members) == 1 else ''}")
        lines += [f"  {member.name}: {member.first} | {member.second}" for member in members[:_MAX_LISTED]]
        if len(members) > _MAX_LISTED:
            lines.append(f"  and {len(members) - _MAX_LISTED} more (--format json has all)")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 if nothing differs; 1 if something does; 2 if asked wrongly."""
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _show(arguments))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser(
        "diff", "Say in what two runs differ: configuration, code, environment, metrics, weights, images."
    )
    parser.add_argument("runs", nargs=2, metavar="RUN", help="a run's id")
    parser.add_argument("--format", choices=("terminal", "json"), default="terminal")
    add_uri(parser)
    return parser


def _show(arguments: Namespace) -> int:
    runs = [load_run_contents(run_id, arguments.uri) for run_id in arguments.runs]
    first, second = (run.record.run_id for run in runs)
    if first == second:
        raise ConfigurationError(f"{first}: is one run; name two")
    differences = compare_runs(*runs)
    if arguments.format == "json":
        print(json.dumps([vars(difference) for difference in differences], indent=1, ensure_ascii=False))
    else:
        for run in runs:
            print(f"{run.record.run_id}: {run.record.name}")
        print(describe_differences(differences))
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())
