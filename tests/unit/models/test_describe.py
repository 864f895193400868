from __future__ import annotations

from networks import differing
from torchvision.models import resnet18

from tlft.models.describe import summarize
from tlft.models.freeze import freeze


def test_summary_counts_every_parameter_and_changes_nothing() -> None:
    model = resnet18(num_classes=2)
    freeze(model, "head")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    text = summarize(model, 64)
    assert "11,177,538 parameters, 1,026 of them trained" in text
    assert differing(before, model.state_dict()) == set()
    assert text.splitlines()[1].split() == ["conv1", "Conv2d", "64x32x32", "9,408", "frozen"]
