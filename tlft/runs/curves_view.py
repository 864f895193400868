"""A view of an experiment's runs in MLflow's pages: charts of all of them, the training curves first.

By themselves the pages show the charts of sweeps alone, whose runs must be opened first, and order them by the names of
the metrics, so that `train/` comes last. A view that somebody shares is the one thing of this kind that is kept on the
server: JSON in a tag of the experiment, whose key the page's address names. The page of a single run has no such thing:
its charts stand in the order of the names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tlft.names import Metric, Tag
from tlft.tracking.client import runs_page

KEY = "curves"
_ORDER = ("train", "curve", "eval", "eval/recall", "holdout", "throughput", "time")
"""How the names of metrics begin, what people look at first before the rest."""


def curves_view(metrics: Iterable[str]) -> str:
    """Return the view, for runs that have these metrics, as MLflow keeps it; the rest is as it is without one."""
    beginnings = {name.rpartition("/")[0] for name in metrics}
    sections = [
        {"uuid": name, "name": name, "display": True, "isReordered": False, "isGenerated": True}
        for name in _ORDER
        if name in beginnings  # or it would be shown empty
    ]
    state = {
        "searchFilter": f"tags.{Tag.COLUMN} LIKE '%'",  # which a sweep's run does not have
        "orderByKey": f"metrics.`{Metric.ACCURACY}`",  # in the order of time, runs stand folded below their sweep's
        "orderByAsc": False,
        "compareRunSections": sections,  # the pages add others behind them
        "compareRunCharts": [],  # and one for each metric
        "isAccordionReordered": True,
    }
    return json.dumps(state)


def curves_page(uri: str, experiment_id: str) -> str:
    """Return where MLflow shows the curves of an experiment's runs, in this view."""
    return f"{runs_page(uri, experiment_id)}&viewStateShareKey={KEY}&compareRunsMode=CHART"
