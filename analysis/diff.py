"""`python -m analysis.diff RUN RUN`: in what two runs differ, from what they were asked to do to what they said.

The order is that of cause and effect: configuration, code, environment, then metrics, weights and images.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.correctness import PROBABILITY, by_image
from tlft.errors import ConfigurationError
from tlft.names import Artifact, Tag
from tlft.runtime.command_line import exit_status
from tlft.tracking.records import Record, flatten

if TYPE_CHECKING:
    from pandas import DataFrame

_OF_THE_MACHINE = ("time/", "throughput/", "system/")
"""Metrics that differ from run to run by nature."""

_CODE = ("commit", "dirty")
_MOST = 10


@dataclass(frozen=True)
class Kept:
    """A run with what was kept of it.

    Attributes:
        environment: flattened: name -> text.
        histories: metric -> (step, value).
        weights: SHA-256 of the file, or `missing`; None if none were kept.
        predictions: a row per evaluation image, or None.
    """

    record: Record
    environment: Mapping[str, str]
    histories: Mapping[str, Sequence[tuple[int, float]]]
    weights: str | None
    predictions: DataFrame | None


@dataclass(frozen=True)
class Difference:
    """One thing in which two runs differ.

    Attributes:
        kind: `configuration`, `code`, `environment`, `metrics`, `weights` or `images`.
    """

    kind: str
    name: str
    first: str
    second: str


def compare_runs(first: Kept, second: Kept) -> list[Difference]:
    """Return every difference between two runs, causes before effects; none if they agree to the bit."""
    a, b = first.record, second.record
    code = [{name: record.tags.get(name, "unknown") for name in _CODE} for record in (a, b)]
    return [
        *_compare("configuration", a.params, b.params),
        *_compare("code", *code),
        *_compare("environment", first.environment, second.environment),
        *_compare_metrics(first.histories, second.histories),
        *_compare_weights(first.weights, second.weights),
        *_compare_images(first.predictions, second.predictions),
    ]


def _compare(kind: str, first: Mapping[str, str], second: Mapping[str, str]) -> list[Difference]:
    names = sorted(set(first) | set(second))
    pairs = [(name, first.get(name, "-"), second.get(name, "-")) for name in names]
    return [Difference(kind, name, one, other) for name, one, other in pairs if one != other]


def _compare_metrics(
    first: Mapping[str, Sequence[tuple[int, float]]], second: Mapping[str, Sequence[tuple[int, float]]]
) -> list[Difference]:
    """Return for each metric the first step at which the runs part."""
    found = []
    for name in sorted(set(first) | set(second)):
        if name.startswith(_OF_THE_MACHINE):
            continue
        histories = [dict(one.get(name, ())) for one in (first, second)]
        parted = [
            step
            for step in sorted(set(histories[0]) | set(histories[1]))
            if not _same(histories[0].get(step), histories[1].get(step))
        ]
        if parted:
            values = ["-" if parted[0] not in one else repr(one[parted[0]]) for one in histories]
            found.append(Difference("metrics", f"{name} at step {parted[0]}", *values))
    return found


def _same(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and one != one and other != other)  # both NaN


def _compare_weights(first: str | None, second: str | None) -> list[Difference]:
    """Compare the bytes; where the file of one run is missing nothing can be the same."""
    alike = first == second and first != _MISSING
    return [] if alike else [Difference("weights", "sha256", first or _NOT_KEPT, second or _NOT_KEPT)]


_MISSING, _NOT_KEPT, _UNREADABLE = "missing", "not kept", "missing or damaged"


def _compare_images(first: DataFrame | None, second: DataFrame | None) -> list[Difference]:
    """Return the images of which the runs say something else, those with another prediction first."""
    if first is None or second is None:
        states = ["there" if frame is not None else _UNREADABLE for frame in (first, second)]
        return [Difference("images", "predictions.parquet", *states)]
    frames = [by_image(frame) for frame in (first, second)]
    found = []
    for side, (mine, other) in enumerate((frames, frames[::-1])):
        for digest in mine.index.difference(other.index, sort=False):
            seen = (str(mine.loc[digest, "predicted"]), "not seen")
            found.append(Difference("images", str(mine.loc[digest, "file"]), *(seen if side == 0 else seen[::-1])))
    common = frames[0].index.intersection(frames[1].index, sort=False)
    one, two = (frame.loc[common] for frame in frames)
    numbers = [
        name for name in one.columns if name == "confidence" or (name.startswith(PROBABILITY) and name in two.columns)
    ]
    other_answer = one["predicted"].to_numpy(str) != two["predicted"].to_numpy(str)
    other_bits = (one[numbers].to_numpy() != two[numbers].to_numpy()).any(axis=1) & ~other_answer
    for chosen in (other_answer, other_bits):
        for place in np.flatnonzero(chosen):
            told = [f"{frame['predicted'].iloc[place]} {frame['confidence'].iloc[place]:.7f}" for frame in (one, two)]
            found.append(Difference("images", str(one["file"].iloc[place]), *told))
    return found


def load_kept(run_id: str, uri: str | None, home: Path | None = None) -> Kept:
    """Read a run and what was kept of it.

    Raises:
        ConfigurationError: if the store has no such run.
        TlftError: if it does not answer.
    """
    from tlft.tracking.reader import ArtifactReader, load_curves, load_record

    record = load_record(run_id, uri, home)
    reader = ArtifactReader(uri, home)
    histories = load_curves([record], list(record.metrics), uri, home)[run_id]
    try:
        environment = flatten(json.loads(reader.text(record, "environment.json") or "{}"))
        files: dict[str, Any] = json.loads(record.tags.get(Tag.FILES, "{}"))
    except ValueError:
        environment, files = {}, {}
    ours = {name: text for name, text in environment.items() if name not in (*_CODE, "command")}
    return Kept(
        record=record,
        environment=ours,
        histories=histories,
        weights=reader.digest(record, Artifact.WEIGHTS) or _MISSING if Artifact.WEIGHTS in files else None,
        predictions=reader.predictions([record]).get(run_id),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 if nothing differs; 1 if something does; 2 if asked wrongly."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.diff",
        description="Say in what two runs differ: configuration, code, environment, metrics, weights, images.",
    )
    parser.add_argument("runs", nargs=2, metavar="RUN", help="a run's id")
    parser.add_argument("--format", choices=("terminal", "json"), default="terminal")
    parser.add_argument("--uri", help="tracking store (default: mlflow.db in TLFT_HOME, else in the project folder)")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _show(arguments))


def _show(arguments: argparse.Namespace) -> int:
    first, second = arguments.runs
    if first == second:
        raise ConfigurationError(f"{first}: is one run; name two")
    kept = [load_kept(run_id, arguments.uri) for run_id in arguments.runs]
    found = compare_runs(*kept)
    if arguments.format == "json":
        print(json.dumps([vars(one) for one in found], indent=1, ensure_ascii=False))
        return int(bool(found))
    for one in kept:
        print(f"{one.record.run_id}: {one.record.name}")
    print(describe_differences(found))
    return int(bool(found))


def describe_differences(found: Sequence[Difference]) -> str:
    """Return the differences for people, each kind with at most ten of them."""
    if not found:
        return "no difference: the same configuration, code and environment, and the same bits"
    lines = []
    for kind in dict.fromkeys(one.kind for one in found):
        own = [one for one in found if one.kind == kind]
        lines.append(f"{kind}: {len(own)} differ{'s' if len(own) == 1 else ''}")
        lines += [f"  {one.name}: {one.first} | {one.second}" for one in own[:_MOST]]
        if len(own) > _MOST:
            lines.append(f"  and {len(own) - _MOST} more (--format json has all)")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
