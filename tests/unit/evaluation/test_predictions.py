from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, recall_score
from torch import Tensor, nn

from tlft.data.batches import Split
from tlft.data.class_map import ClassMap, LabelSpace
from tlft.data.splits import ImageFile
from tlft.evaluation.metrics import MOST_RECALLS, compute_metrics, recalls_of
from tlft.evaluation.predictions import Predictions, evaluate, predictions_frame
from tlft.names import escape_all
from tlft.pixels.transforms import Transform
from tlft.runtime.device import Machine

TRANSFORM = Transform(4, 4, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CPU = Machine(torch.device("cpu"), "float32", 1)


def make_split(labels: list[int]) -> Split:
    files = tuple(ImageFile(Path(f"/root/val/{i}.jpg"), f"{i:064x}", "eval", label) for i, label in enumerate(labels))
    pixels = np.zeros((len(labels), 4, 4, 3), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(len(labels))
    return Split(files, pixels, TRANSFORM)


def evaluate_split(
    model: nn.Module, split: Split, classes: list[str], class_map: ClassMap | None = None
) -> Predictions:
    return evaluate(model, split.inputs, LabelSpace(tuple(classes), class_map), CPU)


class Table(nn.Module):
    """Look the logits up by the number that an image carries in its first pixel."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return self.logits[(images[:, 0, 0, 0] * 127.5 + 127.5).round().long()]


SPLIT = make_split([0, 0, 0, 0, 1, 1])


def imagenet_predictions() -> Predictions:
    """Four ants and two bees; the outputs 310 and 312 stand for ants, 309 for bees."""
    logits = torch.full((6, 1000), -50.0)
    logits[0, 310] = 1.0  # right
    logits[1, 312] = 1.0  # right by the second output
    logits[2, [308, 310, 309]] = torch.tensor([2.0, 1.0, 0.0])  # a fly wins: open-set wrong, closed-set right
    logits[3, [309, 310, 312]] = torch.tensor([1.0, 0.6, 0.6])  # a bee wins, but the two ant outputs sum to more
    logits[4, 309] = 1.0  # right
    logits[5, [310, 309]] = torch.tensor([1.0, 0.0])  # wrong both ways
    return evaluate_split(Table(logits), SPLIT, ["ants", "bees"], {"ants": [310, 312], "bees": [309]})


def test_open_set_lets_all_outputs_compete() -> None:
    predictions = imagenet_predictions()
    assert predictions.correct(SPLIT.labels).tolist() == [True, True, False, False, True, False]
    assert compute_metrics(predictions, SPLIT.labels)["eval/accuracy"] == 3 / 6


def test_closed_set_sums_the_outputs_of_a_class() -> None:
    assert compute_metrics(imagenet_predictions(), SPLIT.labels)["eval/closed_set_accuracy"] == 5 / 6


def test_prediction_outside_the_classes_is_a_miss() -> None:
    predictions = imagenet_predictions()
    assert predictions.predicted.tolist() == [0, 0, -1, 1, 1, 0]
    assert predictions.names[2] == "fly"
    metrics = compute_metrics(predictions, SPLIT.labels)
    assert metrics["eval/recall/ants"] == 2 / 4
    assert metrics["eval/recall/bees"] == 1 / 2
    precision_ants, precision_bees = 2 / 3, 1 / 2
    f1 = [2 * p * r / (p + r) for p, r in ((precision_ants, 0.5), (precision_bees, 0.5))]
    assert metrics["eval/macro_f1"] == pytest.approx(sum(f1) / 2)


def test_confusion_has_a_column_for_other_classes() -> None:
    matrix, columns = imagenet_predictions().confusion(SPLIT.labels)
    assert columns == ["ants", "bees", "other"]
    assert matrix.tolist() == [[2, 1, 1], [1, 1, 0]]


def test_probabilities_are_raw_and_not_renormalised() -> None:
    frame = predictions_frame(SPLIT.files, imagenet_predictions(), Path("/root"))
    assert list(frame.columns) == ["file", "sha256", "label", "predicted", "confidence", "p/ants", "p/bees"]
    row = frame.iloc[2]
    total = np.exp([2.0, 1.0, 0.0]).sum()
    assert row["file"] == "val/2.jpg"
    assert row["p/ants"] == pytest.approx(np.exp(1) / total, rel=1e-5)
    assert row["p/bees"] == pytest.approx(1 / total, rel=1e-5)
    assert row["confidence"] == pytest.approx(np.exp(2) / total, rel=1e-5)


def test_loss_is_the_cross_entropy_of_a_task_head() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.3, 0.2], [-1.0, 2.0]])
    labels = torch.tensor([0, 1, 1])
    predictions = evaluate_split(Table(logits), make_split(labels.tolist()), ["ants", "bees"])
    expected = nn.functional.cross_entropy(logits, labels).item()
    assert compute_metrics(predictions, labels.numpy())["eval/loss"] == pytest.approx(expected, rel=1e-6)


def test_every_image_is_evaluated_once_in_a_fixed_order() -> None:
    model = Table(torch.eye(2)[torch.arange(150) % 2])
    split = make_split([i % 2 for i in range(150)])
    predictions = evaluate_split(model, split, ["ants", "bees"])
    assert model.batches == [64, 64, 22]
    assert len(predictions.predicted) == 150
    assert predictions.correct(split.labels).all()


def test_name_of_another_output_cannot_be_taken_for_a_class() -> None:
    logits = np.log(np.full((1, 1000), 1e-4))
    logits[0, 308] = 0.0
    predictions = Predictions(logits, LabelSpace(("fly", "bees"), {"fly": [0], "bees": [309]}))
    assert predictions.names == ("fly (ImageNet 308)",)
    assert not predictions.correct(np.array([0])).any()


def test_class_names_become_metric_names() -> None:
    assert escape_all(["a&b", "日本", "x(y)"]) == ["a_b", "日本", "x_y_"]
    assert escape_all(["a&b", "a+b"]) == ["a_b_0", "a_b_1"]
    assert escape_all(["a_b_0", "a&b", "a+b", "a_b_1"]) == ["a_b_0", "a_b_1_", "a_b_2", "a_b_1"]


def test_a_long_class_name_is_shortened_to_one_of_its_own() -> None:
    long = ["x" * 240 + "a", "x" * 240 + "b", "y" * 238, "&" * 237, "+" * 237]
    escaped = escape_all(long)
    assert len(set(escaped)) == len(long)
    assert max(map(len, escaped)) <= 238
    assert escaped[2] == "y" * 238


@pytest.mark.filterwarnings("error")
def test_a_thousand_classes_are_a_frame_at_once() -> None:
    names = [f"class {number}" for number in range(1000)]
    logits = torch.zeros(6, 1000)
    logits[range(6), [0, 0, 0, 0, 1, 1]] = 5.0
    predictions = evaluate_split(Table(logits), SPLIT, names)
    frame = predictions_frame(SPLIT.files, predictions, Path("/root"))
    assert list(frame.columns[:5]) == ["file", "sha256", "label", "predicted", "confidence"]
    assert list(frame.columns[5:]) == [f"p/{name}" for name in names]
    assert set(frame.dtypes[5:]) == {np.dtype(np.float32)}
    assert (frame.iloc[:, 5:].to_numpy().argmax(axis=1) == [0, 0, 0, 0, 1, 1]).all()


def test_the_five_likeliest_are_counted_where_there_are_more_than_ten_classes() -> None:
    labels = list(range(12)) * 2
    logits = torch.randn(24, 12, generator=torch.Generator().manual_seed(0))
    predictions = evaluate_split(Table(logits), make_split(labels), [f"c{i:02}" for i in range(12)])
    metrics = compute_metrics(predictions, np.array(labels))
    expected = (logits.topk(5, dim=1).indices == torch.tensor(labels)[:, None]).any(1).double().mean()
    assert metrics["eval/top5_accuracy"] == float(expected)
    few = evaluate_split(Table(logits[:2, :2]), make_split([0, 1]), ["ants", "bees"])
    assert "eval/top5_accuracy" not in compute_metrics(few, np.array([0, 1]))


def test_of_many_classes_the_recalls_are_no_figures_of_the_run() -> None:
    count = MOST_RECALLS + 1
    labels = np.arange(count)
    predictions = Predictions(np.log(np.eye(count) + 1e-3), LabelSpace(tuple(f"c{i:03}" for i in range(count)), None))
    metrics = compute_metrics(predictions, labels)
    assert not [name for name in metrics if name.startswith("eval/recall/")]
    assert recalls_of(predictions.confusion(labels)[0]).tolist() == [1.0] * count
    assert metrics["eval/balanced_accuracy"] == 1.0


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_measures_of_classes_are_those_of_scikit_learn(classes: int) -> None:
    draw = np.random.default_rng(classes)
    for images in (1, 7, 200):  # of few, some classes have none
        labels, logits = draw.integers(0, classes, images), draw.normal(size=(images, 1000))
        logits[:, 2 * classes :] -= 50
        class_map = {f"class {number}": [number] for number in range(classes)}  # half of the outputs are no class
        table = Table(torch.from_numpy(logits).float())
        predictions = evaluate_split(table, make_split(labels.tolist()), list(class_map), class_map)
        of_classes = {"labels": range(classes), "zero_division": 0}
        metrics, predicted = compute_metrics(predictions, labels), predictions.predicted
        assert metrics["eval/macro_f1"] == f1_score(labels, predicted, average="macro", **of_classes)
        recalls = recall_score(labels, predicted, average=None, **of_classes)
        matrix, names = predictions.confusion(labels)
        assert recalls_of(matrix).tolist() == recalls.tolist()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
            assert metrics["eval/balanced_accuracy"] == balanced_accuracy_score(labels, predicted)
        expected = confusion_matrix(labels, predicted, labels=[*range(classes), -1])[:-1]
        assert matrix.tolist() == expected[:, : len(names)].tolist()
