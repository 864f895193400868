"""A logged run is repeated from what was kept of it, and its bits are compared."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY_ARCH, run_py
from fabricated import compose
from hydra.core.override_parser.overrides_parser import OverridesParser

from tlft.config.compose import Composer
from tlft.config.overrides import write_value
from tlft.runs.experiment import run_experiment
from tlft.runs.replay import verify
from tlft.tracking.reader import load_records


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0.1,
        1e-8,
        3,
        "",
        "word",
        "two words",
        'a "quoted" \\ one',
        'C:\\folder\\"x"\\',
        "a,b=c",
        [1, "a b"],
        {"ants": [310], "bees": ["a b"]},
    ],
)
def test_values_are_written_as_hydra_reads_them(value: object) -> None:
    override = OverridesParser.create().parse_override(f"key={write_value(value)}")
    assert override.value() == value


def test_a_run_is_repeated_with_the_same_bits(tmp_path: Path, tiny_folder: Path) -> None:
    small = ("data=imagefolder", "training.epochs=2", "training.batch_size=6", "optimizer=adamw", "threads=1", "seed=3")
    first = run_py(*TINY_ARCH, *small, f"data.root={tiny_folder}", "model=scratch", home=tmp_path)
    assert first.returncode == 0, first.stderr
    (record,) = load_records("tlft", home=tmp_path)
    moved = shutil.copytree(tiny_folder, tmp_path / "elsewhere" / "insects")
    again = run_py(f"from_run={record.run_id}", "verify=true", f"data.root={moved}", home=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "verified: run " in again.stdout
    assert f"has the bits of run {record.run_id}: weights, predictions and metrics" in again.stdout
    (repeated,) = load_records("tlft-repeats", home=tmp_path)
    assert (repeated.key, repeated.params) == (record.key, record.params)
    assert len(load_records("tlft", home=tmp_path)) == 1
    once_more = run_py(f"from_run={record.run_id}", "verify=true", f"data.root={moved}", home=tmp_path)
    assert "verified: run " in once_more.stdout
    assert "done already" not in once_more.stdout
    assert len(load_records("tlft-repeats", home=tmp_path)) == 2
    option = run_py(f"from_run={record.run_id}", "optimizer=adam", "arch=resnet18", home=tmp_path)
    assert option.returncode == 2
    assert option.stderr.splitlines() == [
        f"optimizer=adam: from_run={record.run_id} repeats a run with optimizer=adamw; leave it out",
        f"arch=resnet18: from_run={record.run_id} repeats a run with arch=timm; leave it out",
    ]
    other = run_py(f"from_run={record.run_id}", "seed=4", home=tmp_path)
    assert other.returncode == 2
    assert "cannot be repeated here: seed is 4 and was 3" in other.stderr


def test_what_cannot_be_repeated_is_one_line(tmp_path: Path, tiny_folder: Path) -> None:
    for arguments, said in (
        (["from_run=" + "f" * 32], "no such run in sqlite:///"),
        (["from_run='" + "f" * 32 + "'"], "no such run in sqlite:///"),
        (["from_run=../../etc"], "no such run in sqlite:///"),
        (["-m", "from_run=x", "seed=0,1"], "from_run=x: repeats one run; leave -m, sweep= and experiment= out"),
        (["verify=true", "data=imagefolder", f"data.root={tiny_folder}"], "verify=true: compares with the run"),
    ):
        done = run_py(*arguments, home=tmp_path)
        (line,) = (done.stdout + done.stderr).splitlines()
        assert said in line
        assert done.returncode == 2


def test_other_bits_are_said_with_the_first_difference(
    composer: Composer, home: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose(composer, home, tiny_folder, "training.epochs=1")
    first = run_experiment(config)
    other = run_experiment(compose(composer, home, tiny_folder, "training.epochs=1", "seed=1"))
    assert not verify(replace(config, from_run=first.run_id), other.run_id)
    said = capsys.readouterr().out
    assert said.startswith(f"not the same bits: run {first.run_id} | run {other.run_id}; the first difference: eval/")
    assert "configuration: 1 differs" in said
