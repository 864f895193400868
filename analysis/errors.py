"""Show what is doubtful in the data itself: labels that the networks contradict, and images that are nearly the same.

Predictions come from the runs, and so do the near-duplicates: each run looked for them in its images.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from tlft.terminal.greeting import begin

if __name__ == "__main__":
    begin()

from analysis.comparison_table import Table
from analysis.html_page import Answer, render_page
from analysis.image_review import draw_thumbnails, image_roots
from analysis.label_errors import Search, Suspect, find_suspects
from analysis.predictions.correctness import Frames
from analysis.query import TableQuery, add_run_options, load_table
from tlft.config.paths import home_folder
from tlft.duplicates.near_duplicates import Pair, parse
from tlft.evaluation.wording import say_probability
from tlft.names import Artifact, Param, Tag
from tlft.records.folds import parts_of
from tlft.records.record import Record
from tlft.storage.files import atomic_write
from tlft.terminal.command_line import add_out, command_parser, exit_status, refuse_folder
from tlft.tracking.reader import ArtifactReader

_MAX_PICTURE_CHARACTERS = 4_000_000
_MAX_ON_PAGE = 200
_MAX_LISTED = 20


@dataclass(frozen=True)
class Findings:
    """What is doubtful in one data set.

    Attributes:
        near_duplicates: those that leak into the evaluation first; None if no run has looked for any.
        roots: folders in which the images may lie.
    """

    data: str
    search: Search
    near_duplicates: tuple[Pair, ...] | None
    roots: tuple[Path, ...]

    def describe(self) -> str:
        """Return the findings in a sentence or two."""
        search, pairs = self.search, self.near_duplicates
        if search.networks:
            most = "1 network contradicts" if search.networks == 1 else f"most of {search.networks} networks contradict"
            doubted = sum(suspect.doubted for suspect in search.suspects)
            labels = f"{most} {len(search.suspects)} of {search.images} evaluation images"
            labels += f", {doubted or 'none'} of whose labels count as wrong" if search.suspects else ""
        else:
            labels = "no network is shown to beat naming the commonest class, so nothing can be said of the labels"
        if pairs is None:
            return f"{self.data}: {labels}; near-duplicates were not looked for."
        leaks = sum(pair.leaks for pair in pairs)
        across, others = (f"{count or 'no'} pair{'s' * (count != 1)}" for count in (leaks, len(pairs) - leaks))
        return (
            f"{self.data}: {labels}; {across} of a training and an evaluation image, and {others} within a split or "
            "with the hold-out, are nearly the same."
        )


def find_errors(table: Table, frames: Frames, reader: ArtifactReader, home: Path) -> list[Findings]:
    """Look at each data set of a table; `home` is the one whose data folder may hold the images.

    Raises:
        ConfigurationError: if cleanlab is not installed.
    """
    by_data: dict[str, list[Record]] = {}
    for run in table.runs:
        by_data.setdefault(run.params.get(Param.DATA_EVAL) or run.run_id, []).append(run)
    return [
        Findings(
            data=runs[-1].tags.get(Tag.DATA, "the data"),
            search=find_suspects([frames[run.run_id] for run in runs if run.run_id in frames]),
            near_duplicates=_near_duplicates([reader.text(run, Artifact.NEAR_DUPLICATES) for run in parts_of(runs)]),
            roots=image_roots([reader.text(run, Artifact.CONFIG) for run in runs], home),
        )
        for runs in by_data.values()
    ]


def _near_duplicates(texts: Sequence[str]) -> tuple[Pair, ...] | None:
    """Put together what the runs found: they may have seen the same images at several sizes, in other splits, or fewer.

    A pair that leaks in one of them does so.
    """
    searches = []
    for text in texts:
        with suppress(ValueError):  # of a run that did not look, or damaged
            searches.append(parse(text))
    pairs: dict[frozenset[tuple[str, str]], Pair] = {}
    for pair in sorted(chain.from_iterable(searches), key=lambda pair: not pair.leaks):
        pairs.setdefault(frozenset((member.sha256, member.file) for member in (pair.one, pair.other)), pair)
    ordered = sorted(pairs.values(), key=lambda pair: (not pair.leaks, pair.distance, pair.one.file))
    return tuple(ordered) if searches else None


def render_errors(findings: Sequence[Findings], title: str) -> str:
    """Return the page."""
    budget = _MAX_PICTURE_CHARACTERS // max(len(findings), 1)
    return render_page(
        "errors.html.j2",
        title,
        [Answer(data_set.describe()) for data_set in findings],
        sets=[_describe(data_set, budget) for data_set in findings],
    )


def _describe(findings: Findings, budget: int) -> dict[str, Any]:
    all_suspects, all_pairs = findings.search.suspects, findings.near_duplicates or ()
    suspects, pairs = all_suspects[:_MAX_ON_PAGE], all_pairs[:_MAX_ON_PAGE]
    files = [(suspect.file, suspect.sha256) for suspect in suspects]
    files += [(member.file, member.sha256) for pair in pairs for member in (pair.one, pair.other)]
    images = draw_thumbnails(files, findings.roots, budget)
    return {
        "data": findings.data,
        "search": findings.search,
        "searched_pairs": findings.near_duplicates is not None,
        "suspects": [
            {**vars(suspect), "image": images.get(suspect.sha256), "text": _describe_suspect(suspect)}
            for suspect in suspects
        ],
        "leaks": [_pair(pair, images) for pair in pairs if pair.leaks],
        "others": [_pair(pair, images) for pair in pairs if not pair.leaks],
        "suspects_left_out": len(all_suspects) - len(suspects),
        "pairs_left_out": len(all_pairs) - len(pairs),
        "without_files": bool(files) and not images,
    }


def _pair(pair: Pair, images: Mapping[str, str]) -> dict[str, Any]:
    members = [
        {"label": f"{member.split}: {member.label}", "file": member.file, "image": images.get(member.sha256)}
        for member in (pair.one, pair.other)
    ]
    return {"members": members, "text": f"{pair.distance} of 64 bits differ{', mirrored' if pair.mirrored else ''}"}


def _describe_suspect(suspect: Suspect) -> str:
    return (
        f"{suspect.against} of {suspect.networks} networks contradict; together they say {suspect.likely}, and give "
        f"{suspect.label} {say_probability(suspect.probability)}"
    )


_EXAMPLES = """\
  python -m analysis.errors                       errors.html, from all runs that MLflow keeps
  python -m analysis.errors --data hymenoptera    of one data set
  python -m analysis.errors --out doubts.html
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if the store fails; 2 if there is nothing to look at."""
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _write(arguments))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser(
        "errors",
        "Look for wrong labels among the evaluation images, and for near-duplicates within and across the "
        "splits; make a page of pictures of them.",
        _EXAMPLES,
    )
    add_run_options(parser)
    add_out(parser, "errors.html")
    return parser


def _write(arguments: Namespace) -> int:
    refuse_folder(arguments.out)
    table, reader = load_table(TableQuery.from_arguments(arguments, columns="all", stats="none"))
    findings = find_errors(table, reader.predictions(table.runs), reader, home_folder())
    page = render_errors(findings, f"Doubtful data: {arguments.experiment}").encode()
    atomic_write(arguments.out, page)
    for data_set in findings:
        print(data_set.describe())
        for suspect in data_set.search.suspects[:_MAX_LISTED]:
            doubt = ", counted as wrong" if suspect.doubted else ""
            print(f"  {suspect.file}: {_describe_suspect(suspect)}{doubt}")
        for pair in (data_set.near_duplicates or ())[:_MAX_LISTED]:
            print(f"  {pair.one.file} ({pair.one.split}) and {pair.other.file} ({pair.other.split}): nearly the same")
    print(f"wrote {arguments.out} ({len(page) / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
