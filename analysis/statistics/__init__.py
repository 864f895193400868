"""Intervals and paired tests of networks that were evaluated on the same images.

All of it takes plain arrays: which run stands in which column is not known here, and nothing is read or written.
"""

from __future__ import annotations

from analysis.statistics.calibration import Reliability, reliability
from analysis.statistics.families import ALPHA, holm, levels
from analysis.statistics.intervals import (
    IMAGES_AND_SEEDS,
    LEVEL,
    NEW_SEED,
    THESE_NETWORKS,
    THIS_NETWORK,
    Interval,
    accuracy_interval,
    new_seed_interval,
    wilson_interval,
)
from analysis.statistics.multiples import Arm, Multiple, multiple
from analysis.statistics.paired import PairedComparison, PairedTest, compare, mcnemar, tango_interval
from analysis.statistics.power import POWER, rate_limit, smallest_difference
from analysis.statistics.power_law import PowerLaw, fit_power_law
from analysis.statistics.variance import FEWEST_SEEDS, CorrectMatrix, Groups

__all__ = [
    "ALPHA",
    "FEWEST_SEEDS",
    "IMAGES_AND_SEEDS",
    "LEVEL",
    "NEW_SEED",
    "POWER",
    "THESE_NETWORKS",
    "THIS_NETWORK",
    "Arm",
    "CorrectMatrix",
    "Groups",
    "Interval",
    "Multiple",
    "PairedComparison",
    "PairedTest",
    "PowerLaw",
    "Reliability",
    "accuracy_interval",
    "compare",
    "fit_power_law",
    "holm",
    "levels",
    "mcnemar",
    "multiple",
    "new_seed_interval",
    "rate_limit",
    "reliability",
    "smallest_difference",
    "tango_interval",
    "wilson_interval",
]
