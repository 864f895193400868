"""Begin a run where a shorter one of its kind has ended, if that kept its last checkpoint (`checkpoint.keep`).

The longer run comes to the bits of one that was trained in one go, as one does that goes on after a kill.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlft.config.schema import Config
from tlft.names import CURVES, Artifact, Metric, Tag, short_id
from tlft.records.record import Record
from tlft.runs.run_key import digest_of
from tlft.tracking.reader import ArtifactReader, load_curves
from tlft.tracking.shorter_runs import epochs_of, find_of_any_length

if TYPE_CHECKING:
    from tlft.runs.context import RunContext
    from tlft.training.loop import TrainingState

log = logging.getLogger(__name__)

_OF_EPOCHS = (
    *(*CURVES, Metric.TRAIN_LR, Metric.TRAIN_IMAGES_PER_SECOND),
    *(Metric.CURVE_HOLDOUT_ACCURACY, Metric.CURVE_HOLDOUT_LOSS),
)
"""Figures of each epoch, which the longer run has of the epochs that it did not train."""


def key_of_any_length(science: Mapping[str, Any]) -> str:
    """Return the SHA-256 that runs share if they differ in their epochs alone; empty where nothing is trained."""
    training = dict(science["training"])
    if training.pop("epochs", None) is None:
        return ""
    return digest_of({**science, "training": training})


def begin_where_a_shorter_run_ended(context: RunContext, state: TrainingState) -> None:
    """Put the model and the state of a run that has just begun where the longest shorter one has ended; or say why not.

    What was logged of the epochs that are not trained again is logged here too.
    """
    config, run = context.config, context.run
    key = key_of_any_length(context.identity.science)
    of_any_length = find_of_any_length(context.store, config, key)
    reasons = []  # of each run, the longest first
    for record in (each for each in of_any_length if epochs_of(each) < config.training.epochs):
        if not (reason := _hindrance(config, epochs_of(record)) or _restore(context, state, record)):
            log.info("%s: goes on after epoch %d of run %s", run.name, state.epoch, short_id(record.run_id))
            run.log_tags({Tag.CONTINUES: record.run_id})
            _copy_history(context, record, state.epoch)
            return
        what = f"the {epochs_of(record)} epochs of run {short_id(record.run_id)} are trained again"
        reasons.append(f"{what}, since {reason}")
    if reasons:
        log.info("%s: %s", run.name, reasons[0])


def _hindrance(config: Config, epochs: int) -> str:
    """Return why a run of fewer epochs was trained otherwise than the first epochs of this one, or nothing."""
    training = config.training
    if config.schedule.name == "cosine":
        return "schedule=cosine brings the rate to zero at the end of all epochs"
    if training.keep == "lowest_train_loss" and epochs > training.epochs - math.ceil(training.epochs / 5):
        return "training.keep=lowest_train_loss looks at another fifth of the epochs"
    return ""


def _restore(context: RunContext, state: TrainingState, record: Record) -> str:
    """Restore the last checkpoint of a run; returns why that cannot be, or nothing."""
    from tlft.training.checkpoint import Checkpoints

    with ArtifactReader(context.config.tracking.uri, context.config.home).file(record, Artifact.CHECKPOINT) as folder:
        if folder is None:
            return "it kept no checkpoint (checkpoint.keep=true keeps one)"
        if not Checkpoints(folder, record.key).restore(context.model, state, context.machine):
            return "its checkpoint is damaged"
    if context.config.training.keep == "lowest_train_loss":  # of which the longer run looks at none so far
        state.best_loss, state.best_weights = math.inf, None
    return ""


def _copy_history(context: RunContext, record: Record, epochs: int) -> None:
    """Log what a shorter run has logged of its first epochs, unless that was done before this run was interrupted."""
    config = context.config
    if context.run.history(Metric.TRAIN_LOSS):
        return
    curves = load_curves([record], _OF_EPOCHS, config.tracking.uri, config.home)[record.run_id]
    by_step: dict[int, dict[str, float]] = {}
    for name, points in curves.items():
        for step, value in points:
            by_step.setdefault(step, {})[name] = value
    for step, metrics in sorted((step, metrics) for step, metrics in by_step.items() if step <= epochs):
        context.run.log_metrics(metrics, step=step)
