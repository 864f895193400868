"""The story of one run, from the configuration to the outcome in MLflow.

The order is not free: the cheap before the dear, the identity before the work, nothing heavy for a finished run.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.config.columns import column_of
from tlft.config.schema import Config
from tlft.data.class_map import describe as describe_class_map
from tlft.errors import RunElsewhereError
from tlft.models.weights import refuse_out_of_reach
from tlft.names import Artifact, Metric, Tag, flatten, short_id, shorten
from tlft.pixels.cache import warn_of_caches
from tlft.records.outcome import Outcome, RunStatus
from tlft.runs.artifacts import describe_model, import_ahead, write_artifacts
from tlft.runs.context import RunContext, SweepMembership
from tlft.runs.identify import Identity, data_tags, identify, stated_facts
from tlft.runs.longer_run import begin_where_a_shorter_run_ended, key_of_any_length
from tlft.runs.replay import refuse_other_run
from tlft.runs.run_names import asked_settings, run_name
from tlft.runtime import signals
from tlft.runtime.device import Machine, peaks, prepare_machine
from tlft.runtime.environment import describe_environment, source_state
from tlft.terminal.loading import loaded
from tlft.tracking.active_run import ActiveRun
from tlft.tracking.claimed_run import claim_run
from tlft.tracking.done_before import find_done
from tlft.tracking.server import wait_for_server
from tlft.tracking.store import Store

if TYPE_CHECKING:
    from tlft.data.batches import Images
    from tlft.duplicates.near_duplicates import Pair
    from tlft.evaluation.predictions import Predictions
    from tlft.training.step_profile import StepProfile

log = logging.getLogger(__name__)

DEBUG_BATCHES = 2


def run_experiment(
    config: Config,
    composed: str = "",
    sweep: SweepMembership | None = None,
    on_start: Callable[[str], None] = lambda run_id: None,
    patience: float = 0.0,
    overrides: Sequence[str] = (),
) -> Outcome:
    """Do one run, checked and resolved, unless it is done already or being done elsewhere.

    The configuration as it was `composed` (YAML) is kept with the run; `on_start` is told the run's id as soon as there
    is one; `patience` is how many seconds to wait for a tracking server that does not answer at the start. The name of
    a single run has the settings that its `overrides` ask for.

    Raises:
        TlftError: for what goes wrong on the way; the run is then FAILED, its traceback kept.
    """
    wait_for_server(config.tracking.uri or "", patience)
    # Files that changed since the plan are noticed where they are decoded, by their digests.
    identity = identify(config, sweep.dataset if sweep else None)
    refuse_other_run(config, identity)
    is_alone = sweep is None or not sweep.name  # else the plan has looked, once for all jobs
    if is_alone and not config.force and (done := find_done(config, identity.key)) is not None:
        return done
    if is_alone:  # else it was fetched for all jobs
        refuse_out_of_reach(identity.weights)
    store = Store(config)
    if is_alone:
        store.end_lost_runs([identity.key])
    with claim_run(store, identity.key, force=config.force) as claim, suppress(RunElsewhereError):
        if claim.outcome is not None:
            return claim.outcome
        from tlft.models.build import build_model
        from tlft.training.optimizer import try_optimizer
        from tlft.training.unfreezing import refuse_too_few_epochs

        loaded()
        machine = prepare_machine(config)
        # Before the run: what cannot be built as it is asked for is no failed run but a wrong configuration.
        try_optimizer(config.optimizer)
        model = build_model(config, identity.weights, len(identity.dataset.classes)).to(machine.device)
        if not config.debug:  # whose one epoch is never enough
            refuse_too_few_epochs(config.training, model)
        tags, parent = _tags(config, identity, machine, sweep), sweep.parent if sweep else None
        settings = flatten(identity.science)
        name = run_name(config, sweep.settings if sweep else asked_settings(settings, overrides))
        with claim.start(name, settings, tags, parent=parent) as run:
            on_start(run.run_id)
            if class_map := identity.label_space.class_map:
                log.info("class map: %s", describe_class_map(class_map))
            images, near_duplicates = _open_images(config, identity, machine, run)
            profile = _profile_of(config, machine)
            context = RunContext(
                config, identity, composed, machine, store, run, model, images, near_duplicates, profile
            )
            metrics = _compute(context)
        return Outcome(RunStatus.DONE, run.run_id, run.name, metrics, run.seconds)
    # Another home has begun it since, or even finished it.
    return (None if config.force else store.finished(identity.key)) or Outcome(RunStatus.ELSEWHERE)


def _compute(context: RunContext) -> dict[str, float]:
    """Train, evaluate, and log the outcome; returns the measures."""
    from tlft.features.cache import share_features
    from tlft.training.checkpoint import Checkpoints

    model, weights, machine = context.model, context.identity.weights, context.machine
    begun = time.monotonic()
    features = share_features(model, context.config, weights, context.images, machine, context.run.confirm)
    shared = time.monotonic()
    if features is not None:
        context = replace(context, images=features.images)
    with features.applied(model) if features is not None else nullcontext():
        train_seconds = _train(context)
        trained = time.monotonic()
        predictions, metrics = _evaluate(context)
    evaluated = time.monotonic()
    config, run = context.config, context.run
    with run.writing_files() as folder:
        write_artifacts(context, predictions, folder)
        if config.checkpoint.keep and config.training.epochs:
            Checkpoints(run.folder.checkpoints, context.identity.key).copy_newest(folder / Artifact.CHECKPOINT)
    if config.tracking.weights:
        run.log_model(describe_model(context))
    spent = {
        **peaks(context.machine),
        **({Metric.FEATURES_SECONDS: shared - begun} if features is not None else {}),
        Metric.TRAIN_SECONDS: train_seconds,
        Metric.EVAL_SECONDS: evaluated - trained,
        Metric.OVERHEAD_SECONDS: time.monotonic() - run.started - (evaluated - begun),
    }
    run.log_metrics({**metrics, **spent}, step=config.training.epochs, with_system=config.training.epochs == 0)
    return metrics


def _train(context: RunContext) -> float:
    """Train from the last checkpoint, if there is one; returns the seconds that all steps took."""
    from tlft.runs.reporter import Reporter
    from tlft.training.checkpoint import Checkpoints
    from tlft.training.loop import fresh_state, train

    config, run = context.config, context.run
    state = fresh_state(config, context.model)
    checkpoints = Checkpoints(run.folder.checkpoints, context.identity.key)
    if run.resumed and checkpoints.restore(context.model, state, context.machine):
        log.info(
            "%s: goes on after epoch %d, step %d, in run %s", run.name, state.epoch, state.step, short_id(run.run_id)
        )
    elif state.optimizer is not None and not config.force:  # which is to train all epochs anew
        begin_where_a_shorter_run_ended(context, state)
    if state.epoch < config.training.epochs and context.profile is None:
        import_ahead()
    reporter = Reporter(context, checkpoints)
    with reporter.showing_progress(state), signals.patient(), context.profile or nullcontext():
        train(context.model, context.images.train, config, context.machine, state, reporter)
    if context.profile is not None and not context.profile.table:
        log.warning("profile=true: there were too few training steps to profile; give more training.epochs")
    return state.train_seconds


def _profile_of(config: Config, machine: Machine) -> StepProfile | None:
    if not config.profile:
        return None
    if not config.training.epochs:
        log.info("profile=true: nothing is trained, so that there is nothing to profile")
        return None
    from tlft.training.step_profile import StepProfile

    return StepProfile(machine.device)


def _evaluate(context: RunContext) -> tuple[Predictions, dict[str, float]]:
    """Return what the network says of the evaluation images, and the measures of it and of the hold-out."""
    from tlft.evaluation.metrics import compute_metrics
    from tlft.evaluation.predictions import evaluate

    split, holdout, label_space = context.images.eval, context.images.holdout, context.identity.label_space
    predictions = evaluate(context.model, split.inputs, label_space, context.machine)
    metrics = compute_metrics(predictions, split.labels)
    if context.config.data.folds is not None:
        metrics[Metric.IMAGES] = float(len(split.labels))
    if holdout is not None:
        held_out = evaluate(context.model, holdout.inputs, label_space, context.machine)
        measures = compute_metrics(held_out, holdout.labels)
        metrics[Metric.HOLDOUT_ACCURACY] = measures[Metric.ACCURACY]
        metrics[Metric.HOLDOUT_BALANCED_ACCURACY] = measures[Metric.BALANCED_ACCURACY]
    return predictions, metrics


def _open_images(
    config: Config, identity: Identity, machine: Machine, run: ActiveRun
) -> tuple[Images, list[Pair] | None]:
    """Log what is read, decode the images and look for near-duplicates; what a reader must know becomes a tag."""
    from tlft.data.batches import open_images
    from tlft.duplicates.near_duplicates import describe_leaks, find_near_duplicates

    dataset, cache = identity.dataset, config.home / "cache"
    used = {split: digest for split, digest in dataset.digests.items() if split != "train" or config.training.epochs}
    run.log_inputs(dataset.name, str(dataset.root), used)
    transform = identity.weights.transform
    trained_at = transform.sized(config.training.image_size or transform.crop)
    images = open_images(dataset, transform, cache, config.data.on_bad_image, machine.threads, trained_at)
    warn_of_caches(config.home, config.cache.max_gb)
    if images.skipped:
        trained = {Tag.TRAINING_IMAGES: str(len(images.train))} if config.training.epochs else {}
        run.log_tags({Tag.SKIPPED_IMAGES: str(len(images.skipped)), **trained})
    near_duplicates = find_near_duplicates(dataset, images.decoded, transform, cache, machine.threads)
    if leaks := describe_leaks(near_duplicates or []):
        log.warning("%s: %s; delete one of each pair, or the figures flatter", dataset.name, leaks)
        run.log_tags({Tag.NEAR_DUPLICATES: leaks})
    if identity.parent is not None:
        from tlft.runs.seen_before import describe_seen

        if seen := describe_seen(config, identity.parent, dataset, transform, machine.threads):
            log.warning("%s: %s", dataset.name, seen)
            run.log_tags({Tag.SEEN_BEFORE: seen})
    if config.debug:
        count = DEBUG_BATCHES * config.training.batch_size
        holdout = images.holdout.thinned(count) if images.holdout else None
        images = replace(images, train=images.train.thinned(count), eval=images.eval.thinned(count), holdout=holdout)
    return images, near_duplicates


def _tags(config: Config, identity: Identity, machine: Machine, sweep: SweepMembership | None) -> dict[str, str]:
    environment, source = describe_environment(machine), source_state()
    column, of_any_length = column_of(flatten(identity.science)), key_of_any_length(identity.science)
    facts = (Tag.DEVICE, Tag.HARDWARE, Tag.PRECISION, Tag.THREADS, Tag.COMMAND)
    return {
        **{str(name): str(text) for name, text in (config.tracking.tags or {}).items()},
        **{name: shorten(str(environment[name])) for name in facts},  # environment.json has the whole
        **({Tag.COLUMN: column.key} if column is not None else {}),
        **({Tag.SWEEP: sweep.name} if sweep and sweep.name else {}),
        **data_tags(config, identity.dataset),
        **stated_facts(config.data, identity.dataset),
        **({Tag.TRAINING_IMAGES: str(len(identity.dataset.split("train")))} if config.training.epochs else {}),
        **({Tag.ANY_LENGTH: of_any_length} if of_any_length else {}),
        Tag.HOST: platform.node(),
        Tag.ARCH: config.arch.name,
        Tag.DEBUG: str(config.debug).lower(),
        Tag.COMMIT: source.commit,
        Tag.DIRTY: str(source.dirty).lower(),
        Tag.TORCH: environment["packages"]["torch"],
        **({Tag.WEIGHTS: _name_weights(config, identity)} if identity.weights.digest is not None else {}),
        Tag.NOTE: _note(config, identity),
    }


def _name_weights(config: Config, identity: Identity) -> str:
    if identity.parent is not None:
        return f"run {short_id(identity.parent)}"
    return Path(config.model.weights_file or identity.weights.spec.name).name


def _note(config: Config, identity: Identity) -> str:
    """Return what MLflow shows above a run: what was done, with which images."""
    column, dataset = column_of(flatten(identity.science)), identity.dataset
    counts = f"{len(dataset.split('eval'))} evaluation images"
    if config.training.epochs:
        counts = f"{len(dataset.split('train'))} training and {counts}"
    title = column.title if column is not None else run_name(config)
    return f"{config.arch.name}, {title}: {dataset.name}, {counts}."
