"""Save and restore everything that a run needs to end with the bits of one that was never interrupted.

Tensors are kept as safetensors, all else as JSON; nothing is pickled. When to save is the caller's business.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tlft.models.freeze import put_state
from tlft.runtime.device import Machine
from tlft.storage.files import atomic_write, into_place, one_line_for_the_disk, sha256_of
from tlft.training.loop import TrainingState

log = logging.getLogger(__name__)

FORMAT = 1
_COUNTERS = ("epoch", "step", "seen", "loss_sum", "correct", "seconds", "train_seconds")


class _UnusableError(Exception):
    """Say why a checkpoint is not used."""


@dataclass
class Checkpoints:
    """The checkpoints of the run with this key: the newest, and the one before in case the newest was torn.

    A checkpoint is a file of tensors and a JSON file, written last, that has its digest. The folder has nothing else.
    """

    folder: Path
    key: str
    _newest: int = 0

    def save(self, model: nn.Module, state: TrainingState, machine: Machine) -> None:
        """Write a checkpoint, then delete all but the one before it.

        Raises:
            TlftError: if the disk is full or the folder cannot be written; what was there is still whole.
        """
        with one_line_for_the_disk(self.folder, "no checkpoint was written"):
            self.folder.mkdir(parents=True, exist_ok=True)
            number = max([self._newest, *self._numbers()]) + 1
            tensors, scalars = _take_apart(state.optimizer)
            tensors |= {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
            tensors |= {f"best/{name}": tensor for name, tensor in (state.best_weights or {}).items()}
            tensors |= {f"average/{name}": tensor for name, tensor in (state.average or {}).items()}
            unfinished = self._path(number, "tmp")
            try:
                save_tensors(tensors, unfinished)
                digest = sha256_of(unfinished)
                into_place(unfinished, self._path(number, "safetensors"))
            finally:
                unfinished.unlink(missing_ok=True)
            payload = {
                "format": FORMAT,
                "key": self.key,
                "tensors": digest,
                "state": {name: getattr(state, name) for name in _COUNTERS},
                "best_loss": state.best_loss if math.isfinite(state.best_loss) else None,
                "best_holdout": state.best_holdout if math.isfinite(state.best_holdout) else None,
                "stale": state.stale,
                "optimizer": scalars,
                "groups": _counters_of_groups(state.optimizer),
                "machine": _describe(machine),
            }
            record = {"payload": payload, "sha256": _digest(payload)}
            atomic_write(self._path(number, "json"), json.dumps(record).encode())
            kept = {self._path(n, kind) for n in (number, self._newest) for kind in ("json", "safetensors")}
            for path in set(self.folder.iterdir()) - kept:
                path.unlink(missing_ok=True)
            self._newest = number

    def restore(self, model: nn.Module, state: TrainingState, machine: Machine) -> bool:
        """Put the newest whole checkpoint into a model and a state built for the same run; False if there is none."""
        for number in sorted(self._numbers(), reverse=True):
            try:
                payload, tensors = self._read(number)
            except _UnusableError as error:
                log.warning("%s: %s; the one before is used, if there is one", self._path(number, "json"), error)
                continue
            before, current = payload["machine"], _describe(machine)
            differing = [name for name, value in current.items() if before.get(name) != value]
            if differing:
                changes = [f"{name} {before.get(name)}, now {current[name]}" for name in differing]
                log.warning("begun with %s: the last bits of the result may differ", "; ".join(changes))
            put_state(model, _below("model/", tensors))
            state.best_weights = _below("best/", tensors) or None
            state.average = _below("average/", tensors) or None
            state.best_loss = math.inf if payload["best_loss"] is None else payload["best_loss"]
            best_holdout = payload.get("best_holdout")  # which an earlier version has not, as the next
            state.best_holdout = math.inf if best_holdout is None else best_holdout
            state.stale = payload.get("stale", 0)
            for name in _COUNTERS:
                setattr(state, name, payload["state"][name])
            if state.optimizer is not None:
                _put_together(state.optimizer, _below("optimizer/", tensors), payload["optimizer"])
                _put_counters(state.optimizer, payload.get("groups", ()))
            self._newest = number
            return True
        return False

    def copy_newest(self, to: Path) -> None:
        """Copy the newest checkpoint, if there is one, into a folder of its own."""
        if numbers := self._numbers():
            to.mkdir()
            for kind in ("safetensors", "json"):
                path = self._path(max(numbers), kind)
                shutil.copy2(path, to / path.name)

    def _read(self, number: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what the two files of a checkpoint hold, once every digest is right."""
        path = self._path(number, "safetensors")
        try:
            record = json.loads(self._path(number, "json").read_text())
            payload: dict[str, Any] = record["payload"]
            if record["sha256"] != _digest(payload):
                raise _UnusableError("is damaged")
            if payload["format"] != FORMAT:
                raise _UnusableError(f"is of another version (format {payload['format']}, here {FORMAT})")
            if payload["key"] != self.key:
                raise _UnusableError("is of another run")
            if sha256_of(path) != payload["tensors"]:
                raise _UnusableError("is cut off or damaged")
            return payload, load_file(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _UnusableError(f"cannot be read ({error})") from None

    def _path(self, number: int, kind: str) -> Path:
        return self.folder / f"{number:06d}.{kind}"

    def _numbers(self) -> list[int]:
        return [int(path.stem) for path in self.folder.glob("*.json") if path.stem.isdecimal()]


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, wherever they are and however they lie in memory, as a safetensors file.

    Raises:
        OSError: if the file cannot be written.
    """
    pointers: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        copy = tensor.detach().cpu().contiguous()
        if copy.data_ptr() in pointers:  # tied weights; the format knows no sharing
            copy = copy.clone()
        pointers.add(copy.data_ptr())
        plain[name] = copy
    path.touch()  # raises what a full or read-only disk raises; the library has an error of its own for both
    try:
        save_file(plain, path)
    except Exception as error:
        number = re.search(r"os error (\d+)", str(error), re.IGNORECASE)
        if number is None and "i/o error" not in str(error).lower():
            raise
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error


def _take_apart(optimizer: torch.optim.Optimizer | None) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Split an optimizer's state into tensors, `optimizer/<parameter>/<name>`, and plain values."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in (optimizer.state_dict()["state"] if optimizer else {}).items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    return tensors, scalars


def _counters_of_groups(optimizer: torch.optim.Optimizer | None) -> list[dict[str, Any]]:
    """Return the numbers of each group of parameters, among which some optimizers count; of a tensor its type too."""
    counters: list[dict[str, Any]] = []
    for group in optimizer.param_groups if optimizer else ():
        scalars = {name: value for name, value in group.items() if isinstance(value, Tensor) and value.ndim == 0}
        numbers = {name: value for name, value in group.items() if isinstance(value, int | float)}
        typed = {name: [str(value.dtype).removeprefix("torch."), value.item()] for name, value in scalars.items()}
        counters.append({**numbers, **typed})
    return counters


def _put_counters(optimizer: torch.optim.Optimizer, groups: Sequence[Mapping[str, Any]]) -> None:
    for group, values in zip(optimizer.param_groups, groups, strict=False):
        for name, value in values.items():
            group[name] = torch.tensor(value[1], dtype=getattr(torch, value[0])) if isinstance(value, list) else value


def _put_together(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], scalars: Mapping[str, Mapping[str, Any]]
) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in scalars.items()}
    for path, tensor in tensors.items():
        index, _, name = path.partition("/")
        parameter = parameters[int(index)]
        # Elementwise arithmetic rounds alike only if both operands lie alike in memory (channels last).
        laid_out = torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
        state.setdefault(int(index), {})[name] = laid_out
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _describe(machine: Machine) -> dict[str, Any]:
    return {"device": machine.device.type, "precision": machine.precision, "threads": machine.threads}


def _digest(payload: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()
