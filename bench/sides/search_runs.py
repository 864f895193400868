"""Ask MLflow for every run of a database, a page at a time: `python -m bench.sides.search_runs DATABASE`."""

from __future__ import annotations

import sys

from mlflow import MlflowClient
from mlflow.entities import ViewType


def count_runs(database: str) -> int:
    """Return how many runs there are, each of which was read."""
    client = MlflowClient(f"sqlite:///{database}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    count, token = 0, None
    while token is None or token:
        page = client.search_runs(experiments, run_view_type=ViewType.ALL, page_token=token)
        count, token = count + len(page), page.token or ""
    return count


if __name__ == "__main__":
    print(count_runs(sys.argv[1]))
