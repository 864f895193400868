"""The sentence that a table opens with, and how figures are worded."""

from __future__ import annotations

from fabricated import FINE_TUNE, FROM_SCRATCH, golden_records, run, three_columns

from analysis.comparison_table import build_table
from analysis.narrative import format_p, head_row, headline


def test_headline_is_of_the_fullest_row_and_not_of_the_best() -> None:
    assert headline(build_table(golden_records(), arch=["efficientnet_lite0"])) == (
        "On hymenoptera, efficientnet_lite0: fine-tuned 96.7 % (n=3), from scratch 52.3 %."
    )
    assert headline(build_table(golden_records(), published=True)) == (
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


def test_the_answer_is_said_first_and_is_true() -> None:
    assert headline(three_columns()) == (
        "On photos, resnet50: fine-tuned 95.4 %, untouched 86.9 %, from scratch 68.6 %. Fine-tuning the pretrained "
        "network is better than leaving it untouched, +8.5 points (95 % interval 4.2 to 14.2, "
        "p = 0.002), and is better than training from scratch, +26.8 points (95 % interval 20.0 to 34.5, p < 0.001). "
        "Some of this rests on too few seeds to say how others would do."
    )


def test_words_for_small_numbers() -> None:
    assert [format_p(p) for p in (0.0004, 0.0005, 0.05, 0.3, 1.0)] == [
        "p < 0.001",
        "p = 0.001",
        "p = 0.050",
        "p = 0.30",
        "p = 1.00",
    ]


def test_the_row_that_is_spoken_of_is_never_chosen_by_its_figures() -> None:
    worse, better = run(FINE_TUNE, 0.8, optimizer__lr="0.1"), run(FINE_TUNE, 0.9)
    newest = run(FINE_TUNE, 0.7, optimizer__lr="0.001")
    row = head_row(build_table([worse, better, newest]))
    assert row is not None
    assert row.cells["fine_tune"].accuracy == 0.7
