"""`python -m tlft.sync`: deliver what MLflow has not got yet, and with --verify hash the files that it keeps."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from tlft.config.paths import existing_home
from tlft.database.relocate import follow_move
from tlft.terminal.command_line import add_experiment, add_uri, command_parser, exit_status
from tlft.tracking.outbox import deliver_journals, verify


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if something is still to be delivered, or is damaged."""
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _sync(arguments, existing_home()))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    parser = command_parser("sync", "Deliver what MLflow has not got yet.")
    parser.add_argument("--verify", action="store_true", help="hash the files of every finished run")
    add_experiment(parser, "for --verify: ")
    add_uri(parser, "for --verify: ")
    return parser


def _sync(arguments: Namespace, home: Path) -> int:
    follow_move(home)
    failed = _deliver(home)
    if arguments.verify:
        failed |= _verify(arguments.experiment, arguments.uri, home)
    return int(failed)


def _deliver(home: Path) -> bool:
    """Deliver and say what was delivered; tells whether something still waits."""
    waiting: list[int] = []
    for delivery in deliver_journals(home):
        waiting.append(delivery.waiting)
        why = f", {delivery.waiting} still wait ({delivery.error})" if delivery.waiting else ""
        print(f"run {delivery.run_id}: {delivery.delivered} entries delivered{why}")
    if not waiting:
        print(f"nothing waits in {home / 'checkpoints'}")
    return any(waiting)


def _verify(experiment: str, uri: str | None, home: Path) -> bool:
    """Hash the files and say which are not what they were; tells whether there are such."""
    looked = damaged = 0
    for record, damage in verify(experiment, uri, home):
        looked += 1
        if damage:
            damaged += 1
            print(f"run {record.run_id} ({record.name}): {damage}; the same command runs it again")
    print(f"{looked} finished run{'s' if looked != 1 else ''} looked at, {damaged} damaged")
    return bool(damaged)


if __name__ == "__main__":
    sys.exit(main())
