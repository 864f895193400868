"""How a side tells its seconds to the process that has started it."""

from __future__ import annotations


def say(seconds: float) -> None:
    """Print the last line, whatever a library has left on the one before."""
    print(f"\n{seconds!r}", flush=True)
