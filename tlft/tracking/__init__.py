"""Keep runs in MLflow and find them again; the only package that knows MLflow.

What a run computes is not known here: it arrives as names, numbers and files.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Give logged models the function that they import under this name, for ever; it takes MLflow to import."""
    if name != "set_served_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tlft.tracking.pyfunc_model import set_served_model

    return set_served_model
