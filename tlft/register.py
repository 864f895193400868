"""`python -m tlft.register`: put the network of a run into MLflow's registry, with an alias and a card."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from tlft.commands import invocation
from tlft.errors import ConfigurationError
from tlft.names import Metric, Param, Tag
from tlft.records.record import Record
from tlft.terminal.command_line import add_experiment, add_uri, command_parser, exit_status

_FIGURES = (Metric.HOLDOUT_ACCURACY, Metric.ACCURACY, Metric.CLOSED_SET_ACCURACY, Metric.MACRO_F1)


def choose_best(records: Sequence[Record], experiment: str) -> Record:
    """Return the finished run with the highest accuracy on its hold-out; of equals the oldest.

    The evaluation images are never asked: what they chose would look better on them than it is.

    Raises:
        ConfigurationError: if no run has a hold-out.
    """
    finished = [
        record
        for record in records
        if record.status == "FINISHED" and not record.deleted and record.tags.get(Tag.DEBUG) != "true"
    ]
    with_holdout = [record for record in finished if Metric.HOLDOUT_ACCURACY in record.metrics]
    if not with_holdout:
        raise ConfigurationError(
            f"--best-of {experiment}: none of its {len(finished)} finished runs has {Metric.HOLDOUT_ACCURACY}; the "
            "best is never chosen by the evaluation images: run with data.holdout_fraction=0.2, or name a run"
        )
    holdouts = {record.params.get(Param.DATA_HOLDOUT, "") for record in with_holdout}
    if len(holdouts) > 1:
        raise ConfigurationError(
            f"--best-of {experiment}: its runs have {len(holdouts)} different hold-outs, whose figures cannot be "
            "compared; name a run"
        )
    return max(with_holdout, key=lambda record: record.metrics[Metric.HOLDOUT_ACCURACY])


def describe_model(record: Record) -> str:
    """Return the card of a registered model, in Markdown."""
    params, tags = record.params, record.tags
    figures = [f"- {name}: {record.metrics[name]:.4f}" for name in _FIGURES if name in record.metrics]
    return "\n".join(
        [
            f"{record.name}, on {tags.get(Tag.DATA, 'unknown')}",
            "",
            *figures,
            f"- run: {record.run_id}, key {record.key[:12]}",
            f"- arch: {params.get(Param.ARCH, 'unknown')}, weights {params.get(Param.WEIGHTS, 'from scratch')[:12]}",
            f"- code: {tags.get(Tag.COMMIT, 'unknown')[:12]}{' (dirty)' if tags.get(Tag.DIRTY) == 'true' else ''}",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 if the store fails; 2 if it was asked for wrongly."""
    arguments = build_parser().parse_args(argv)
    return exit_status(lambda: _register(arguments))


def build_parser() -> ArgumentParser:
    """Return the parser of the command's options."""
    description = "Put the network of a run into MLflow's registry, with an alias and its figures on a card."
    parser = command_parser("register", description, _EXAMPLES)
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id")
    parser.add_argument("--best-of", metavar="EXPERIMENT", help=f"its run with the highest {Metric.HOLDOUT_ACCURACY}")
    parser.add_argument("--name", required=True, help="of the registered model")
    parser.add_argument("--alias", default="champion", help="default: champion")
    add_experiment(parser, "of RUN: ")
    add_uri(parser)
    return parser


_EXAMPLES = """  python -m tlft.register RUN --name insects                the network of one run
  python -m tlft.register --best-of tlft --name insects     the best on the hold-out (data.holdout_fraction)
  mlflow models serve -m models:/insects@champion --env-manager local
"""


def _register(arguments: Namespace) -> int:
    from tlft.tracking.registry import register_model

    _check(arguments)
    record = _choose(arguments)
    version = register_model(record.run_id, arguments.name, arguments.alias, describe_model(record), arguments.uri)
    print(f"models:/{arguments.name}@{arguments.alias} is version {version}, run {record.run_id} ({record.name})")
    return 0


def _check(arguments: Namespace) -> None:
    if (arguments.run is None) == (arguments.best_of is None):
        raise ConfigurationError("name a run, or --best-of EXPERIMENT, and not both")
    for option, text in (("--name", arguments.name), ("--alias", arguments.alias)):
        if not re.fullmatch(r"[A-Za-z][\w.-]{0,99}", text):
            raise ConfigurationError(f"{option} {text}: give a word of letters, digits, `.`, `-` and `_`")
        if option == "--alias" and re.fullmatch(r"[vV]\d+|latest", text):
            raise ConfigurationError(f"{option} {text}: is MLflow's own word for versions; give another")


def _choose(arguments: Namespace) -> Record:
    """Return the run that was named, or the best."""
    from tlft.tracking.reader import load_record, load_records

    experiment = arguments.best_of or arguments.experiment
    records = load_records(experiment, arguments.uri)
    if not records:
        raise ConfigurationError(
            f"{experiment}: no such experiment, or it has no runs; `{invocation('ui')}` tells their names"
        )
    if arguments.best_of is not None:
        return choose_best(records, experiment)
    run_id = load_record(arguments.run, arguments.uri).run_id
    record = next((record for record in records if record.run_id == run_id), None)
    if record is None:
        raise ConfigurationError(f"{arguments.run}: is of another experiment than {experiment}; name its --experiment")
    if record.status != "FINISHED" or record.deleted:
        raise ConfigurationError(f"{arguments.run}: is {'deleted' if record.deleted else record.status}, not FINISHED")
    return record


if __name__ == "__main__":
    sys.exit(main())
