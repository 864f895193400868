"""Import this to have imported all that a job needs: a process that forks jobs does it once for all of them.

Nothing of that ever becomes garbage: it is not looked through while it is imported, nor later by the jobs, which would
copy the memory that they share.
"""

# ruff: noqa: E402  (the libraries are what this is about)
import gc

gc.disable()

import imagehash  # noqa: F401
import pandas  # noqa: F401
import pyarrow.parquet  # noqa: F401
import timm  # noqa: F401
import torch  # noqa: F401

import tlft.evaluation.metrics
import tlft.evaluation.plots
import tlft.models.build
import tlft.runs.experiment
import tlft.training.checkpoint  # noqa: F401
from tlft.tracking.client import import_ahead

import_ahead()
gc.freeze()
gc.enable()
