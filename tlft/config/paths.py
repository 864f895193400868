"""Where the project is and where everything is written; which files lie there is known elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from tlft.commands import IS_CHECKOUT
from tlft.errors import ConfigurationError

PROJECT = Path(__file__).resolve().parents[2]
"""What holds the packages: the checkout, or the folder into which a wheel was installed."""

CONF = (Path(__file__).resolve().parents[1] / "conf").resolve()
"""The groups and keys: `conf/` of the checkout, to which a link in the package leads; in a wheel a copy of it."""


def config_folder(given: str) -> Path:
    """Return the folder that Hydra's --config-path means: relative to run.py, or where there is none to this folder."""
    return (PROJECT if IS_CHECKOUT else Path.cwd()) / given


def existing_home() -> Path:
    """Return `home_folder()`, for a command that has nothing to look at elsewhere.

    Raises:
        ConfigurationError: if it is no folder.
    """
    home = home_folder()
    if not home.is_dir():
        raise ConfigurationError(
            f"TLFT_HOME={home}: {'is a file' if home.exists() else 'no such folder'}; name a folder"
        )
    return home


def home_folder() -> Path:
    """Return the folder that holds everything written.

    `TLFT_HOME`, or the project folder; where tlft is installed from a wheel the folder that the command is typed in.
    """
    return Path(os.environ.get("TLFT_HOME") or (PROJECT if IS_CHECKOUT else Path.cwd())).expanduser().absolute()
