"""`python -m tlft.clean`: say what may be deleted from a home and how much that frees; with --yes delete it.

What may be deleted is the business of `tlft.runtime.garbage` and `tlft.tracking`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from tlft.config.paths import existing_home
from tlft.data.cache import caches_over, partial_caches
from tlft.errors import ConfigurationError
from tlft.runtime.command_line import exit_status
from tlft.runtime.garbage import Waste, leftovers
from tlft.sweeps.estimate import describe_space
from tlft.tracking.garbage import deleted_artifacts, orphan_checkpoints
from tlft.tracking.relocate import follow_move, relocate


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if something failed; 2 if it was asked for wrongly."""
    arguments = _parse(argv)
    return exit_status(lambda: _do(arguments, existing_home()))


def _do(arguments: argparse.Namespace, home: Path) -> int:
    if arguments.relocate:
        print(f"mended {relocate(home)} places of files in {home / 'mlflow.db'}")
        return 0
    return _clean(_find(home, _limit(arguments.max_gb)), home, delete=arguments.yes)


def _find(home: Path, max_gb: float | None) -> Iterator[Waste]:
    caches: Iterable[Waste] = () if max_gb is None else caches_over(home, max_gb)
    return chain(
        caches, partial_caches(home), leftovers(home), _known_to_mlflow(home)
    )  # in this order: a full disk opens no database


def _known_to_mlflow(home: Path) -> Iterator[Waste]:
    follow_move(home)
    yield from orphan_checkpoints(home)
    yield from deleted_artifacts(home)


def _clean(found: Iterable[Waste], home: Path, *, delete: bool) -> int:
    freed = count = failed = 0
    for one in found:
        name = one.path.relative_to(home) if one.path.is_relative_to(home) else one.path
        if one.kept:
            print(f"   kept    {name}: {one.why}")
            continue
        print(f"{describe_space(one.size):>10} {name}: {one.why}", flush=True)
        if delete:
            try:
                one.delete()
            except OSError as error:
                print(f"failed: {error.filename or one.path}: {error.strerror}; it was left", file=sys.stderr)
                failed += 1
                continue
        freed, count = freed + one.size, count + 1
    if not count:
        print(f"nothing to delete in {home}")
    elif delete:
        print(f"deleted {count}, {describe_space(freed)}")
    else:
        print(f"{count} to delete, {describe_space(freed)}; python -m tlft.clean --yes deletes them")
    return int(bool(failed))


def _limit(asked: float | None) -> float | None:
    """Return the gigabytes that decoded images may take: as asked, else as `conf/` has it; None if there is no limit.

    Raises:
        ConfigurationError: if that is no size.
    """
    if asked is None:
        from tlft.config.compose import Composer

        configured = Composer().compose([]).cache.max_gb
        return None if configured is None else float(configured)
    if not (asked >= 0 and math.isfinite(asked)):
        raise ConfigurationError(f"--max-gb {asked}: give a number of at least 0")
    return asked


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tlft.clean",
        description="Say what nobody needs any more: checkpoints without an unfinished run, decoded images over a "
        "limit, files of deleted runs, what killed processes left. Nothing is deleted without --yes.",
    )
    parser.add_argument("--yes", action="store_true", help="delete it")
    parser.add_argument("--max-gb", type=float, help="what decoded images may take (cache.max_gb in conf/config.yaml)")
    parser.add_argument(
        "--relocate", action="store_true", help="only mend where MLflow looks for the files of a folder that was moved"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
