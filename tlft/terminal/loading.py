"""Python's search for rings of garbage while a command loads its libraries: there are none, and it takes a fifth.

Nothing heavy may be imported here.
"""

from __future__ import annotations

import gc

_RARELY = 100_000
"""New objects between two searches; Python's own number is below a thousand, and libraries make a million that stay."""

_usual = gc.get_threshold()


def search_rarely() -> None:
    """Have Python look for garbage once in many new objects, until `loaded`."""
    gc.set_threshold(_RARELY, *_usual[1:])


def loaded() -> None:
    """Have Python look for garbage as usual from now on, but not again through what is there by now.

    Called before a network is trained, whose rings may hold much memory; again, it does nothing.
    """
    if gc.get_threshold()[0] == _RARELY:
        gc.freeze()
        gc.set_threshold(*_usual)
