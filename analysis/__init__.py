"""Read runs from MLflow and put them side by side; nothing here trains.

In a notebook `analysis.compare()` gives data frames and an object that shows itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.notebook import Comparison, compare

__all__ = ["Comparison", "compare"]


def __getattr__(name: str) -> Any:  # the commands need not import what notebooks need
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from analysis import notebook

    return getattr(notebook, name)
