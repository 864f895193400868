"""`python -m tlft.predict`: classify image files with the network of a logged run.

How an image is classified is classifier.py's business; what is kept of a run, that of `tlft.tracking`.
"""

from __future__ import annotations

import argparse
import csv
import glob
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tlft.errors import ConfigurationError, TlftError
from tlft.runtime.command_line import exit_status
from tlft.runtime.device import available_threads
from tlft.runtime.progress import progress

if TYPE_CHECKING:
    from tlft.inference.classifier import Classifier
    from tlft.inference.gradcam import Overlays

FORMATS = ("terminal", "csv", "json")


@dataclass(frozen=True)
class Answer:
    """What the network says of one file.

    Attributes:
        label: the class that the file's folder names, or None.
        top: the likeliest of the head's outputs, by name, with their probabilities, 0..1.
        probabilities: class of the data -> probability, all outputs competing.
    """

    file: Path
    label: str | None
    top: tuple[tuple[str, float], ...]
    probabilities: dict[str, float]

    @property
    def right(self) -> bool:
        """Whether the folder names what was predicted."""
        return self.label == self.top[0][0]


def find_files(arguments: Sequence[str]) -> list[Path]:
    """Return the files that paths, folders (all below them, but hidden ones) and patterns name, each once.

    Raises:
        ConfigurationError: for each argument that names no file.
    """
    found: dict[Path, None] = {}
    problems = []
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if not file.is_dir() and not _is_hidden(file, path))
        elif path.exists():
            inside = [path]
        else:
            names = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  (a path may be absolute)
            inside = [Path(name) for name in names if Path(name).is_file()]
        if not inside:
            problems.append(f"{argument}: {'has no files' if path.is_dir() else 'no such file, folder or pattern'}")
        found |= dict.fromkeys(inside)
    if problems:
        raise ConfigurationError(problems)
    return list(found)


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def classify_files(
    classifier: Classifier, files: Sequence[Path], top: int = 1, overlays: Overlays | None = None
) -> Iterator[Answer | TlftError]:
    """Classify files in their order; yields an error in place of an answer for what is no image.

    Args:
        classifier: the network.
        files: are decoded in threads while the network works.
        top: how many outputs an answer has.
        overlays: write where the network looked, or None.
    """
    from tlft.data.pixel_store import in_order, load_image, resize_and_crop
    from tlft.evaluation.predictions import BATCH_SIZE

    def decode(path: Path) -> np.ndarray | TlftError:
        if not path.is_file():  # a link to nowhere, or a pipe, which would be waited for
            return TlftError(f"{path}: is no file; replace or delete it")
        try:
            return resize_and_crop(load_image(path), classifier.transform)
        except TlftError as error:
            return error
        except ValueError as error:  # too small or too long for the crop
            return TlftError(f"{path}: {error}; replace or delete it")

    with ThreadPoolExecutor(available_threads()) as pool:
        decoded = in_order(pool, decode, files)
        for start in range(0, len(files), BATCH_SIZE):
            paths = files[start : start + BATCH_SIZE]
            pixels = [next(decoded) for _ in paths]
            good = [index for index, one in enumerate(pixels) if not isinstance(one, TlftError)]
            images = [one for one in pixels if not isinstance(one, TlftError)]
            answers = iter(_answer(classifier, [paths[index] for index in good], images, top) if good else [])
            if overlays is not None and good:
                overlays.write([paths[index] for index in good], images)
            for one in pixels:
                yield one if isinstance(one, TlftError) else next(answers)


def _answer(classifier: Classifier, paths: Sequence[Path], pixels: Sequence[np.ndarray], top: int) -> list[Answer]:
    from tlft.evaluation.predictions import compute_log_probabilities, name_output, owners, predict

    classes, class_map = classifier.classes, classifier.description["class_map"]
    split = classifier.split(pixels)
    log_probabilities = compute_log_probabilities(classifier.model, split, classifier.machine)
    owner = owners(log_probabilities.shape[1], classes, class_map)
    told = predict(log_probabilities, split, classes, class_map)
    best = np.argsort(-log_probabilities, axis=1, kind="stable")[:, :top]
    answers = []
    for index, path in enumerate(paths):
        outputs = [int(output) for output in best[index]]
        named = tuple(
            (name_output(output, int(owner[output]), classes), float(np.exp(log_probabilities[index, output])))
            for output in outputs
        )
        label = path.absolute().parent.name
        answers.append(
            Answer(
                file=path,
                label=label if label in classes else None,
                top=named,
                probabilities={name: float(p) for name, p in zip(classes, told.probabilities[index], strict=True)},
            )
        )
    return answers


class _Writer:
    """Write answers as they come, in one of the formats, to standard output."""

    def __init__(self, format: str, classes: Sequence[str]) -> None:
        self._format, self._classes, self._count = format, classes, 0
        self._csv = csv.writer(sys.stdout, lineterminator="\n")
        if format == "csv":
            self._csv.writerow(["file", "label", "predicted", "confidence", *(f"p/{name}" for name in classes)])

    def write(self, answer: Answer) -> None:
        name, confidence = answer.top[0]
        if self._format == "csv":
            figures = [f"{p:.6f}" for p in (confidence, *answer.probabilities.values())]
            self._csv.writerow([answer.file, answer.label or "", name, *figures])
        elif self._format == "json":
            told = {
                "file": str(answer.file),
                "label": answer.label,
                "predicted": name,
                "confidence": confidence,
                "top": [{"name": name, "probability": p} for name, p in answer.top],
                "probabilities": answer.probabilities,
            }
            print(("[\n" if not self._count else ",\n") + json.dumps(told, ensure_ascii=False), end="")
        else:
            said = ", ".join(f"{name} {100 * p:.1f} %" for name, p in answer.top)
            wrong = "" if answer.label is None or answer.right else f"   (its folder says {answer.label})"
            print(f"{answer.file}: {said}{wrong}")
        self._count += 1

    def close(self) -> None:
        if self._format == "json":
            print("\n]" if self._count else "[]")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if a file was no image; 2 if it was asked for wrongly."""
    arguments = _parse(argv)
    return exit_status(lambda: _predict(arguments))


def _predict(arguments: argparse.Namespace) -> int:
    if arguments.top < 1:
        raise ConfigurationError(f"--top {arguments.top}: give 1 or more")
    if arguments.top > 1 and arguments.format == "csv":
        raise ConfigurationError(f"--top {arguments.top}: csv has a place for the likeliest alone; use --format json")
    files = find_files(arguments.paths)
    from tlft.tracking.registry import find_model

    description, weights = find_model(arguments.model, arguments.uri)
    from tlft.inference.classifier import Classifier

    classifier = Classifier.load(description, weights)
    overlays = None
    if arguments.explain is not None:
        from tlft.inference.gradcam import Overlays

        overlays = Overlays(classifier, arguments.explain)
    writer = _Writer(arguments.format, classifier.classes)
    bad = right = labelled = 0
    with progress("classifying", len(files), "images") as advance:
        for answer in classify_files(classifier, files, arguments.top, overlays):
            advance()
            if isinstance(answer, TlftError):
                print(f"skipped: {answer}", file=sys.stderr)
                bad += 1
                continue
            writer.write(answer)
            labelled += answer.label is not None
            right += answer.right
    writer.close()
    if labelled:
        told = f"accuracy {100 * right / labelled:.3f} % ({right} of {labelled} whose folder names a class)"
        print(told, file=sys.stdout if arguments.format == "terminal" else sys.stderr)
    if arguments.explain is not None:
        print(f"overlays in {arguments.explain}", file=sys.stderr)
    return int(bad > 0)


_EXAMPLES = """examples:
  python -m tlft.predict RUN photo.jpg                      one photograph, with the network of a run
  python -m tlft.predict RUN folder/ 'more/*.png' --top 3   folders and patterns; the three likeliest outputs
  python -m tlft.predict models:/insects@champion folder/   with a registered model
  python -m tlft.predict RUN folder/ --format csv > out.csv for programs; json too
  python -m tlft.predict RUN folder/ --explain overlays/    where the network looked (Grad-CAM)
"""


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tlft.predict",
        description="Classify image files with the network of a logged run. Where folders are named after classes the "
        "accuracy is told too. What is no image is named and skipped; the exit status is then 1.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="RUN", help="a run's id, models:/NAME@ALIAS or models:/NAME/VERSION")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, folders, or patterns in quotes")
    parser.add_argument("--format", choices=FORMATS, default="terminal")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="how many of the likeliest outputs to name")
    parser.add_argument("--explain", type=Path, metavar="DIR", help="write where the network looked, as pictures")
    parser.add_argument("--uri", help="tracking store (default: mlflow.db in TLFT_HOME, else in the project folder)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
