"""Hear from a training, and tell MLflow, the log and the terminal; save checkpoints, and stop where it was asked for.

How a step is taken, and what a checkpoint holds, is the story of `tlft.training`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from tlft.data.batches import Split
from tlft.errors import TlftError
from tlft.evaluation.metrics import compute_metrics
from tlft.evaluation.predictions import evaluate
from tlft.names import Metric
from tlft.runs.context import RunContext
from tlft.runtime import signals
from tlft.runtime.memory import bound_freed
from tlft.terminal.progress import Advance, progress
from tlft.tracking.server import is_server
from tlft.training.averaging import averaged
from tlft.training.checkpoint import Checkpoints
from tlft.training.loop import TrainingState

log = logging.getLogger(__name__)

LARGEST_SHARE = 0.05
"""Saving at the ends of epochs, or delivering to the tracking store, takes no larger part of the time: epochs may be
shorter than that."""

_BYTES_SAVED_A_SECOND = 500e6  # as long as no save has shown it
_CONFIRM_SECONDS = 0.05
"""How often it is looked, at most, whether the run is still this process's."""


@dataclass
class _Pace:
    """Something is done from time to time, and takes no larger share of the time than it may.

    Attributes:
        cost: seconds that it took last.
        ended: when that was (monotonic clock).
    """

    cost: float = 0.0
    ended: float = field(default_factory=time.monotonic)

    def is_due(self) -> bool:
        return time.monotonic() - self.ended >= self.cost / LARGEST_SHARE

    @contextmanager
    def measured(self) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.ended = time.monotonic()
        self.cost = self.ended - started


@dataclass
class Reporter:
    """What a run does while it is trained, but for the training; see `tlft.training.loop.Report`."""

    context: RunContext
    checkpoints: Checkpoints
    _advance: Advance = field(default=lambda n=1, note="": None, init=False)
    _saving: _Pace = field(default_factory=_Pace, init=False)
    _delivering: _Pace = field(default_factory=_Pace, init=False)
    _unsaved: bool = field(default=False, init=False)
    _confirmed: float = field(default=0.0, init=False)

    @contextmanager
    def showing_progress(self, state: TrainingState) -> Iterator[None]:
        """Show how far the training has come, within the block; nothing where there is none."""
        if state.optimizer is None:
            yield
            return
        done = state.epoch * len(self.context.images.train) + state.seen
        total = self.context.config.training.epochs * len(self.context.images.train)
        with progress(self.context.run.name, total, "images", done, is_main=True) as self._advance:
            yield

    def step(self, images: int, loss: float, model: nn.Module, state: TrainingState) -> None:
        """Move the bar, keep within memory, and save a checkpoint if one is due or somebody asks the run to stop.

        Raises:
            ClaimLostError: if another process has taken the run over.
        """
        if self.context.profile is not None:
            self.context.profile.step()
        bound_freed()
        if abs(time.time() - self._confirmed) >= _CONFIRM_SECONDS:  # by the clock that goes on in a suspended laptop
            self.context.run.confirm()
            self._confirmed = time.time()
        self._advance(images, note=f"epoch {state.epoch + 1}/{self.context.config.training.epochs}, loss {loss:.4f}")
        if signals.asked_to_stop():
            self._save(model, state)
            signals.stop_if_asked()
        minutes = self.context.config.checkpoint.every_minutes
        if minutes is not None and time.monotonic() - self._saving.ended >= 60 * minutes:
            self._save(model, state)

    def epoch(self, metrics: dict[str, float], model: nn.Module, state: TrainingState) -> None:
        """Log the epoch's metrics, with a point of the evaluation curve if one is due, and save if that is due."""
        training, epoch = self.context.config.training, state.epoch
        if training.eval_every is not None and (epoch % training.eval_every == 0 or epoch == training.epochs):
            with averaged(model, state.average):
                metrics = metrics | self._curve(model)
        if training.patience is not None:
            with averaged(model, state.average):
                metrics = metrics | self._judge(model, state)
        self.context.run.log_metrics(metrics, step=epoch, with_system=True)
        has_ended = epoch == training.epochs or state.stale == training.patience
        save_every = self.context.config.checkpoint.every_epochs
        if not self._saving.cost:
            self._saving.cost = sum(tensor.nbytes for tensor in model.state_dict().values()) / _BYTES_SAVED_A_SECOND
        is_due = save_every is not None and epoch % save_every == 0 and self._saving.is_due()
        if is_due or (has_ended and self.context.config.checkpoint.keep):
            self._save(model, state)
        # A server may stop answering, which is to be noticed soon.
        if is_server(self.context.config.tracking.uri or "") or self._delivering.is_due():
            with self._delivering.measured():
                self.context.run.deliver()
        loss, accuracy = metrics[Metric.TRAIN_LOSS], 100 * metrics[Metric.TRAIN_ACCURACY]
        text = f"loss {loss:.4f}, accuracy {accuracy:.1f} %, {metrics[Metric.TRAIN_IMAGES_PER_SECOND]:.1f} images/s"
        log.info("%s: epoch %d/%d, %s", self.context.run.name, epoch, training.epochs, text)
        if state.stale == training.patience:
            log.info("%s: ends here: no lower loss on the hold-out for %d epochs", self.context.run.name, state.stale)

    def _save(self, model: nn.Module, state: TrainingState) -> None:
        with self._saving.measured():
            try:
                self.context.run.journal.sync()  # what was logged before a checkpoint is not logged again after it
                self.checkpoints.save(model, state, self.context.machine)
                self._unsaved = False
            except TlftError as error:
                log.log(logging.DEBUG if self._unsaved else logging.WARNING, "%s; the training goes on", error)
                self._unsaved = True

    def _curve(self, model: nn.Module) -> dict[str, float]:
        accuracy, loss = self._measure(model, self.context.images.eval)
        return {Metric.CURVE_ACCURACY: accuracy, Metric.CURVE_LOSS: loss}

    def _judge(self, model: nn.Module, state: TrainingState) -> dict[str, float]:
        """Look at the hold-out, by which the training may end; never at the evaluation images."""
        assert self.context.images.holdout is not None
        accuracy, loss = self._measure(model, self.context.images.holdout)
        state.judge(loss, model)
        return {Metric.CURVE_HOLDOUT_ACCURACY: accuracy, Metric.CURVE_HOLDOUT_LOSS: loss}

    def _measure(self, model: nn.Module, split: Split) -> tuple[float, float]:
        predictions = evaluate(model, split.inputs, self.context.identity.label_space, self.context.machine)
        measures = compute_metrics(predictions, split.labels)
        return measures[Metric.ACCURACY], measures[Metric.LOSS]
