from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, LINEAR_PROBE, ZERO_SHOT, run

from analysis.narrative import headline, rounded
from analysis.render import FORMATS, format_cell
from analysis.rows import Cell
from analysis.table import Table, build_table, main, render
from tlft.config.columns import THREE, column_of
from tlft.config.paths import PROJECT
from tlft.errors import TlftError
from tlft.tracking.records import Record

DATA = PROJECT / "tests" / "data"
ENDINGS = {"terminal": "txt", "markdown": "md", "csv": "csv", "json": "json", "latex": "tex"}
"""The golden tables, made from records.json; read the difference before a file is replaced."""


def cells_of(table: Table) -> list[dict[str, float]]:
    return [{column: cell.accuracy for column, cell in row.cells.items()} for row in table.rows]


def recipes_of(*records: Record) -> list[str]:
    return [row.recipe for row in build_table(records).rows]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [Record.from_dict(values) for values in json.loads((DATA / "records.json").read_text())]


@pytest.fixture(scope="module")
def table(records: list[Record]) -> Table:
    return build_table(records, published=True, command="python -m analysis.table --published")


@pytest.mark.parametrize("format", FORMATS)
def test_golden_tables(table: Table, format: str) -> None:
    golden = DATA / f"table.{ENDINGS[format]}"
    assert render(table, format, width=80) + "\n" == golden.read_text(encoding="utf-8")


def test_records_survive_json(records: list[Record]) -> None:
    assert len(records) >= 15
    assert [Record.from_dict(json.loads(json.dumps(record.to_dict()))) for record in records] == records


def test_order_of_records_does_not_matter(records: list[Record], table: Table) -> None:
    assert build_table(records[::-1], published=True, command=table.command) == table


def test_cell_is_mean_and_sample_standard_deviation() -> None:
    values = [0.94, 0.95, 0.99]
    (row,) = build_table([run(FINE_TUNE, value, seed=str(seed)) for seed, value in enumerate(values)]).rows
    cell = row.cells["fine_tune"]
    assert cell.n == 3
    assert cell.accuracy == pytest.approx(0.96)
    assert cell.std == pytest.approx(0.02645751311)
    assert cell.std != pytest.approx(statistics.pstdev(values))


@pytest.mark.parametrize(
    ("column", "key", "title"),
    [
        (ZERO_SHOT, *vars(THREE[0]).values()),
        (FINE_TUNE, *vars(THREE[1]).values()),
        (FROM_SCRATCH, *vars(THREE[2]).values()),
        (LINEAR_PROBE, "linear_probe", "pretrained, new head, only the head trained"),
        (("pretrained", "task", "2"), "partial_2", "pretrained, new head, last 2 stages trained"),
        (("pretrained", "task", "1"), "partial_1", "pretrained, new head, last stage trained"),
        (("pretrained", "task", "none"), "pretrained_task_none", "pretrained, new head, no fine-tuning"),
        (("scratch", "task", "none"), "scratch_task_none", "from scratch, new head, not trained"),
        (("scratch", "task", "3"), "scratch_task_3", "from scratch, new head, last 3 stages trained"),
    ],
)
def test_column_is_what_the_run_was(column: tuple[str, str, str], key: str, title: str) -> None:
    found = column_of(run(column).params)
    assert found is not None
    assert (found.key, found.title) == (key, title)


def test_name_of_a_run_does_not_choose_its_column() -> None:
    (row,) = build_table([replace(run(FROM_SCRATCH), name="zero_shot pretrained")]).rows
    assert set(row.cells) == {"from_scratch"}


def test_every_run_left_out_is_counted_by_its_reason() -> None:
    older, newer = run(FINE_TUNE, 0.1), run(FINE_TUNE, 0.9)
    others = [
        run(FINE_TUNE, status="FAILED"),
        run(FINE_TUNE, status="RUNNING", seed="1"),
        run(FINE_TUNE, status="KILLED", seed="2"),
        run(FINE_TUNE, status="SCHEDULED", seed="3"),
        replace(run(FINE_TUNE, seed="4"), deleted=True),
        replace(run(FINE_TUNE, seed="5"), tags={"data": "photos", "debug": "true"}),
        replace(run(FINE_TUNE, seed="6"), metrics={}),
        replace(run(FINE_TUNE, seed="7"), metrics={"eval/accuracy": float("nan")}),
        replace(run(FINE_TUNE), key=""),
        run(LINEAR_PROBE),
    ]
    table = build_table([newer, older, *others])
    assert cells_of(table) == [{"fine_tune": 0.9}]
    assert table.left_out == {
        "failed": 1,
        "unfinished": 3,
        "deleted": 1,
        "debug": 1,
        "without eval/accuracy": 2,
        "not a tlft run": 1,
        "other columns": 1,
        "superseded": 1,
    }
    assert len(table.runs) + sum(table.left_out.values()) == 2 + len(others)


def test_deleted_run_does_not_supersede() -> None:
    old, new = run(FINE_TUNE, 0.8), replace(run(FINE_TUNE, 0.9), deleted=True)
    assert cells_of(build_table([old, new])) == [{"fine_tune": 0.8}]


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer.lr": "0.1"},
        {"optimizer.momentum": "0.9"},
        {"training.epochs": "5"},
        {"training.batch_size": "32"},
        {"training.keep": "lowest_train_loss"},
        {"training.flip": "false"},
        {"schedule.name": "cosine"},
        {"precision": "bfloat16"},
        {"data.train": "d4" * 32},
        {"data.holdout": "e5" * 32},
        {"data.eval": "f6" * 32},
        {"model.weights": "11ad3fa6"},
        {"transform.resize": "232"},
        {"format": "2"},
        {"optimizer.invented_later": "1"},
        {"arch.library": "timm"},
    ],
)
def test_runs_that_differ_in_more_than_the_seed_have_rows_that_read_differently(changes: dict[str, str]) -> None:
    table = build_table([run(FINE_TUNE, 0.8), run(FINE_TUNE, 0.9, changes=changes, seed="1")])
    assert [row.cells["fine_tune"].n for row in table.rows] == [1, 1]
    assert len({(row.data, row.arch, row.recipe) for row in table.rows}) == 2


def test_columns_of_one_recipe_share_a_row() -> None:
    runs = [run(ZERO_SHOT, 0.1), run(FINE_TUNE, 0.2), run(FROM_SCRATCH, 0.3), run(LINEAR_PROBE, 0.4)]
    assert cells_of(build_table(runs)) == [{"zero_shot": 0.1, "fine_tune": 0.2, "from_scratch": 0.3}]
    everything = build_table(runs, all_columns=True)
    assert cells_of(everything) == [{"zero_shot": 0.1, "fine_tune": 0.2, "from_scratch": 0.3, "linear_probe": 0.4}]
    assert [column.key for column in everything.columns] == ["zero_shot", "fine_tune", "from_scratch", "linear_probe"]


def test_zero_shot_stands_in_each_row_of_its_data_and_architecture() -> None:
    runs = [run(ZERO_SHOT, 0.1), run(FINE_TUNE, 0.2), run(FINE_TUNE, 0.3, optimizer__lr="0.1")]
    elsewhere = [run(FINE_TUNE, 0.4, data__eval="f6" * 32), run(FINE_TUNE, 0.5, arch__name="resnet18")]
    found = cells_of(build_table([*runs, *elsewhere]))
    assert sum("zero_shot" in cells for cells in found) == 2
    assert {"zero_shot": 0.1, "fine_tune": 0.3} in found
    assert {"fine_tune": 0.4} in found and {"fine_tune": 0.5} in found


def test_only_zero_shot_has_a_row_of_its_own() -> None:
    (row,) = build_table([run(ZERO_SHOT, 0.1)]).rows
    assert (row.recipe, set(row.cells)) == ("no training", {"zero_shot"})


def test_zero_shot_of_other_weights_stands_apart() -> None:
    found = cells_of(build_table([run(ZERO_SHOT, 0.1, model__weights="11ad3fa6"), run(FINE_TUNE, 0.2)]))
    assert sorted(found, key=str) == [{"fine_tune": 0.2}, {"zero_shot": 0.1}]


def test_of_several_zero_shots_the_row_takes_that_of_its_precision() -> None:
    runs = [run(ZERO_SHOT, 0.1), run(ZERO_SHOT, 0.2, precision="bfloat16")]
    found = cells_of(build_table([*runs, run(FINE_TUNE, 0.3, precision="bfloat16")]))
    assert sorted(found, key=str) == [{"fine_tune": 0.3, "zero_shot": 0.2}, {"zero_shot": 0.1}]


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
    found = build_table([zero_shot, same, other], metric="holdout/accuracy")
    assert {row.recipe.rpartition(" ")[2]: set(row.cells) for row in found.rows} == {
        "d4d4d4d4": {"zero_shot", "fine_tune"},
        "e5e5e5e5": {"fine_tune"},
    }


def test_recipe_is_short_and_says_what_is_not_the_default() -> None:
    assert recipes_of(run(FINE_TUNE)) == ["sgd lr 0.01 momentum 0.5, batch 64, 50 epochs"]
    changes = {"schedule.name": "cosine", "schedule.warmup_epochs": "2.0", "training.flip": "false"}
    (label,) = recipes_of(run(FINE_TUNE, optimizer__momentum="0.0", training__epochs="1", changes=changes))
    assert label == "sgd lr 0.01, cosine, warm-up 2.0 epochs, batch 64, 1 epoch, no flips"


def test_difference_between_recipes_is_named() -> None:
    base = "sgd lr 0.01 momentum 0.5, batch 64, 50 epochs"
    assert recipes_of(run(FINE_TUNE), run(FINE_TUNE, precision="bfloat16")) == [
        f"{base}, precision auto",
        f"{base}, precision bfloat16",
    ]
    assert recipes_of(run(FINE_TUNE), run(FINE_TUNE, model__weights="11ad3fa6")) == [
        f"{base}, weights 11ad3fa6",
        f"{base}, weights 0676ba61",
    ]
    assert recipes_of(run(FINE_TUNE), run(FINE_TUNE, optimizer__invented="1")) == [
        f"{base}, invented 1",
        f"{base}, no invented",
    ]


def test_difference_is_named_between_architectures_too() -> None:
    labels = recipes_of(run(FINE_TUNE), run(FINE_TUNE, arch__name="resnet18", precision="float32"))
    assert [label.rpartition(", ")[2] for label in labels] == ["precision float32", "precision auto"]


def test_images_held_out_are_named_though_the_recipes_read_differently_anyway() -> None:
    one, other = run(FINE_TUNE, data__holdout="d4" * 32), run(FINE_TUNE, data__holdout="e5" * 32, optimizer__lr="0.1")
    labels = recipes_of(one, other)
    assert [label.rpartition(", ")[2] for label in labels] == ["hold-out d4d4d4d4", "hold-out e5e5e5e5"]


def test_rows_are_in_the_order_of_numbers() -> None:
    labels = recipes_of(*(run(FINE_TUNE, training__epochs=epochs) for epochs in ("50", "5", "10")))
    assert [label.split(", ")[-1] for label in labels] == ["5 epochs", "10 epochs", "50 epochs"]


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


@pytest.mark.parametrize("name", ["efficientnet_lite0", "tf_efficientnet_lite0", "timm/tf_efficientnet_lite0"])
def test_architecture_is_chosen_by_any_of_its_names(records: list[Record], name: str) -> None:
    assert {row.arch for row in build_table(records, arch=[name]).rows} == {"efficientnet_lite0"}
    assert build_table(records, arch=name) == build_table(records, arch=[name])


def test_published_figures_are_a_row(table: Table) -> None:
    (row,) = [row for row in table.rows if row.published]
    figures = [format_cell(row.cells[column.key], table.metric) for column in THREE]
    assert figures == ["86.928 %", "95.425 %", "68.627 %"]


def test_number_is_never_minus_zero() -> None:
    assert rounded(-0.0001, 3) == "0.000"
    assert format_cell(Cell(-0.0, 0.0, 2, None, ()), "eval/loss") == "0.0000 ± 0.0000 (n=2)"


def test_loss_is_not_a_percentage() -> None:
    assert format_cell(Cell(1.25, None, 1, None, ()), "eval/loss") == "1.2500"
    assert format_cell(Cell(0.5, 0.1, 2, None, ()), "eval/macro_f1") == "50.00 ± 10.00 % (n=2)"
    assert format_cell(None, "eval/loss") == "-"


def test_auto_precision_that_was_two_things_is_said() -> None:
    runs = [
        replace(run(FINE_TUNE, seed=str(seed)), tags={"data": "photos", "precision": name})
        for seed, name in enumerate(("float32", "bfloat16"))
    ]
    assert "precision=auto was bfloat16 in some runs, float32 in others." in build_table(runs).footnotes


@pytest.mark.parametrize("width", [40, 80, 100, 140])
def test_terminal_shows_every_figure_whole(table: Table, width: int) -> None:
    text = render(table, "terminal", width=width)
    for figure in ("86.928 %", "95.42 ± 0.65 %", "69.61 ± 1.39 %", "(n=3)", "(n=2)", "97.386 %", "failed (1)"):
        assert figure in " ".join(text.split())
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= max(width, 80)


def test_characters_of_names_do_no_harm() -> None:
    nasty = r"a|b_c [red]%&$#{} \x ~^ *d* `e` <f>"
    table = build_table([run(FINE_TUNE, data=nasty)], command="python --a 'b`c'")
    (row,) = [line for line in render(table, "markdown").splitlines() if "resnet50" in line]
    assert row.replace(r"\|", "").count("|") == 7
    assert r"a\|b_c \[red\]%&$#{} \\x ~^ \*d\* \`e\` \<f\>" in row
    (row,) = [line for line in render(table, "latex").splitlines() if "resnet50" in line]
    assert r"a\textbar{}b\_c [red]\%\&\$\#\{\} \textbackslash{}x \textasciitilde{}\textasciicircum{}" in row
    assert "Made by: python -{}-a" in render(table, "latex")
    assert nasty in render(table, "terminal", width=140)
    assert json.loads(render(table, "json"))["rows"][0]["data"] == nasty


def test_frame_holds_numbers_in_full_precision(table: Table) -> None:
    frame = table.to_frame()
    line = frame[(frame["arch"] == "resnet50") & frame["recipe"].str.startswith("sgd")].iloc[0]
    assert line["from_scratch_accuracy"] == pytest.approx((105 + 108) / 2 / 153, abs=1e-15)
    assert line["from_scratch_n"] == 2
    assert frame["zero_shot_std"].isna().all()


def test_headline_is_of_the_fullest_row_and_not_of_the_best(records: list[Record]) -> None:
    assert headline(build_table(records, arch=["efficientnet_lite0"])) == (
        "On hymenoptera, efficientnet_lite0: fine-tuned 96.7 % (n=3), from scratch 52.3 %."
    )
    assert headline(build_table(records, published=True)) == (
        "On hymenoptera, resnet50 (sgd lr 0.01 momentum 0.5, batch 64, 50 epochs): "
        "fine-tuned 95.4 % (n=3), untouched 86.9 %, from scratch 69.6 % (n=2)."
    )
    assert headline(build_table([], published=True)) == "No finished runs yet."
    assert headline(build_table([run(FINE_TUNE)], metric="eval/closed_set_accuracy")).startswith(
        "On photos, resnet50, eval/closed_set_accuracy: "
    )


def test_headline_prefers_columns_to_seeds() -> None:
    many = [run(FINE_TUNE, 0.9, seed=str(seed)) for seed in range(5)]
    both = [run(FINE_TUNE, 0.6, training__epochs="5"), run(FROM_SCRATCH, 0.5, training__epochs="5")]
    assert headline(build_table([*many, *both])).endswith("5 epochs): fine-tuned 60.0 %, from scratch 50.0 %.")


@pytest.fixture
def stored(records: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command find the checked-in records."""

    def load(experiment: str, uri: str | None = None, home: Path | None = None) -> list[Record]:
        if uri == "broken":
            raise TlftError("the server does not answer")
        return records if experiment == "tlft" else []

    monkeypatch.setattr("tlft.tracking.reader.load_records", load)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("--experiment other", 2, ["no runs in experiment other", "run.py sweep=comparison", "make demo"]),
        ("--metric eval/acuracy", 2, ["--metric eval/acuracy", "did you mean eval/accuracy?"]),
        ("--data hymenopter", 2, ["--data hymenopter", "did you mean hymenoptera?"]),
        ("--data x --arch resnet5", 2, ["--data x", "there are hymenoptera", "did you mean resnet50?"]),
        ("--published --metric eval/loss", 2, ["--published --metric eval/loss", "eval/accuracy"]),
        ("--metric train/accuracy --arch efficientnet_lite0", 2, ["no run to show; left out: without train/accuracy"]),
        ("--uri broken", 1, ["failed: the server does not answer"]),
    ],
)
def test_mistake_is_a_line_on_standard_error(
    command: str, status: int, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == (2 if "--data x" in command else 1)
    for words in said:
        assert words in captured.err


@pytest.mark.usefixtures("stored")
def test_command_prints_what_the_function_renders(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--published", "--stats", "none", "--format", "markdown"]) == 0
    command = "python -m analysis.table --published --stats none --format markdown"
    expected = render(replace(table, command=command), "markdown")
    assert capsys.readouterr().out == expected + "\n"


@pytest.mark.usefixtures("stored")
def test_figures_alone_say_the_rest_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--format", "csv"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("data,arch,recipe,zero_shot_accuracy")
    assert "failed (1)" in captured.err


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("format", FORMATS)
def test_ending_of_the_file_says_the_format(tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / f"table.{ENDINGS[format]}"
    assert main(["--columns", "all", "--out", str(out)]) == 0
    assert main(["--columns", "all", "--out", str(tmp_path / "said"), "--format", format]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"wrote {out}" in captured.err
    texts = [path.read_text(encoding="utf-8") for path in (out, tmp_path / "said")]
    before_the_command = [re.split(r'Made by|"command"', text)[0] for text in texts]
    assert before_the_command[0] == before_the_command[1]
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_importing_the_table_imports_neither_mlflow_nor_torch() -> None:
    code = "import sys, analysis.table; print([m for m in ('mlflow', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
