"""The curves of a table with what is said of them, once for the command, for a sweep's end and for its report."""

from __future__ import annotations

from functools import partial

from analysis.comparison_table import Table
from analysis.curve.series import Curve, curves_along
from analysis.curve.wording import describe_curve
from tlft.names import Artifact
from tlft.tracking.reader import ArtifactReader


def collect_curves(table: Table, key: str, reader: ArtifactReader) -> list[tuple[Curve, list[str]]]:
    """Return each curve of a table along a setting, with its sentences.

    Raises:
        ConfigurationError: if no two runs differ in that setting alone.
    """
    config_of = partial(reader.text, name=Artifact.CONFIG)
    return [(curve, describe_curve(curve)) for curve in curves_along(table, key, config_of)]
