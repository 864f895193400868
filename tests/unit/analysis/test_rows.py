"""Which runs share a cell, and which cells a row."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, LINEAR_PROBE, ZERO_SHOT, run

from analysis.comparison_table import Table, build_table
from tlft.records.record import Record


def cells_of(table: Table) -> list[dict[str, float]]:
    return [{column: cell.accuracy for column, cell in row.cells.items()} for row in table.rows]


def test_cell_is_mean_and_sample_standard_deviation() -> None:
    values = [0.94, 0.95, 0.99]
    (row,) = build_table([run(FINE_TUNE, value, seed=str(seed)) for seed, value in enumerate(values)]).rows
    cell = row.cells["fine_tune"]
    assert cell.n == 3
    assert cell.accuracy == pytest.approx(0.96)
    assert cell.std == pytest.approx(0.02645751311)
    assert cell.std != pytest.approx(statistics.pstdev(values))


def test_columns_of_one_recipe_share_a_row() -> None:
    runs = [run(ZERO_SHOT, 0.1), run(FINE_TUNE, 0.2), run(FROM_SCRATCH, 0.3), run(LINEAR_PROBE, 0.4)]
    assert cells_of(build_table(runs)) == [{"zero_shot": 0.1, "fine_tune": 0.2, "from_scratch": 0.3}]
    everything = build_table(runs, all_columns=True)
    assert cells_of(everything) == [{"zero_shot": 0.1, "fine_tune": 0.2, "from_scratch": 0.3, "linear_probe": 0.4}]
    assert [column.key for column in everything.columns] == ["zero_shot", "fine_tune", "from_scratch", "linear_probe"]


def test_zero_shot_stands_in_each_row_of_its_data_and_architecture() -> None:
    runs = [run(ZERO_SHOT, 0.1), run(FINE_TUNE, 0.2), run(FINE_TUNE, 0.3, optimizer__lr="0.1")]
    elsewhere = [run(FINE_TUNE, 0.4, data__eval="f6" * 32), run(FINE_TUNE, 0.5, arch__name="resnet18")]
    cells = cells_of(build_table([*runs, *elsewhere]))
    assert sum("zero_shot" in row for row in cells) == 2
    assert {"zero_shot": 0.1, "fine_tune": 0.3} in cells
    assert {"fine_tune": 0.4} in cells and {"fine_tune": 0.5} in cells


def test_only_zero_shot_has_a_row_of_its_own() -> None:
    (row,) = build_table([run(ZERO_SHOT, 0.1)]).rows
    assert (row.recipe, set(row.cells)) == ("no training", {"zero_shot"})


def test_zero_shot_of_other_weights_stands_apart() -> None:
    cells = cells_of(build_table([run(ZERO_SHOT, 0.1, model__weights="11ad3fa6"), run(FINE_TUNE, 0.2)]))
    assert sorted(cells, key=str) == [{"fine_tune": 0.2}, {"zero_shot": 0.1}]


def test_of_several_zero_shots_the_row_takes_that_of_its_precision() -> None:
    runs = [run(ZERO_SHOT, 0.1), run(ZERO_SHOT, 0.2, precision="bfloat16")]
    cells = cells_of(build_table([*runs, run(FINE_TUNE, 0.3, precision="bfloat16")]))
    assert sorted(cells, key=str) == [{"fine_tune": 0.3, "zero_shot": 0.2}, {"zero_shot": 0.1}]


def test_one_zero_shot_stands_in_a_row_of_another_precision() -> None:
    assert cells_of(build_table([run(ZERO_SHOT, 0.1, precision="float32"), run(FINE_TUNE, 0.2)])) == [
        {"fine_tune": 0.2, "zero_shot": 0.1}
    ]


def test_zero_shots_of_which_none_can_be_preferred_are_never_averaged() -> None:
    runs = [run(ZERO_SHOT, 0.1), run(ZERO_SHOT, 0.2, class_map="d4" * 32), run(FINE_TUNE, 0.3)]
    table = build_table(runs)
    assert sorted(cells_of(table), key=str) == [{"fine_tune": 0.3}, {"zero_shot": 0.1}, {"zero_shot": 0.2}]
    assert len({row.recipe for row in table.rows}) == 3


def test_scratch_joins_its_recipe_whatever_the_weights() -> None:
    runs = [run(FINE_TUNE, 0.1), run(FINE_TUNE, 0.2, model__weights="11ad3fa6"), run(FROM_SCRATCH, 0.3)]
    both = [{"fine_tune": 0.1, "from_scratch": 0.3}, {"fine_tune": 0.2, "from_scratch": 0.3}]
    assert sorted(cells_of(build_table(runs)), key=str) == both
    apart = cells_of(build_table([*runs[:1], run(FROM_SCRATCH, 0.3, optimizer__lr="0.1")]))
    assert apart == [{"fine_tune": 0.1}, {"from_scratch": 0.3}]


def test_holdout_figures_are_joined_by_the_holdout() -> None:
    def with_holdout(record: Record) -> Record:
        return replace(record, metrics={"holdout/accuracy": 0.5})

    zero_shot = with_holdout(run(ZERO_SHOT, data__holdout="d4" * 32))
    same = with_holdout(run(FINE_TUNE, data__holdout="d4" * 32))
    other = with_holdout(run(FINE_TUNE, data__holdout="e5" * 32))
    table = build_table([zero_shot, same, other], metric="holdout/accuracy")
    assert {row.recipe.rpartition(" ")[2]: set(row.cells) for row in table.rows} == {
        "d4d4d4d4": {"zero_shot", "fine_tune"},
        "e5e5e5e5": {"fine_tune"},
    }


def test_same_images_under_two_names_are_one_data_set() -> None:
    runs = [run(ZERO_SHOT, 0.1, data="old"), run(FINE_TUNE, 0.2, data="new")]
    assert [(row.data, len(row.cells)) for row in build_table(runs).rows] == [("new", 2)]
    assert [len(row.cells) for row in build_table(runs, data=["old"]).rows] == [2]


def test_other_images_under_one_name_carry_their_digest() -> None:
    runs = [run(FINE_TUNE), run(FINE_TUNE, data__eval="f6" * 32, arch__name="resnet18")]
    assert [row.data for row in build_table(runs).rows] == ["photos (a1a1a1a1)", "photos (f6f6f6f6)"]


def test_architecture_of_two_libraries_carries_its_library() -> None:
    runs = [run(FINE_TUNE), run(FINE_TUNE, arch__library="timm")]
    assert [row.arch for row in build_table(runs).rows] == ["timm/resnet50", "torchvision/resnet50"]
