"""Folders that Hydra's jobs write into: each is claimed by one process, so that none overwrites another's.

Hydra names them by the second and takes a folder that exists (hydra#1817, hydra#2103).
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from tlft.config.typed import with_values
from tlft.errors import ConfigurationError

_CLAIM = ".claimed"


def claim_folder(path: Path, *, exact: bool = False) -> Path:
    """Create `path`, or with a number behind its name if it is taken, and return the folder that is ours.

    Raises:
        FileExistsError: if it is taken and `exact`, since a user named it.
    """
    folder, number = path, 0
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            (folder / _CLAIM).touch(exist_ok=False)
            return folder
        except FileExistsError:
            if exact:
                raise
        number += 1
        folder = path.with_name(f"{path.name}_{number}")


def with_claimed_folder(config: DictConfig, mode: str = "run") -> DictConfig:
    """Claim the folder that `hydra.run.dir` or `hydra.sweep.dir` names; return the configuration with what was claimed.

    Raises:
        ConfigurationError: if a user named it, and it is taken.
    """
    path = Path(str(config.hydra[mode].dir)).absolute()
    named = any(str(override).startswith(f"hydra.{mode}.dir=") for override in config.hydra.overrides.hydra)
    try:
        return with_values(config, {f"hydra.{mode}.dir": str(claim_folder(path, exact=named))})
    except FileExistsError:
        raise ConfigurationError(
            f"hydra.{mode}.dir={path}: holds the output of an earlier run; name another folder"
        ) from None
