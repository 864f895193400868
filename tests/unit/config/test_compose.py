"""What is composed, from the project's own folder of configurations and from a user's."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from tlft.config.compose import COMPOSITION_ERRORS, Composer
from tlft.config.hydra_internals import argument_parser
from tlft.config.paths import CONF
from tlft.config.typed import quote_texts
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


def test_an_option_that_is_no_yaml_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("lr: [")
    mine = composer("--config-dir", str(tmp_path))
    with pytest.raises(COMPOSITION_ERRORS) as raised:
        mine.compose(["optimizer=mine"])
    (problem,), _ = mine.explain(["optimizer=mine"], raised.value)
    assert "mine.yaml" in problem
    assert problem.isprintable()


@pytest.mark.parametrize(
    "path", ["/a b,c (d)", "/it's", '/say "x"', "/a=b", "/[y]{x}", "/猫", "/new \\", "/#1", "/a;b&c|d"]
)
def test_a_value_that_cannot_be_read_is_answered_with_one_that_can_be_pasted(path: str) -> None:
    ours = composer()
    try:
        assert ours.parse([f"data.root={path}"])[0].value() == path
    except ConfigurationError as error:
        (problem,) = error.problems
        (pasted,) = shlex.split(problem.partition("; write ")[2])
        assert ours.parse([pasted])[0].value() == path


def test_a_carriage_return_is_called_that() -> None:
    with pytest.raises(ConfigurationError, match=r"seed=4\\r: has '\\r' in it \(a script with Windows line ends"):
        composer().parse(["seed=4\r"])


@pytest.mark.parametrize(
    ("overrides", "mend"),
    [
        (["hydra/launcher=slurm", "hydra.launcher.partion=gpu"], "no such key; did you mean hydra.launcher.partition?"),
        (["hydra/launcher=parallel", "hydra.launcher.job=2"], "no such key; did you mean hydra.launcher.jobs?"),
        (["hydra.launcher.job=2"], "no such key; there are none with this launcher"),
        (["hydra.launcher.jobs=2"], "no such key; it belongs to hydra/launcher=parallel"),
        (["hydra/launcher=slurm", "hydra.launcher.jobs=2"], "no such key; it belongs to hydra/launcher=parallel"),
        (["hydra/launcher=parallel", "hydra.launcher.qos=a"], "no such key; it belongs to hydra/launcher=slurm"),
    ],
)
def test_a_misspelt_key_of_a_launcher_gets_its_neighbour(overrides: list[str], mend: str) -> None:
    composing = composer()
    with pytest.raises(COMPOSITION_ERRORS) as raised:
        composing.compose(overrides)
    problems, _ = composing.explain(overrides, raised.value)
    assert problems == [f"{overrides[-1]}: {mend}"]


@pytest.mark.parametrize(
    ("overrides", "mend"),
    [
        (["hydra/launcher=slurm", "+hydra.launcher.partion=gpu"], "; did you mean hydra.launcher.partition?"),
        (["+hydra.launcher.jobs=2"], "; it belongs to hydra/launcher=parallel"),
        (["hydra/launcher=parallel", "+hydra.launcher.jobs=2"], ""),
    ],
)
def test_no_key_is_added_to_a_launcher(overrides: list[str], mend: str) -> None:
    composing = composer()
    problems = composing.wrong_forms(composing.parse(overrides))
    assert problems == [f"{overrides[-1]}: leave the + out{mend}"]


@pytest.mark.parametrize(
    ("typed", "quoted"),
    [
        ("model.run_id=414681e3", 'model.run_id="414681e3"'),
        ("model.run_id=12345678", "model.run_id=12345678"),
        ("+tracking.experiment=1.50", '+tracking.experiment="1.50"'),
        ("data.file=1_000", 'data.file="1_000"'),
        ("data.root=runs/1e5", "data.root=runs/1e5"),
        ("data.white_level=4095", "data.white_level=4095"),
        ("training.trainable=2,all", "training.trainable=2,all"),
        ("model.run_id=414681e3,41468abc,1e5", 'model.run_id="414681e3",41468abc,"1e5"'),
        ("from_run=1e9", 'from_run="1e9"'),
        ("model.run_id=models:/insects/1", "model.run_id=models:/insects/1"),
        ("optimizer.lr=1e-3", "optimizer.lr=1e-3"),
        ('model.run_id="1e5"', 'model.run_id="1e5"'),
    ],
)
def test_a_text_that_looks_like_a_number_stays_as_it_is_typed(typed: str, quoted: str) -> None:
    assert quote_texts([typed]) == [quoted]
