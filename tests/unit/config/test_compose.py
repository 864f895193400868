"""What is composed, from the project's own folder of configurations and from a user's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tlft.config.compose import Composer
from tlft.config.hydra_internals import argument_parser
from tlft.config.paths import CONF
from tlft.errors import ConfigurationError


def composer(*flags: str) -> Composer:
    return Composer.of(argument_parser().parse_args(list(flags)))


def test_another_folder_may_stand_in_for_conf(tmp_path: Path) -> None:
    folder = shutil.copytree(CONF, tmp_path / "conf")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("seed: 0", "seed: 77"))
    assert (composer().compose([]).seed, composer("--config-path", str(folder)).compose([]).seed) == (0, 77)


def test_another_folder_may_add_options(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    text = (CONF / "optimizer" / "sgd.yaml").read_text()
    (tmp_path / "optimizer" / "mine.yaml").write_text(text.replace("lr: 0.01", "lr: 0.123"))
    mine = composer("--config-dir", str(tmp_path))
    assert mine.compose(["optimizer=mine"]).optimizer.lr == 0.123
    assert "mine" in mine.options("optimizer")
    with pytest.raises(ConfigurationError, match="nowhere: no such folder"):
        composer("--config-dir", str(tmp_path / "nowhere"))
