"""`python tests/breaking.py ...`: run.py, but what trains with certain learning rates breaks in its first step.

With `OUT_OF_MEMORY` the process may take no more memory than it has, so that PyTorch's own allocator refuses; with
`EXITS` something calls `sys.exit`. Processes that a sweep forks break in the same way. No test imports this: its own
process would break too.
"""

from __future__ import annotations

import os
import resource
import runpy
import sys
import weakref
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = PLACES = [str(PROJECT), str(PROJECT / "tests")]

from tlft.sweeps.launchers import parallel
from tlft.training.step import Stepper

OUT_OF_MEMORY, EXITS = 0.25, 0.5

_step = Stepper.step
_failed: list[weakref.ref[Any]] = []


def step(stepper: Stepper, batches: Any, images: int, lr: float) -> Any:
    """Take a step, or break; says whether the model of a job that has broken in this process is still there."""
    if lr == EXITS:
        sys.exit(3)
    if lr != OUT_OF_MEMORY:
        for model_of_before in _failed:
            print("the model that broke", "is gone" if model_of_before() is None else "is kept", file=sys.stderr)
        _failed.clear()
        return _step(stepper, batches, images, lr)
    _failed.append(weakref.ref(stepper.model))
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), before[1]))
    try:
        return _step(stepper, batches, images, lr)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


Stepper.step = step  # type: ignore[method-assign, assignment]

if __name__ == "__main__":
    sys.modules["breaking"] = sys.modules["__main__"]
    os.environ["PYTHONPATH"] = os.pathsep.join(PLACES)  # for the server that forks processes
    setattr(parallel, "_PRELOAD", (*parallel._PRELOAD, "breaking"))  # noqa: B010 (a tuple of another length)
    sys.argv[0] = str(PROJECT / "run.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
