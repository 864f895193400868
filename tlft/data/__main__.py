"""`python -m tlft.data PATH`: describe a folder of images as runs would take it, before any run."""

from __future__ import annotations

import shlex
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.terminal.greeting import begin

if __name__ == "__main__":
    begin()

from tlft.commands import invocation
from tlft.config.data_schema import ManifestConfig
from tlft.config.overrides import write_value
from tlft.config.paths import existing_home
from tlft.config.schema import Config
from tlft.data import class_map, dataset, image_folder
from tlft.data.dataset import Dataset
from tlft.data.manifest import KINDS
from tlft.errors import ConfigurationError, printable
from tlft.runs.preflight import check_command_line
from tlft.runtime.device import available_threads
from tlft.storage.files import relative_name
from tlft.storage.looking import looking_once
from tlft.terminal.command_line import command_parser, exit_status
from tlft.terminal.progress import describe_space
from tlft.terminal.text_table import render_table

if TYPE_CHECKING:
    from tlft.duplicates.near_duplicates import Pair
    from tlft.pixels.pixel_store import DecodedImages

_MOST = 8
"""Files and pairs that are named; the rest is counted."""

_MOST_CLASSES = 40
_SPLITS = {"train": "training", "holdout": "hold-out", "eval": "evaluation"}

_EXAMPLES = """\
  python -m tlft.data photos/                          train/<class>/* and val/<class>/*
  python -m tlft.data photos/ data.eval_fraction=0.2   <class>/* alone
  python -m tlft.data photos/labels.csv                a table: path, label, split, group
  python -m tlft.data photos/ --sheet sheet.png        some images of each class, as a picture
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if some image cannot be read; 2 if no run would take it."""
    arguments = build_parser().parse_args(argv)
    with looking_once():
        return exit_status(lambda: _describe(arguments, existing_home()))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser(
        "data",
        "Describe a folder of images as runs would take it: splits, classes, sizes, files that cannot be read, "
        "near-duplicates, groups, and the ImageNet outputs of its classes. Nothing is trained.",
        _EXAMPLES,
    )
    parser.add_argument("path", metavar="PATH", help="the folder, as in data.root=PATH, or a manifest (data.file=PATH)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="keys of a run, such as data.group=REGEX")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw some images of each class (.png or .jpg)")
    return parser


def _describe(arguments: Namespace, home: Path) -> int:
    if arguments.sheet and arguments.sheet.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigurationError(f"--sheet {arguments.sheet}: name a .png or .jpg file")
    if "=" in arguments.path and not Path(arguments.path).exists():
        raise ConfigurationError(f"{arguments.path}: no such folder; name the folder first, then keys")
    is_manifest = Path(arguments.path).suffix.lower() in KINDS
    option, key = ("manifest", "file") if is_manifest else ("imagefolder", "root")
    given = [f"data={option}", f"data.{key}={write_value(arguments.path)}", *arguments.overrides]
    checked = check_command_line(given)
    if checked is None or checked.config is None:
        raise ConfigurationError(
            f"{' '.join(arguments.overrides)}: asks for more than one run; give each key one value"
        )
    config = checked.config
    images = dataset.open_dataset(config.data, home, available_threads())
    for line in _lines_of_names(images, config):
        print(line)
    decoded, pairs = _look_at_pixels(images, config, home)
    for line in _lines_of_pixels(images, decoded, pairs):
        print(line)
    if arguments.sheet:
        _draw_sheet(images, decoded, arguments.sheet)
    command = [*invocation("run").split(), f"data={option}", f"data.{key}={arguments.path}", *arguments.overrides]
    print(f"run it: {shlex.join(command)}")
    return int(bool(decoded.bad))


def _lines_of_names(images: Dataset, config: Config) -> Iterator[str]:
    """Yield what names and bytes of the files say."""
    counts = Counter((image.label, image.split) for image in images.images)
    splits = [split for split in _SPLITS if images.split(split)]
    rows = [
        [printable(name), *(str(counts[label, split]) for split in splits)]
        for label, name in enumerate(images.classes[:_MOST_CLASSES])
    ]
    if len(images.classes) > _MOST_CLASSES:
        rows.append([f"and {len(images.classes) - _MOST_CLASSES} more", *("..." for _ in splits)])
    rows.append(["all", *(str(len(images.split(split))) for split in splits)])
    titles = ["class", *(_SPLITS[split] for split in splits)]
    yield f"{images.source.partition('=')[2]}: {len(images.images)} images, {len(images.classes)} classes"
    yield render_table(titles, rows, right=titles[1:])
    for split in splits:
        sizes = sorted((counts[label, split], name) for label, name in enumerate(images.classes))
        (least, fewest), (most, name) = sizes[0], sizes[-1]
        if most > 2 * least:
            fewest, name = printable(fewest), printable(name)
            yield f"unbalanced: of the {_SPLITS[split]} images {fewest} has {least}, {name} {most}"
    of_a_table = isinstance(config.data, ManifestConfig)
    taken = images.split_folders or ("as the table says" if of_a_table else "train is trained on, val reports")
    if config.data.eval_fraction:
        taken = f"none of splits; {config.data.eval_fraction:g} of the images, drawn by content, report"
    if config.data.folds:
        taken = f"none of splits; fold {config.data.fold} of {config.data.folds}, drawn by content, reports"
    yield f"{'splits' if of_a_table else 'folders'}: {taken}"
    if images.left_out:
        names = _some([relative_name(path, images.root) for path in images.left_out])
        yield f"left out: {image_folder.describe_kinds(images.left_out.values())} ({names})"
    copies = len(images.images) - len({image.sha256 for image in images.images})
    yield f"the same bytes twice within a split: {copies or 'none'}"
    groups = {image.group for image in images.images} - {""}
    yield f"groups: {len(groups)}" if groups else "groups: none stated (data.group: images of one burst, nest, patient)"
    try:
        leave_out = config.data.unmapped == "leave_out"
        outputs = class_map.resolve_class_map(config.data.class_map, images.classes, leave_out=leave_out)
        yield f"1000-class head: {class_map.describe(outputs)}"
    except ConfigurationError as error:
        yield f"1000-class head: {_some([text.removeprefix('head=imagenet1k: ') for text in error.problems], 1)}"


def _look_at_pixels(images: Dataset, config: Config, home: Path) -> tuple[DecodedImages, list[Pair] | None]:
    """Decode every image as runs of the configured network do, and look for near-duplicates."""
    from tlft.duplicates.near_duplicates import find_near_duplicates
    from tlft.models.spec import describe
    from tlft.pixels.pixel_store import decode_all

    transform = describe(config.arch.library, config.arch.name, config.arch.weights, home).transform
    transform = transform.of_files(images.white, config.data.decode)
    decoded = decode_all(images.files, transform, home / "cache" / "decoded", available_threads())
    pairs = find_near_duplicates(images, decoded, transform, home / "cache", available_threads())
    return decoded, pairs


def _lines_of_pixels(images: Dataset, decoded: DecodedImages, pairs: Sequence[Pair] | None) -> Iterator[str]:
    """Yield what the images themselves say."""
    yield _describe_sizes(images, decoded)
    if decoded.bad:
        names = [f"{relative_name(images.files[sha], images.root)} {reason}" for sha, reason in decoded.bad.items()]
        yield f"cannot be read: {len(decoded.bad)} ({_some(names)}); data.on_bad_image=skip leaves them out"
    if pairs is None:
        yield "nearly the same: not looked for among so many images"
        return
    leaks = [pair for pair in pairs if pair.leaks]
    others = Counter(pair.one.split for pair in pairs if pair.one.split == pair.other.split)
    within = ", ".join(f"{count} within the {_SPLITS[split]} images" for split, count in others.items())
    yield f"nearly the same: {len(leaks) or 'no'} pairs across training and evaluation{f', {within}' if within else ''}"
    for pair in leaks[:_MOST]:
        yield f"  {pair.one.file} and {pair.other.file}{' (mirrored)' if pair.mirrored else ''}"
    if len(leaks) > _MOST:
        yield f"  and {len(leaks) - _MOST} more pairs"


def _describe_sizes(images: Dataset, decoded: DecodedImages) -> str:
    from PIL import Image

    def look(path: Path) -> tuple[int, int, str] | None:
        with suppress(OSError, ValueError, Image.DecompressionBombError), Image.open(path) as image:
            return *image.size, (image.format or "").lower()
        return None

    paths = [path for sha256, path in images.files.items() if sha256 in decoded.rows]
    with warnings.catch_warnings(), ThreadPoolExecutor(available_threads()) as pool:
        warnings.simplefilter("ignore")  # of what stands beside the pixels
        looks = [look for look in pool.map(look, paths) if look is not None]
    if not looks:
        return "sizes: no image can be read"
    by_area = sorted(looks, key=lambda look: look[0] * look[1])
    (least, middle, most) = (
        f"{width} x {height}" for width, height, _ in (by_area[0], by_area[len(looks) // 2], by_area[-1])
    )
    formats = ", ".join(f"{count} {name}" for name, count in Counter(look[2] for look in looks).most_common())
    space = describe_space(sum(path.stat().st_size for path in paths))
    span = f"all {least} pixels" if least == most else f"{least} to {most} pixels, in the middle {middle}"
    return f"sizes: {span}; {formats}; {space}"


def _draw_sheet(images: Dataset, decoded: DecodedImages, out: Path) -> None:
    from tlft.evaluation.contact_sheet import IMAGES_OF_A_CLASS, MOST_CLASSES, draw_contact_sheet

    rows_of: dict[str, list[int]] = {name: [] for name in images.classes}
    for image in images.images:
        if image.sha256 in decoded.rows:
            rows_of[images.classes[image.label]].append(decoded.rows[image.sha256])
    shown = {
        name: [decoded.pixels.centre(row) for row in rows[: IMAGES_OF_A_CLASS if number < MOST_CLASSES else 0]]
        for number, (name, rows) in enumerate(rows_of.items())
    }
    draw_contact_sheet(shown, {name: len(rows) for name, rows in rows_of.items()}).save(out)
    print(f"some of each class: {out}")


def _some(texts: Sequence[str], most: int = _MOST) -> str:
    more = f", and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


if __name__ == "__main__":
    sys.exit(main())
