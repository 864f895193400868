"""Keep the passwords in addresses of tracking stores out of all that is written, and give them to whoever connects.

An address with a password is known by what it is without (`postgresql://user:***@host/db`) from the command line on.
Processes that this one starts get the whole of it through the environment; what is written does not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, read_write

from tlft.errors import PASSWORD, ConfigurationError, without_passwords

VARIABLE = "TLFT_WHOLE_ADDRESSES"


def hide_password(address: str) -> str:
    """Return an address without its password, which is remembered for `whole_address`."""
    hidden = without_passwords(address)
    if hidden != address and address not in (whole := _remembered()):
        os.environ[VARIABLE] = json.dumps([address, *whole])
    return hidden


def whole_address(hidden: str) -> str:
    """Return the address to connect to.

    Raises:
        ConfigurationError: if its password is not known here: it is kept nowhere.
    """
    if PASSWORD not in hidden:
        return hidden
    for address in (*_remembered(), os.environ.get("MLFLOW_TRACKING_URI", "")):
        if without_passwords(address) == hidden:
            return address
    raise ConfigurationError(
        f"tracking.uri={hidden}: its password is kept nowhere; set MLFLOW_TRACKING_URI to the whole address"
    )


def hide_known(text: str) -> str:
    """Return a text without passwords, also of such as only the addresses seen before tell."""
    for address in _remembered():
        text = text.replace(address, without_passwords(address))
    return without_passwords(text)


def _remembered() -> list[str]:
    remembered: list[str] = json.loads(os.environ.get(VARIABLE, "[]"))
    return remembered


def hide_passwords(cfg: DictConfig) -> DictConfig:
    """Take the passwords out of a composed configuration, before anybody writes it; returns it."""
    uri = OmegaConf.select(cfg, "tracking.uri", throw_on_resolution_failure=False)
    if isinstance(uri, str) and (hidden := hide_password(uri)) != uri:  # also what an interpolation comes to
        cfg.tracking.uri = hidden
    for node, key, text in _texts(cfg):
        if (hidden := without_passwords(text)) != text:
            with read_write(node):
                node[key] = hidden
    return cfg


def _texts(node: Any) -> Iterator[tuple[Any, Any, str]]:
    """Yield every text that stands in a configuration, with where it stands; interpolations as they are."""
    pending = [node]
    while pending:
        node = pending.pop()
        if node._is_none() or node._is_missing() or node._is_interpolation():
            continue
        for key in list(node) if isinstance(node, DictConfig) else range(len(node)):
            child = node._get_node(key)
            if isinstance(child, DictConfig | ListConfig):
                pending.append(child)
            elif child is not None and isinstance(text := child._value(), str):
                yield node, key, text
