"""Say to other homes of one tracking store that a run is being computed, and let one of those that begin at once win.

Within a home the claim decides (tlft/runtime/claims.py), which reaches no further than its folder.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tlft.names import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

BEAT_SECONDS = 60.0
STALE_SECONDS = 300.0  # since a heartbeat: five beats, and what the clocks of two machines differ by
_CHOOSING_SECONDS = 10.0
_LOOK_SECONDS = 0.2
_CHOOSING = "0"


def first_tags() -> dict[str, str]:
    """Return the tags of a run that is about to be computed: it lives, and has not taken its turn yet."""
    return {Tag.HEARTBEAT: str(int(time.time() * 1000)), Tag.TURN: _CHOOSING}


def is_alive(run: Run) -> bool:
    """Tell whether another home computes a run; one without a heartbeat is of an earlier version, or was left."""
    beat = run.data.tags.get(Tag.HEARTBEAT, "")
    is_fresh = beat.isdecimal() and abs(time.time() - int(beat) / 1000) < STALE_SECONDS
    return run.info.status == "RUNNING" and is_fresh


def take_turn(client: MlflowClient, run_id: str, home_id: str, find_rivals: Callable[[], Sequence[Run]]) -> bool:
    """Tell whether this home computes a run that it has opened with `first_tags`; other homes may have opened theirs.

    `find_rivals` returns the runs of the same key that other homes compute now.

    Lamport's bakery algorithm (1974, CACM 17(8)), whose registers are tags, each written by one process; who would have
    to wait for another to finish leaves the run to that instead.
    """
    turn = 1 + max([0, *(_turn_of(run) for run in find_rivals())])
    client.set_tag(run_id, Tag.TURN, str(turn))
    deadline = time.monotonic() + _CHOOSING_SECONDS
    while True:
        rivals = {run.data.tags.get(Tag.HOME, ""): _turn_of(run) for run in find_rivals()}
        if 0 not in rivals.values() or time.monotonic() > deadline:
            return all((turn, home_id) < (other, home) for home, other in rivals.items())
        time.sleep(_LOOK_SECONDS)


def _turn_of(run: Run) -> int:
    turn = run.data.tags.get(Tag.TURN, "")
    return int(turn) if turn.isdecimal() else 0


@contextmanager
def beating(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Renew a run's heartbeat within the block; that the store does not answer is no fault of the run."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                client.set_tag(run_id, Tag.HEARTBEAT, first_tags()[Tag.HEARTBEAT])
            except Exception as error:
                log.debug("run %s: no heartbeat (%s)", run_id, error)

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
