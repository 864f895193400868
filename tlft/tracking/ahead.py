"""Import this to have done what MLflow otherwise does at the first model that a process logs, and what takes a second.

It asks every installed package which modules it has. A process that forks others does it once for all.
"""

from __future__ import annotations

from contextlib import suppress

with suppress(ImportError, AttributeError):  # an inner part of MLflow; without it the first model takes longer
    from mlflow.utils import requirements_utils

    requirements_utils._init_modules_to_packages_map()  # type: ignore[no-untyped-call]
