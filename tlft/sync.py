"""`python -m tlft.sync`: deliver what MLflow has not got yet, and with --verify hash the files that it keeps.

How that is done is the business of `tlft.tracking`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tlft.config.paths import existing_home, home_folder
from tlft.runtime.command_line import exit_status
from tlft.tracking.outbox import deliver_rest, verify
from tlft.tracking.relocate import follow_move


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if something is still to be delivered, or is damaged."""
    arguments = _parse(argv)
    return exit_status(lambda: _do(arguments, existing_home()))


def _do(arguments: argparse.Namespace, home: Path) -> int:
    follow_move(home)
    failed = _deliver(home)
    if arguments.verify:
        failed |= _verify(arguments)
    return int(failed)


def _deliver(home: Path) -> bool:
    failed = False
    count = 0
    for rest in deliver_rest(home):
        count += 1
        failed |= bool(rest.waiting)
        why = f", {rest.waiting} still wait ({rest.error})" if rest.waiting else ""
        print(f"run {rest.run_id}: {rest.delivered} entries delivered{why}")
    if not count:
        print(f"nothing waits in {home / 'checkpoints'}")
    return failed


def _verify(arguments: argparse.Namespace) -> bool:
    looked = wrong = 0
    for record, said in verify(arguments.experiment, arguments.uri, home_folder()):
        looked += 1
        if said:
            wrong += 1
            print(f"run {record.run_id} ({record.name}): {said}; the same command runs it again")
    print(f"{looked} finished run{'s' if looked != 1 else ''} looked at, {wrong} damaged")
    return bool(wrong)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tlft.sync", description="Deliver what MLflow has not got yet.")
    parser.add_argument("--verify", action="store_true", help="hash the files of every finished run")
    parser.add_argument("--experiment", default="tlft", help="for --verify: the MLflow experiment (tlft)")
    parser.add_argument("--uri", help="for --verify: the tracking store (the database in TLFT_HOME)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
