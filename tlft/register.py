"""`python -m tlft.register`: put the network of a run into MLflow's registry, with an alias and a card."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from tlft.commands import invocation
from tlft.errors import ConfigurationError
from tlft.names import Metric, Param, Tag, short_id
from tlft.records.record import Record
from tlft.terminal.command_line import add_experiment, add_uri, command_parser, exit_status

_FIGURES = (
    *(Metric.HOLDOUT_ACCURACY, Metric.ACCURACY, Metric.CLOSED_SET_ACCURACY),
    *(Metric.BALANCED_ACCURACY, Metric.MACRO_F1),
)
_MOST_CLASSES = 10


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
    """Return the card of a registered model, in Markdown: what it is, how good, of which run, and how to use it."""
    params, tags, metrics = record.params, record.tags, record.metrics
    of = {Metric.HOLDOUT_ACCURACY: "training images kept back to choose by", Metric.ACCURACY: "evaluation images"}
    figures = [name for name in _FIGURES if name in metrics]
    if metrics.get(Metric.CLOSED_SET_ACCURACY) == metrics.get(Metric.ACCURACY):  # of a head that has no other outputs
        figures = [name for name in figures if name != Metric.CLOSED_SET_ACCURACY]
    classes = [name.removeprefix(Metric.RECALL) for name in metrics if name.startswith(Metric.RECALL)]
    named = f": {', '.join(classes[:_MOST_CLASSES])}{', ...' * (len(classes) > _MOST_CLASSES)}" if classes else ""
    commit = f"{tags.get(Tag.COMMIT, 'unknown')[:12]}{' (with changes)' if tags.get(Tag.DIRTY) == 'true' else ''}"
    return "\n".join(
        [
            f"**{record.name}** on {tags.get(Tag.DATA, 'unknown')}{named}",
            "",
            *(f"- {name}: {metrics[name]:.4f}{f', of the {of[name]}' if name in of else ''}" for name in figures),
            f"- network: {params.get(Param.ARCH, 'unknown')}, {_describe_weights(record)}",
            f"- run: {short_id(record.run_id)} ({record.run_id}), code {commit}",
            "",
            f"`{invocation('predict')} {short_id(record.run_id)} PHOTOGRAPH` says what it makes of one.",
        ]
    )


def _describe_weights(record: Record) -> str:
    if Tag.WEIGHTS in record.tags:
        return f"begun with the weights {record.tags[Tag.WEIGHTS]}"
    return "begun with pretrained weights" if Param.WEIGHTS in record.params else "trained from scratch"


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
    from tlft.tracking.registry import Card, register_model

    _check(arguments)
    record = _choose(arguments)
    tags = {name: record.tags[name] for name in (Tag.DATA, Tag.ARCH, Tag.COLUMN) if name in record.tags}
    card = Card(describe_model(record), tags)
    version = register_model(record.run_id, arguments.name, arguments.alias, card, arguments.uri)
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
    from tlft.database.places import tracking_uri
    from tlft.tracking.reader import load_record, load_records

    experiment = arguments.best_of or arguments.experiment
    records = load_records(experiment, arguments.uri)
    if not records:
        raise ConfigurationError(
            f"{experiment}: no such experiment in {tracking_uri(arguments.uri)}, or it has no runs; name another, or "
            f"set TLFT_HOME; `{invocation('ui')}` tells their names"
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
