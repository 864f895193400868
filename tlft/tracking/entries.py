"""Send the entries of a journal to the tracking store, and tell its refusal of one from its absence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tlft.config.recipe_schema import AdamConfig, ScheduleConfig, SgdConfig
from tlft.names import Param, Tag
from tlft.storage.journal import MOST_FIGURES, Entry
from tlft.tracking.pyfunc_model import log_model

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from tlft.tracking.run_folder import RunFolder

ESSENTIAL = ("params", "whole_params", "files", "end")
"""Kinds of entries without which a run is not complete: without its params it stands in a wrong row of the table."""

_MOST = {"metrics": MOST_FIGURES, "params": 100, "tags": 100}
"""How many MLflow takes in one request, by the kind of the entry."""

_LONGEST_DIGEST = 36  # in MLflow

_DIGEST, _SHOWN_DIGITS = re.compile(r"[0-9a-f]{64}"), 12
_BACKGROUND = (Param.FORMAT, Param.TRANSFORM)
"""How names begin of params that follow from the others, so that a comparison of runs has no need of them."""
_USUAL = {
    Param.BETA1: json.dumps(AdamConfig.beta1),
    Param.BETA2: json.dumps(AdamConfig.beta2),
    Param.EPS: json.dumps(AdamConfig.eps),
    Param.NESTEROV: json.dumps(SgdConfig.nesterov),
    Param.WARMUP_EPOCHS: json.dumps(ScheduleConfig.warmup_epochs),
}
"""Params that hardly anybody sets: a comparison has them only of runs in which somebody has."""

_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")
_REFUSING_STATUSES = (400, 413, 414, 415, 422, 431)
"""Of HTTP: what was sent is wrong or too large. All others tell of the server, the way to it, or the user's rights."""

_PASSING = re.compile(r"QueuePool|timed? ?out|locked|disk|connection|malformed", re.IGNORECASE)
"""What a database says of its own state; MLflow reports that like an entry that is wrong."""


def kind_of(entry: Entry) -> str:
    """Return the kind of an entry, such as `metrics`."""
    return next(iter(entry))


def describe(entry: Entry) -> str:
    """Name an entry for people: `metric eval/loss`, or how many there are."""
    kind = kind_of(entry)
    content = entry[kind]
    if kind not in _MOST:
        return _IN_WORDS[kind]
    if len(content) > 1:
        return f"{len(content)} {kind}"
    name = next(iter(content), "")
    return f"{kind.removesuffix('s')} {name if len(name) <= _LONGEST_NAME else f'{name[:_LONGEST_NAME]}...'}"


_LONGEST_NAME = 60
_IN_WORDS = {
    "inputs": "the data set",
    "model": "the logged model",
    "files": "its files",
    "whole_params": "its whole params",
    "end": "its end",
}


def for_people(params: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the params that a comparison of runs shows, and those that it does not show, or not as a whole."""
    shown = {
        name: value[:_SHOWN_DIGITS] if _DIGEST.fullmatch(value) else value
        for name, value in params.items()
        if not name.startswith(_BACKGROUND) and value != _USUAL.get(name)
    }
    return shown, {name: value for name, value in params.items() if shown.get(name) != value}


def whole_params(run: Run) -> dict[str, str]:
    """Return all that `for_people` was given; an earlier version has logged it as it was."""
    return {**run.data.params, **json.loads(run.data.tags.get(Tag.PARAMS, "{}"))}


def halves(entry: Entry) -> list[Entry]:
    """Return two entries that come to the same; none if the entry is of one piece."""
    kind = kind_of(entry)
    if kind not in _MOST or len(entry[kind]) < 2:
        return []
    pairs = list(entry[kind].items())
    middle = len(pairs) // 2
    return [{**entry, kind: dict(pairs[:middle])}, {**entry, kind: dict(pairs[middle:])}]


def is_refusal(error: BaseException, kind: str = "") -> bool:
    """Tell whether a store has answered that it does not take an entry of a kind, now or ever.

    Anything else is taken for absence: connections, time-outs, locks, full disks, rights, faults of the server.
    """
    causes = [error, *([error.__cause__] if error.__cause__ is not None else [])]
    if any(type(cause) in (UnicodeEncodeError, ValueError, TypeError, OverflowError) for cause in causes):
        return True  # a client or driver that cannot send such a value
    text = str(error)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if match := re.search(r"failed with error code (\d{3})", text):  # an answer that is not MLflow's own
        status = int(match[1])
    if status is not None:
        return status in _REFUSING_STATUSES or (status in (404, 405, 501) and kind == "model")  # an older server
    return getattr(error, "error_code", "") in _REFUSALS and not _PASSING.search(text)


def send(client: MlflowClient, run: Run, folder: RunFolder, entries: Sequence[Entry]) -> None:
    """Send entries that a journal yields together: figures of several steps, or one of another kind.

    A second time it changes nothing.

    Raises:
        Exception: whatever MLflow, its database or its server raise.
    """
    from mlflow import entities

    run_id, entry, kind = run.info.run_id, entries[0], kind_of(entries[0])
    if kind == "metrics":
        send_figures(client, run_id, entries)
    elif kind in ("params", "tags"):
        make: Any = entities.Param if kind == "params" else entities.RunTag
        for pairs in _batches(entry[kind], _MOST[kind]):
            batch: Any = {kind: [make(*pair) for pair in pairs]}
            client.log_batch(run_id, **batch)
    elif kind == "whole_params":
        client.set_tag(run_id, Tag.PARAMS, json.dumps(entry[kind], ensure_ascii=False))
    elif kind == "inputs":
        _log_inputs(client, run_id, **entry["inputs"])
    elif kind == "files":
        client.log_artifacts(run_id, str(folder.files))
    elif kind == "model":
        log_model(client, run, folder, entry["model"])
    elif kind == "end":
        client.set_terminated(run_id, entry["end"], entry["time"])


def send_figures(client: MlflowClient, run_id: str, entries: Sequence[Entry]) -> None:
    """Send the figures of one or more steps in as few requests as MLflow takes them."""
    from mlflow.entities import Metric

    figures = [(entry, name, value) for entry in entries for name, value in entry["metrics"].items()]
    for start in range(0, len(figures), MOST_FIGURES):
        batch = figures[start : start + MOST_FIGURES]
        client.log_batch(run_id, [Metric(name, value, entry["time"], entry["step"]) for entry, name, value in batch])


def _batches(content: Mapping[str, Any], size: int) -> Iterator[list[tuple[str, Any]]]:
    pairs = list(content.items())
    yield from (pairs[start : start + size] for start in range(0, len(pairs), size))


def _log_inputs(client: MlflowClient, run_id: str, name: str, source: str, digests: Mapping[str, str]) -> None:
    """Log the data set; of runs that name a new one in the same moment MLflow refuses all but one: they ask again."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    place = json.dumps({"uri": source})
    inputs = [
        DatasetInput(Dataset(name, digest[:_LONGEST_DIGEST], "local", place), [InputTag(Tag.DATASET_SPLIT, split)])
        for split, digest in digests.items()
    ]
    for refusals_left in range(len(digests), -1, -1):  # each refusal tells of one that is there by now
        try:
            client.log_inputs(run_id, inputs)
            return
        except Exception as error:
            if not refusals_left or not re.search("unique|duplicate", str(error), re.IGNORECASE):
                raise
