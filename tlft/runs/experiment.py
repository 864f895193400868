"""The story of one run, from the configuration to the outcome in MLflow.

The order is not free: the cheap before the dear, the identity before the work, nothing heavy for a finished run.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.config.schema import Config
from tlft.data.cache import warn_of_caches
from tlft.names import Artifact, Metric, Tag
from tlft.runs.artifacts import describe_model, write_artifacts
from tlft.runs.identify import Identity, identify, run_name
from tlft.runs.replay import refuse_others
from tlft.runtime import signals
from tlft.runtime.device import Machine, prepare_machine
from tlft.runtime.environment import describe_environment, source_state
from tlft.tracking.active_run import ActiveRun
from tlft.tracking.claimed_run import claim_run
from tlft.tracking.outcome import Outcome, RunStatus
from tlft.tracking.records import flatten
from tlft.tracking.server import wait_for_server
from tlft.tracking.store import Store

if TYPE_CHECKING:
    from torch import nn

    from tlft.data.batches import Images
    from tlft.data.near_duplicates import Pair

log = logging.getLogger(__name__)

DEBUG_BATCHES = 2


@dataclass(frozen=True)
class SweepMembership:
    """What a run is told of the sweep that it is part of.

    Attributes:
        name: of the preset that the sweep was made of, or `custom`.
        parent: id of the run that stands for the sweep, if it has one.
    """

    name: str
    parent: str | None


def run_experiment(
    config: Config,
    composed: str = "",
    sweep: SweepMembership | None = None,
    on_start: Callable[[str], None] = lambda run_id: None,
    patience: float = 0.0,
) -> Outcome:
    """Do one run, unless it is done already or being done elsewhere.

    Args:
        config: the run, checked and resolved.
        composed: the configuration as it was composed (YAML), kept with the run.
        sweep: of which the run is part.
        on_start: is told the run's id as soon as there is one.
        patience: seconds to wait for a tracking server that does not answer at the start.

    Raises:
        TlftError: for what goes wrong on the way; the run is then FAILED, its traceback kept.
    """
    wait_for_server(config.tracking.uri or "", patience)
    known = identify(config)
    refuse_others(config, known.science, known.key)
    store = Store(config)
    store.end_lost_runs()
    with claim_run(store, known.key, force=config.force) as claim:
        if claim.outcome is not None:
            return claim.outcome
        from tlft.models.build import build_model

        started = time.monotonic()
        machine = prepare_machine(config)
        params = flatten(known.science)
        # Before the run: a network that cannot be built as it is asked for is no failed run but a wrong configuration.
        model = build_model(config, known.weights, len(known.dataset.classes)).to(machine.device)
        tags = _tags(config, known, machine, sweep)
        with claim.start(run_name(config), params, tags, parent=sweep.parent if sweep else None) as run:
            on_start(run.run_id)
            read = {
                split: digest
                for split, digest in known.dataset.digests.items()
                if split != "train" or config.training.epochs
            }
            run.log_inputs(known.dataset.name, str(known.dataset.root), read)
            metrics = _work(config, known, machine, model, run, composed)
    return Outcome(RunStatus.DONE, run.run_id, run.name, metrics, time.monotonic() - started)


def _work(
    config: Config, known: Identity, machine: Machine, model: nn.Module, run: ActiveRun, composed: str
) -> dict[str, float]:
    """Decode, train, evaluate, and log the outcome."""
    from tlft.data.class_map import LabelSpace
    from tlft.data.near_duplicates import to_json
    from tlft.evaluation.metrics import compute_metrics
    from tlft.evaluation.predictions import evaluate
    from tlft.runs.reporter import Reporter
    from tlft.training.checkpoint import Checkpoints
    from tlft.training.loop import fresh_state, train

    images, near_duplicates = _open_images(config, known, machine, run)
    layers = _describe_layers(model, known)
    state = fresh_state(config, model)
    checkpoints = Checkpoints(run.folder.checkpoints, known.key)
    if run.resumed and checkpoints.restore(model, state, machine):
        log.info("%s: goes on after epoch %d, step %d, in run %s", run.name, state.epoch, state.step, run.run_id)
    ready = time.monotonic()
    reporter = Reporter(config, known, images, machine, run, checkpoints)
    with reporter.shown(state), signals.patient():
        train(model, images.train, config, machine, state, reporter)

    clock = time.monotonic()
    label_space = LabelSpace(known.dataset.classes, known.class_map)
    predictions = evaluate(model, images.eval.pixels, images.eval.transform, label_space, machine)
    metrics = compute_metrics(predictions, images.eval.labels)
    if images.holdout is not None:
        held_out = evaluate(model, images.holdout.pixels, images.holdout.transform, label_space, machine)
        metrics[Metric.HOLDOUT_ACCURACY] = float(held_out.correct(images.holdout.labels).mean())
    eval_seconds = time.monotonic() - clock

    with run.writing_files() as folder:
        write_artifacts(folder, config, known, images.eval, model, predictions, machine, composed, layers)
        if near_duplicates is not None:
            (folder / Artifact.NEAR_DUPLICATES).write_text(to_json(near_duplicates), encoding="utf-8")
    if config.tracking.weights:
        run.log_model(describe_model(config, known, machine))
    training = clock - ready
    overhead = time.monotonic() - run.started - training - eval_seconds
    times = {
        Metric.TRAIN_SECONDS: state.train_seconds,
        Metric.EVAL_SECONDS: eval_seconds,
        Metric.OVERHEAD_SECONDS: overhead,
    }
    run.log_metrics({**metrics, **times}, step=config.training.epochs, with_system=config.training.epochs == 0)
    return metrics


def _open_images(config: Config, known: Identity, machine: Machine, run: ActiveRun) -> tuple[Images, list[Pair] | None]:
    """Decode the images and look for near-duplicates among them; what a reader must know becomes a tag."""
    from tlft.data.batches import open_images
    from tlft.data.near_duplicates import describe_leaks, find_near_duplicates

    cache = config.home / "cache"
    images = open_images(known.dataset, known.weights.transform, cache, config.data.on_bad_image, machine.threads)
    warn_of_caches(config.home, config.cache.max_gb)
    if images.skipped:
        run.log_tags({Tag.SKIPPED_IMAGES: str(len(images.skipped))})
    near_duplicates = find_near_duplicates(known.dataset, images, cache)
    if leaks := describe_leaks(near_duplicates or []):
        log.warning("%s: %s; delete one of each pair, or the figures flatter", known.dataset.name, leaks)
        run.log_tags({Tag.NEAR_DUPLICATES: leaks})
    return (_cut(images, config.training.batch_size) if config.debug else images), near_duplicates


def _cut(images: Images, batch_size: int) -> Images:
    from dataclasses import replace

    count = DEBUG_BATCHES * batch_size
    holdout = images.holdout.thinned(count) if images.holdout else None
    return replace(images, train=images.train.thinned(count), eval=images.eval.thinned(count), holdout=holdout)


def _describe_layers(model: nn.Module, known: Identity) -> str:
    from tlft.models.describe import summarize

    return summarize(model, known.weights.transform.crop)


def _tags(config: Config, known: Identity, machine: Machine, sweep: SweepMembership | None) -> dict[str, str]:
    environment = describe_environment(machine)
    state = source_state()
    facts = {
        name: str(environment[name]) for name in (Tag.DEVICE, Tag.HARDWARE, Tag.PRECISION, Tag.THREADS, Tag.COMMAND)
    }
    from tlft.config.columns import column_of

    column = column_of(flatten(known.science))
    kind = {
        **({Tag.COLUMN: column.key} if column is not None else {}),
        **({Tag.SWEEP: sweep.name} if sweep else {}),
        Tag.HOST: platform.node(),
        Tag.DATA: known.dataset.name,
        Tag.ARCH: config.arch.name,
        Tag.DEBUG: str(config.debug).lower(),
    }
    code = {
        Tag.COMMIT: state.commit,
        Tag.DIRTY: str(state.dirty).lower(),
        Tag.TORCH: environment["packages"]["torch"],
    }
    return {
        **{str(name): str(text) for name, text in (config.tracking.tags or {}).items()},
        **facts,
        **kind,
        **code,
        Tag.WEIGHTS: Path(config.model.weights_file or known.weights.spec.name).name,
    }
