"""Keep runs in MLflow and find them again; the only package that knows MLflow.

What a run computes is not known here: it arrives as names, numbers and files.
"""

from __future__ import annotations


def set_served_model() -> None:
    """Tell MLflow which object answers: models that hold no tlft of their own call this, under this name, for ever."""
    from tlft.tracking import pyfunc_model

    pyfunc_model.set_referring_model()
