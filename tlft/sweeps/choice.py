"""Name the settings that are best on the hold-out: of each network and column one, over the seeds that it was run with.

The evaluation images play no part: a setting that was chosen by them would look better than it is.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from tlft.commands import invocation
from tlft.names import Metric, Param, flatten
from tlft.planning.jobs import Result
from tlft.records.folds import OF_A_FOLD
from tlft.runs.run_names import run_name

_CHOSEN = ("optimizer.", "schedule.", "augment.", "training.")
"""How the names of settings begin that are chosen; what else differs is a question of its own."""


@dataclass(frozen=True)
class _Candidate:
    """A setting, the hold-out's accuracy under each seed, and the jobs that were run with it."""

    results: list[Result]

    @property
    def accuracy(self) -> float:
        return fmean(result.outcome.metrics[Metric.HOLDOUT_ACCURACY] for result in self.results)


def describe_choice(results: Sequence[Result]) -> list[str]:
    """Return a line for each network, column and data set that was run with several settings: which is best.

    Settings count that have all the seeds (and folds) that any of them has, so that none is best by a lucky one.
    """
    questions: dict[tuple[object, ...], dict[tuple[object, ...], list[Result]]] = {}
    for result in results:
        if not result.outcome.status.is_complete or Metric.HOLDOUT_ACCURACY not in result.outcome.metrics:
            continue
        if result.planned.same_as is not None:
            continue
        science = flatten(result.planned.identity.science)
        science.pop(Param.SEED, None)
        if result.planned.config.data.folds is not None:
            science = {key: value for key, value in science.items() if key not in OF_A_FOLD}
        chosen = {key for key in science if key.startswith(_CHOSEN) and key != Param.TRAINABLE}
        question = tuple(sorted((key, value) for key, value in science.items() if key not in chosen))
        setting = tuple(sorted((key, science[key]) for key in chosen))
        questions.setdefault(question, {}).setdefault(setting, []).append(result)
    lines = []
    for settings in questions.values():
        most = max(len(group) for group in settings.values())
        candidates = [_Candidate(group) for group in settings.values() if len(group) == most]
        if len(settings) > 1:
            lines += _describe(candidates, len(settings), most)
    return lines


def _describe(candidates: list[_Candidate], settings: int, seeds: int) -> list[str]:
    best = max(candidates, key=lambda candidate: candidate.accuracy)
    equal = sum(candidate.accuracy == best.accuracy for candidate in candidates) - 1
    config = best.results[0].planned.config
    name = run_name(replace(config, data=replace(config.data, folds=None)))
    words = " ".join(word for word in name.split() if word != f"s{config.seed}")
    repetitions = "folds and seeds" if config.data.folds else "seeds"
    over = f" over {seeds} {repetitions}" if seeds > 1 else ""
    tie = f", the first of {equal + 1} that are equal" if equal else ""
    incomplete = settings - len(candidates)
    left_out = f"; left out for fewer {repetitions}: {incomplete}" if incomplete else ""
    command = shlex.join([*invocation("run").split(), "-m", *_overrides(best)])
    trained = "all training images"
    if config.training.patience is not None:
        trained = "the same images, since the hold-out ends its training"
    elif config.data.holdout_fraction is None:
        trained = "the same images, since the hold-out is the data's own"
    return [
        f"best on the hold-out of {settings} settings of {words}: {100 * best.accuracy:.2f} %{over}{tie}{left_out}",
        f"  it alone, trained on {trained}: {command}",
    ]


_OF_THE_CHOICE = ("sweep", "sweep.choose", "data.holdout_fraction", "seed", "data.fold", "tracking.weights", "force")


def _overrides(best: _Candidate) -> list[str]:
    """Return what runs a setting under the seeds that it was chosen with, without the hold-out unless it needs one."""
    job = best.results[0].planned.job
    left_out = {*_OF_THE_CHOICE} - ({"data.holdout_fraction"} if job.config.training.patience is not None else set())
    kept = [text for text in job.overrides if text.partition("=")[0].lstrip("+~") not in left_out]
    configs = [result.planned.config for result in best.results]
    seeds = [f"seed={_listed({config.seed for config in configs})}"]
    folds = [f"data.fold={_listed({config.data.fold for config in configs})}"] if job.config.data.folds else []
    return [*(text for text in kept if not text.startswith("hydra")), *folds, *seeds]


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(str, sorted(numbers)))
