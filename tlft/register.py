"""`python -m tlft.register`: put the network of a run into MLflow's registry, with an alias and a card.

Which run is the best is decided by the hold-out alone; how the registry works is the business of `tlft.tracking`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from tlft.errors import ConfigurationError
from tlft.runtime.command_line import exit_status
from tlft.tracking.records import Record

_HOLDOUT = "holdout/accuracy"
_FIGURES = (_HOLDOUT, "eval/accuracy", "eval/closed_set_accuracy", "eval/macro_f1")


def choose_best(records: Sequence[Record], experiment: str) -> Record:
    """Return the finished run with the highest accuracy on its hold-out; of equals the oldest.

    The evaluation images are never asked: what they chose would look better on them than it is.

    Raises:
        ConfigurationError: if no run has a hold-out.
    """
    known = [
        record
        for record in records
        if record.status == "FINISHED" and not record.deleted and record.tags.get("debug") != "true"
    ]
    with_holdout = [record for record in known if _HOLDOUT in record.metrics]
    if not with_holdout:
        raise ConfigurationError(
            f"--best-of {experiment}: none of its {len(known)} finished runs has {_HOLDOUT}; the best is never chosen "
            "by the evaluation images: run with data.holdout_fraction=0.2, or name a run"
        )
    holdouts = {record.params.get("data.holdout", "") for record in with_holdout}
    if len(holdouts) > 1:
        raise ConfigurationError(
            f"--best-of {experiment}: its runs have {len(holdouts)} different hold-outs, whose figures cannot be "
            "compared; name a run"
        )
    return max(with_holdout, key=lambda record: record.metrics[_HOLDOUT])


def describe_model(record: Record) -> str:
    """Return the card of a registered model, in Markdown."""
    params, tags = record.params, record.tags
    figures = [f"- {name}: {record.metrics[name]:.4f}" for name in _FIGURES if name in record.metrics]
    return "\n".join(
        [
            f"{record.name}, on {tags.get('data', 'unknown')}",
            "",
            *figures,
            f"- run: {record.run_id}, key {record.key[:12]}",
            f"- arch: {params.get('arch.name', 'unknown')}, weights {params.get('model.weights', 'from scratch')[:12]}",
            f"- code: {tags.get('commit', 'unknown')[:12]}{' (dirty)' if tags.get('dirty') == 'true' else ''}",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if the store fails; 2 if it was asked for wrongly."""
    arguments = _parse(argv)
    return exit_status(lambda: _register(arguments))


def _register(arguments: argparse.Namespace) -> int:
    from tlft.tracking.reader import load_records
    from tlft.tracking.registry import register_model

    if (arguments.run is None) == (arguments.best_of is None):
        raise ConfigurationError("name a run, or --best-of EXPERIMENT, and not both")
    for option, text in (("--name", arguments.name), ("--alias", arguments.alias)):
        if not re.fullmatch(r"[A-Za-z][\w.-]{0,99}", text):
            raise ConfigurationError(f"{option} {text}: give a word of letters, digits, `.`, `-` and `_`")
        if option == "--alias" and re.fullmatch(r"[vV]\d+|latest", text):
            raise ConfigurationError(f"{option} {text}: is MLflow's own word for versions; give another")
    experiment = arguments.best_of or arguments.experiment
    records = load_records(experiment, arguments.uri)
    if not records:
        raise ConfigurationError(f"{experiment}: no such experiment, or it has no runs; `mlflow ui` tells their names")
    if arguments.best_of is not None:
        record = choose_best(records, arguments.best_of)
    else:
        named = [record for record in records if record.run_id == arguments.run]
        if not named:
            raise ConfigurationError(
                f"{arguments.run}: no such run in experiment {arguments.experiment}; `mlflow ui` tells the ids"
            )
        (record,) = named
        if record.status != "FINISHED" or record.deleted:
            raise ConfigurationError(
                f"{arguments.run}: is {'deleted' if record.deleted else record.status}, not FINISHED"
            )
    version = register_model(record.run_id, arguments.name, arguments.alias, describe_model(record), arguments.uri)
    print(f"models:/{arguments.name}@{arguments.alias} is version {version}, run {record.run_id} ({record.name})")
    return 0


_EXAMPLES = """examples:
  python -m tlft.register RUN --name insects                the network of one run
  python -m tlft.register --best-of tlft --name insects     the best on the hold-out (data.holdout_fraction)
  mlflow models serve -m models:/insects@champion --env-manager local
"""


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tlft.register",
        description="Put the network of a run into MLflow's registry, with an alias and its figures on a card.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id")
    parser.add_argument("--best-of", metavar="EXPERIMENT", help=f"its run with the highest {_HOLDOUT}")
    parser.add_argument("--name", required=True, help="of the registered model")
    parser.add_argument("--alias", default="champion", help="default: champion")
    parser.add_argument("--experiment", default="tlft", metavar="NAME", help="of the run (default: tlft)")
    parser.add_argument("--uri", help="tracking store (default: mlflow.db in TLFT_HOME, else in the project folder)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
