"""`python -m tlft.clean`: say what may be deleted from a home and how much that frees; with --yes delete it."""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from tlft.terminal.greeting import begin

if __name__ == "__main__":
    begin()

from tlft.commands import invocation
from tlft.config.paths import existing_home
from tlft.database.relocate import follow_move, relocate
from tlft.errors import ConfigurationError
from tlft.pixels.cache import caches_over, useless_caches
from tlft.runtime.garbage import Waste, leftovers
from tlft.terminal.command_line import command_parser, exit_status
from tlft.terminal.progress import describe_space
from tlft.tracking.garbage import deleted_artifacts, orphan_checkpoints


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if something failed; 2 if it was asked for wrongly."""
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _run(arguments, existing_home()))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser("clean", _DESCRIPTION)
    parser.add_argument("--yes", action="store_true", help="delete it")
    parser.add_argument(
        "--max-gb", type=float, help="what decoded images and features may take (cache.max_gb in conf/config.yaml)"
    )
    parser.add_argument(
        "--relocate", action="store_true", help="only mend where MLflow looks for the files of a folder that was moved"
    )
    return parser


_DESCRIPTION = """Say what nobody needs any more: checkpoints without an unfinished run, decoded
images and features over a limit, files of deleted runs, what killed processes left.
Nothing is deleted without --yes."""


def _run(arguments: Namespace, home: Path) -> int:
    if arguments.relocate:
        print(f"mended {relocate(home)} places of files in {home / 'mlflow.db'}")
        return 0
    max_gb = _limit(arguments.max_gb)
    caches: Iterable[Waste] = () if max_gb is None else caches_over(home, max_gb)
    # In this order: a full disk opens no database.
    waste = chain(caches, useless_caches(home), leftovers(home), _known_to_mlflow(home))
    return _clean(waste, home, delete=arguments.yes)


def _known_to_mlflow(home: Path) -> Iterator[Waste]:
    follow_move(home)
    yield from orphan_checkpoints(home)
    yield from deleted_artifacts(home)


def _clean(wastes: Iterable[Waste], home: Path, *, delete: bool) -> int:
    freed = count = failed = 0
    for item in wastes:
        name = item.path.relative_to(home) if item.path.is_relative_to(home) else item.path
        if item.kept:
            print(f"   kept    {name}: {item.why}")
            continue
        print(f"{describe_space(item.size):>10} {name}: {item.why}", flush=True)
        if delete:
            try:
                item.delete()
            except OSError as error:
                print(f"failed: {error.filename or item.path}: {error.strerror}; it was left", file=sys.stderr)
                failed += 1
                continue
        freed, count = freed + item.size, count + 1
    if not count:
        print(f"nothing to delete in {home}")
    elif delete:
        print(f"deleted {count}, {describe_space(freed)}")
    else:
        print(f"{count} to delete, {describe_space(freed)}; {invocation('clean')} --yes deletes them")
    return int(bool(failed))


def _limit(given: float | None) -> float | None:
    """Return the gigabytes that caches may take: as given, else as `conf/` has it; None if without limit."""
    if given is None:
        from tlft.config.compose import Composer

        configured = Composer().compose([]).cache.max_gb
        return None if configured is None else float(configured)
    if not (given >= 0 and math.isfinite(given)):
        raise ConfigurationError(f"--max-gb {given}: give a number of at least 0")
    return given


if __name__ == "__main__":
    sys.exit(main())
