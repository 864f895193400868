"""What `--help` and the reference say is made of the schema, and complete."""

from __future__ import annotations

import runpy
import sys

import pytest

from tlft.config.compose import Composer
from tlft.config.help import GROUPS, describe_keys, options_of, render_help
from tlft.config.paths import PROJECT

SET_BY_GROUPS = {f"{group}.name" for group in ("model", "head", "optimizer", "schedule", "augment", "data")}


@pytest.mark.parametrize(
    "overrides", [[], ["optimizer=adamw", "data=synthetic"], ["hydra/launcher=slurm"], ["hydra/launcher=parallel"]]
)
def test_every_key_that_can_be_set_is_described(composer: Composer, overrides: list[str]) -> None:
    composed = composer.compose(overrides)
    described = {key.name for section in describe_keys(composed) for key in section.keys}
    launcher = {f"hydra.launcher.{name}" for name in composed.hydra.launcher if name != "_target_"}
    listed = composer.keys()
    keys = {key for key in listed if not key.startswith("optimizer.")}
    keys |= {f"optimizer.{name}" for name in composed.optimizer}
    assert described | SET_BY_GROUPS >= keys | launcher
    assert not described & SET_BY_GROUPS
    assert all(key.meaning for section in describe_keys(composed) for key in section.keys)


def test_every_group_and_option_is_described(composer: Composer) -> None:
    folders = {path.name for path in (PROJECT / "conf").iterdir() if path.is_dir() and path.name != "hydra"}
    assert {*GROUPS} == folders | {"hydra/launcher"}
    for group in GROUPS:
        options = options_of(group, composer.loader)
        assert options and all(options.values()), group
    launchers = set(composer.loader.get_group_options("hydra/launcher"))
    assert set(options_of("hydra/launcher", composer.loader)) == launchers


@pytest.mark.parametrize("width", [80, 100, 140])
def test_help_fits_the_terminal_and_says_default_values_and_meaning(composer: Composer, width: int) -> None:
    text = render_help(composer.compose(["optimizer=adamw", "training.epochs=7"]), composer.loader, width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    assert "training.epochs=7 passes over the training images (whole number of at least 0)" in words
    assert "training.keep=last which weights are evaluated" in words and "(last, lowest_train_loss)" in words
    assert "optimizer= what minimises the loss: adam, adamw*, modern, sgd, torch" in words
    assert "optimizer.beta1=0.9" in words and "optimizer.momentum" not in words


def test_help_names_the_command_as_it_was_typed(composer: Composer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tlft run", "--help"])
    text = render_help(composer.compose([]), composer.loader, 100)
    assert "  tlft run sweep=comparison " in text and "python" not in text
    assert "(tlft models lists them)" in " ".join(text.split())


def test_the_reference_is_what_the_code_says() -> None:
    made = runpy.run_path(str(PROJECT / "docs" / "make_reference.py"))["reference"]()
    written = (PROJECT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == made, "make reference writes it anew"
