"""`python -m tlft.predict`: classify image files with the network of a logged run."""

from __future__ import annotations

import argparse
import csv
import glob
import json
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.config.paths import home_folder
from tlft.data.folder_names import folder_label, walk_visible
from tlft.errors import ConfigurationError, TlftError
from tlft.evaluation.wording import say_probability
from tlft.names import PROBABILITY
from tlft.storage.files import display_name
from tlft.terminal.command_line import add_uri, command_parser, exit_status
from tlft.terminal.progress import progress

if TYPE_CHECKING:
    from tlft.inference.classifier import Answer


def find_files(arguments: Sequence[str]) -> list[Path]:
    """Return the files that paths, folders (all below them, but hidden ones) and patterns name, each once.

    Raises:
        ConfigurationError: for each argument that names no file.
    """
    files: dict[Path, None] = {}
    problems = []
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            matches = sorted(walk_visible(path))
        elif path.exists():
            matches = [path]
        else:
            names = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  (a path may be absolute)
            matches = [Path(name) for name in names if Path(name).is_file()]
        if not matches:
            problems.append(f"{argument}: {'has no files' if path.is_dir() else 'no such file, folder or pattern'}")
        files |= dict.fromkeys(matches)
    if problems:
        raise ConfigurationError(problems)
    return list(files)


class _Writer:
    """Write answers as they come, in one of the formats, to standard output."""

    def __init__(self, format: str, classes: Sequence[str]) -> None:
        self._format, self._count = format, 0
        self._csv = csv.writer(sys.stdout, lineterminator="\n")
        if format == "csv":
            self._csv.writerow(
                ["file", "label", "predicted", "confidence", *(f"{PROBABILITY}{name}" for name in classes)]
            )

    def write(self, file: Path, label: str | None, answer: Answer) -> None:
        name, confidence = answer.top[0]
        if self._format == "csv":
            figures = [f"{p:.6f}" for p in (confidence, *answer.probabilities.values())]
            self._csv.writerow([display_name(file), label or "", name, *figures])
        elif self._format == "json":
            record = {
                "file": display_name(file),
                "label": label,
                "predicted": name,
                "confidence": confidence,
                "top": [{"name": name, "probability": p} for name, p in answer.top],
                "probabilities": answer.probabilities,
            }
            print(("[\n" if not self._count else ",\n") + json.dumps(record, ensure_ascii=False), end="")
        else:
            likeliest = ", ".join(f"{name} {say_probability(p)}" for name, p in answer.top)
            folder = ""
            if label not in (None, name):
                folder = f"   (its folder says {label}: {say_probability(answer.probabilities[label])})"
            print(f"{display_name(file)}: {likeliest}{folder}")
        self._count += 1

    def close(self) -> None:
        if self._format == "json":
            print("\n]" if self._count else "[]")


_EXAMPLES = """\
  python -m tlft.predict RUN photo.jpg                      one photograph, with the network of a run
  python -m tlft.predict RUN folder/ 'more/*.png' --top 3   folders and patterns; the three likeliest outputs
  python -m tlft.predict models:/insects@champion folder/   with a registered model
  python -m tlft.predict RUN folder/ --format csv > out.csv for programs; json too
  python -m tlft.predict RUN folder/ --explain overlays/    where the network looked (Grad-CAM)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if a file was no image; 2 if it was asked for wrongly."""
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _predict(arguments))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser(
        "predict",
        "Classify image files with the network of a logged run. Where folders are named after classes the accuracy is "
        "told too. What is no image is named and skipped; the exit status is then 1.",
        _EXAMPLES,
    )
    parser.add_argument("model", metavar="RUN", help="a run's id, models:/NAME@ALIAS or models:/NAME/VERSION")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, folders, or patterns in quotes")
    parser.add_argument("--format", choices=("terminal", "csv", "json"), default="terminal")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="how many of the likeliest outputs to name")
    parser.add_argument("--explain", type=Path, metavar="DIR", help="write where the network looked, as pictures")
    add_uri(parser)
    return parser


def _predict(arguments: argparse.Namespace) -> int:
    if arguments.top < 1:
        raise ConfigurationError(f"--top {arguments.top}: give 1 or more")
    if arguments.top > 1 and arguments.format == "csv":
        raise ConfigurationError(f"--top {arguments.top}: csv has a place for the likeliest alone; use --format json")
    files = find_files(arguments.paths)
    from tlft.tracking.registry import find_model

    description, weights = find_model(arguments.model, arguments.uri)
    from tlft.features.recall import RecalledFeatures
    from tlft.inference.classifier import Classifier, load_file
    from tlft.inference.gradcam import Overlays

    classifier = Classifier.load(description, weights)
    explain = Overlays(classifier, arguments.explain).write if arguments.explain is not None else None
    load, predict = partial(load_file, transform=classifier.transform), None
    if explain is None and (kept := RecalledFeatures.of(classifier, home_folder())) is not None:
        load, predict = partial(kept.load, otherwise=load), kept.predict
    warnings.filterwarnings("ignore", module="PIL")  # what is broken beside the pixels is no matter here
    classes = classifier.label_space.classes
    writer = _Writer(arguments.format, classes)
    skipped = correct = labelled = 0
    with progress("classifying", len(files), "images") as advance:
        for file, answer in zip(files, classifier.answers(files, load, arguments.top, explain, predict), strict=True):
            advance()
            if isinstance(answer, TlftError):
                print(f"skipped: {answer}", file=sys.stderr)
                skipped += 1
                continue
            label = folder_label(file, classes)
            writer.write(file, label, answer)
            labelled += label is not None
            correct += label == answer.top[0][0]
    writer.close()
    if labelled:
        accuracy = f"accuracy {100 * correct / labelled:.3f} % ({correct} of {labelled} whose folder names a class)"
        print(accuracy, file=sys.stdout if arguments.format == "terminal" else sys.stderr)
    if arguments.explain is not None:
        print(f"overlays in {arguments.explain}", file=sys.stderr)
    return int(skipped > 0)


if __name__ == "__main__":
    sys.exit(main())
