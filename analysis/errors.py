"""Show what is doubtful in the data itself: labels that the networks contradict, and images that are nearly the same.

What the networks said comes from the runs, and so do the near-duplicates: each run looked for them in its images.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.correctness import Frames
from analysis.html_page import render_page
from analysis.image_review import draw_thumbnails, image_roots
from analysis.label_errors import Search, Suspect, find_suspects
from analysis.query import Wanted, add_which, fetch_table
from analysis.table import Table
from tlft.config.paths import home_folder
from tlft.data.near_duplicates import Member, Pair, parse
from tlft.errors import ConfigurationError
from tlft.names import Artifact
from tlft.runtime.command_line import exit_status
from tlft.runtime.files import atomic_write
from tlft.tracking.records import Record

if TYPE_CHECKING:
    from tlft.tracking.reader import ArtifactReader

_OF_PICTURES = 4_000_000
_MOST_SHOWN = 200
_MOST_LISTED = 20


@dataclass(frozen=True)
class Findings:
    """What is doubtful in one data set.

    Attributes:
        data: its name.
        runs: how many finished runs it has.
        near: pairs of images that are nearly the same, those that leak into the evaluation first; None if no run
            has looked.
        roots: folders in which the images may lie.
    """

    data: str
    runs: int
    search: Search
    near: tuple[Pair, ...] | None
    roots: tuple[Path, ...]

    @property
    def leaks(self) -> tuple[Pair, ...]:
        """The pairs of which one was trained on and the other is reported."""
        return tuple(pair for pair in self.near or () if pair.leaks)

    def describe(self) -> str:
        """Return the findings in a sentence or two."""
        search, near = self.search, self.near
        asked = "1 network contradicts" if search.networks == 1 else f"most of {search.networks} networks contradict"
        doubted = sum(suspect.doubted for suspect in search.suspects)
        if not search.networks:
            said = "no network is shown to beat naming the commonest class, so nothing can be said of the labels"
        else:
            said = f"{asked} {len(search.suspects)} of {search.images} evaluation images"
            said += f", {doubted or 'none'} of whose labels count as wrong" if search.suspects else ""
        if near is None:
            return f"{self.data}: {said}; near-duplicates were not looked for."
        across, others = (
            f"{count or 'no'} pair{'s' * (count != 1)}" for count in (len(self.leaks), len(near) - len(self.leaks))
        )
        return (
            f"{self.data}: {said}; {across} of a training and an evaluation image, and {others} within a split or with "
            "the hold-out, are nearly the same."
        )


def find_errors(table: Table, frames: Frames, reader: ArtifactReader, home: Path) -> list[Findings]:
    """Look at each data set of a table.

    Args:
        table: whose runs are looked at.
        frames: run id -> predictions.
        reader: reads what else the runs keep.
        home: whose data folder may hold the images.

    Raises:
        ConfigurationError: if cleanlab is not installed.
    """
    by_data: dict[str, list[Record]] = {}
    for run in table.runs:
        by_data.setdefault(run.params.get("data.eval") or run.run_id, []).append(run)
    return [
        Findings(
            data=runs[-1].tags.get("data", "the data"),
            runs=len(runs),
            search=find_suspects([frames[run.run_id] for run in runs if run.run_id in frames]),
            near=_near_duplicates([reader.text(run, Artifact.NEAR_DUPLICATES) for run in runs]),
            roots=image_roots([reader.text(run, "config.yaml") for run in runs], home),
        )
        for runs in by_data.values()
    ]


def _near_duplicates(texts: Sequence[str]) -> tuple[Pair, ...] | None:
    """Put together what the runs found: they may have seen the same images at several sizes, or fewer of them."""
    found: dict[frozenset[tuple[str, str]], Pair] = {}
    looked = False
    for text in texts:
        try:
            pairs = parse(text)
        except ValueError:
            continue
        looked = True
        for pair in pairs:
            found.setdefault(frozenset((one.sha256, one.split) for one in (pair.one, pair.other)), pair)
    if not looked:
        return None
    return tuple(sorted(found.values(), key=lambda pair: (not pair.leaks, pair.distance, pair.one.file)))


def render_errors(findings: Sequence[Findings], title: str) -> str:
    """Return the page."""
    budget = _OF_PICTURES // max(len(findings), 1)
    return render_page(
        "errors.html.j2",
        title,
        " ".join(found.describe() for found in findings),
        sets=[_describe(found, budget) for found in findings],
    )


def _describe(found: Findings, budget: int) -> dict[str, Any]:
    suspects, near = found.search.suspects[:_MOST_SHOWN], (found.near or ())[:_MOST_SHOWN]
    shown: list[Suspect | Member] = [*suspects, *(member for pair in near for member in (pair.one, pair.other))]
    images = draw_thumbnails(shown, found.roots, budget)
    pairs = [_pair(pair, images) for pair in near]
    left = len(found.search.suspects) - len(suspects), len(found.near or ()) - len(near)
    return {
        "data": found.data,
        "runs": found.runs,
        "search": found.search,
        "looked": found.near is not None,
        "suspects": [
            {"label": one.label, "file": one.file, "image": images.get(one.sha256), "said": _say(one), "one": one}
            for one in suspects
        ],
        "leaks": [pair for pair in pairs if pair["leaks"]],
        "others": [pair for pair in pairs if not pair["leaks"]],
        "left": left,
        "without_files": bool(shown) and not images,
    }


def _pair(pair: Pair, images: dict[str, str]) -> dict[str, Any]:
    members = [
        {"label": f"{one.split}: {one.label}", "file": one.file, "image": images.get(one.sha256)}
        for one in (pair.one, pair.other)
    ]
    mirrored = ", mirrored" if pair.mirrored else ""
    return {"members": members, "said": f"{pair.distance} of 64 bits differ{mirrored}", "leaks": pair.leaks}


def _say(suspect: Suspect) -> str:
    return (
        f"{suspect.against} of {suspect.networks} networks contradict; together they say {suspect.likely}, and give "
        f"{suspect.label} {100 * suspect.probability:.0f} %"
    )


_EXAMPLES = """examples:
  python -m analysis.errors                       errors.html, from all runs that MLflow keeps
  python -m analysis.errors --data hymenoptera    of one data set
  python -m analysis.errors --out doubts.html
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if the store fails; 2 if there is nothing to look at."""
    argv = sys.argv[1:] if argv is None else argv
    parser = ArgumentParser(
        prog="python -m analysis.errors",
        description="Look for wrong labels among the evaluation images, and for near-duplicates within and across the "
        "splits; make a page of pictures of them.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_which(parser)
    parser.add_argument("--out", type=Path, default=Path("errors.html"), metavar="FILE", help="default: errors.html")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _write(arguments))


def _write(arguments: Namespace) -> int:
    out: Path = arguments.out
    if out.is_dir():
        raise ConfigurationError(f"--out {out}: is a folder; name a file in it")
    table, reader = fetch_table(Wanted.of(arguments, columns="all", stats="none"))
    findings = find_errors(table, reader.predictions(table.runs), reader, home_folder())
    page = render_errors(findings, f"Doubtful data: {arguments.experiment}").encode()
    atomic_write(out, page)
    for found in findings:
        print(found.describe())
        for suspect in found.search.suspects[:_MOST_LISTED]:
            print(f"  {suspect.file}: {_say(suspect)}{', counted as wrong' if suspect.doubted else ''}")
        for pair in (found.near or ())[:_MOST_LISTED]:
            print(f"  {pair.one.file} ({pair.one.split}) and {pair.other.file} ({pair.other.split}): nearly the same")
    print(f"wrote {out} ({len(page) / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
