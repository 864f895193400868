"""Folders that Hydra's jobs write into: each is claimed by one process, so that none overwrites another's.

Hydra names them by the second and takes a folder that exists (hydra#1817, hydra#2103).
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict

_CLAIM = ".claimed"


def claim_folder(wanted: Path, *, exact: bool = False) -> Path:
    """Create `wanted`, or with a number behind its name if it is taken, and return the folder that is ours.

    Args:
        wanted: the folder.
        exact: refuse a folder that is taken, since a user named it.

    Raises:
        FileExistsError: if it is taken and `exact`.
    """
    for number in itertools.count():
        folder = wanted if number == 0 else wanted.with_name(f"{wanted.name}_{number}")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            (folder / _CLAIM).open("x").close()
        except FileExistsError:
            if exact:
                raise
            continue
        return folder
    raise AssertionError("unreachable")


def claim_hydra_folder(config: DictConfig, mode: str) -> None:
    """Claim `hydra.run.dir` or `hydra.sweep.dir` of a composed configuration, and write there what was claimed."""
    wanted = Path(str(config.hydra[mode].dir)).absolute()
    named = any(str(o).startswith(f"hydra.{mode}.dir=") for o in config.hydra.overrides.hydra)
    try:
        folder = claim_folder(wanted, exact=named)
    except FileExistsError:
        print(
            f"hydra.{mode}.dir={wanted}: holds the output of an earlier run; name another folder",
            file=sys.stderr,
        )
        sys.exit(2)
    with open_dict(config.hydra):
        config.hydra[mode].dir = str(folder)


class ClaimOutputFolder(Callback):
    """Claim the folder of a single run before Hydra takes it; a sweep's is claimed by the sweeper."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hear from Hydra that a single run starts."""
        claim_hydra_folder(config, "run")
