"""Where the time of a few training steps goes, as PyTorch's profiler sees it; what becomes of it is not known here."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

PHASES = ("batch", "forward", "backward", "optimizer")
"""What a step is made of; whatever else it does, such as reading the loss, lies between them."""

PASSED, PROFILED = 2, 3
"""Steps that are let pass, since kernels are chosen in them and memory is taken, and steps that are looked at."""

_OPERATORS = 25

_STEP = "ProfilerStep*"  # what PyTorch calls the time between two calls of the profiler's `step`


def phase(name: str) -> AbstractContextManager[object]:
    """Return a context whose time is that of one of `PHASES`; without a profiler it does nothing."""
    return record_function(f"tlft: {name}") if torch._C._autograd._profiler_enabled() else nullcontext()


class StepProfile:
    """Look at steps of a training within its `with` block; `step` is called after each.

    Attributes:
        trace: the profiled steps for chrome://tracing and Perfetto, a JSON file compressed by gzip; empty before.
        table: where their time went, in words; empty before.
    """

    def __init__(self, device: torch.device) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it says on standard error that there is no GPU
        self.trace, self.table, self._steps = b"", "", 0
        on_gpu = device.type == "cuda"
        self._profiler = profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])],
            schedule=schedule(wait=PASSED - 1, warmup=1, active=PROFILED, repeat=1),
            on_trace_ready=self._keep,
        )
        self._order = "self_device_time_total" if on_gpu else "self_cpu_time_total"

    def __enter__(self) -> StepProfile:
        self._profiler.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(RuntimeError):  # of a profiler that was stopped before it had anything
            self._profiler.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Hear that a step has ended."""
        self._steps += 1
        if not self.table:
            self._profiler.step()

    def _keep(self, profiler: profile) -> None:
        if self._steps < PASSED + PROFILED:  # the training was over before
            return
        averages = profiler.key_averages()
        with TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json.gz"
            profiler.export_chrome_trace(str(path))
            self.trace = path.read_bytes()
        operators = averages.table(sort_by=self._order, row_limit=_OPERATORS, max_name_column_width=60)
        self.table = f"{_describe_phases(averages)}\n\nOperators, by the time that they themselves take:\n{operators}\n"


def _describe_phases(averages: Any) -> str:
    """Return a line for each phase, and one for what lies between: milliseconds of a step, and its share of a step."""
    totals = dict.fromkeys((*(f"tlft: {name}" for name in PHASES), _STEP), 0.0)
    for average in averages:
        if average.key in totals:
            totals[average.key] = max(totals[average.key], average.cpu_time_total)  # the other one is the GPU's
    whole = totals.pop(_STEP)
    totals["between"] = whole - sum(totals.values())
    lines = [
        f"{key.removeprefix('tlft: '):<10}{total / PROFILED / 1000:10.2f} ms{100 * total / (whole or 1.0):7.1f} %"
        for key, total in totals.items()
    ]
    head = f"A training step, from the end of the one before: the mean of {PROFILED} after {PASSED} that were let pass"
    of_cpu = "(the CPU's time, which waits for a GPU only where it reads a result; an epoch's end may lie between):"
    return "\n".join([head, of_cpu, *lines])
