"""What a network says of each image of a split.

Open-set: all outputs of the head compete. Closed-set: only those that stand for the data's classes do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import confusion_matrix
from torch import nn

from tlft.data.batches import Split
from tlft.data.class_map import ClassMap, class_names
from tlft.data.dataset import ImageFile
from tlft.runtime.device import Machine
from tlft.runtime.files import relative_name

BATCH_SIZE = 64
"""Images evaluated at once; large enough for the hardware, and no matter of the result."""


@dataclass(frozen=True)
class Predictions:
    """What a network says of each image of a split, in the split's order.

    Attributes:
        classes: the data's classes.
        labels: int64 [n], index into `classes`.
        outputs: int64 [n], the head's output with the highest probability.
        predicted: int64 [n], the class that this output stands for; -1 for none of the data's.
        names: for each image the name of what was predicted, any of the head's classes.
        confidence: float32 [n], probability of that output, all outputs competing.
        probabilities: float64 [n, classes], the summed probability of each class's outputs, all outputs competing.
        log_closed: float64 [n, classes], log-probabilities with only the data's classes competing.
    """

    files: tuple[ImageFile, ...]
    classes: tuple[str, ...]
    labels: np.ndarray
    outputs: np.ndarray
    predicted: np.ndarray
    names: tuple[str, ...]
    confidence: np.ndarray
    probabilities: np.ndarray
    log_closed: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Bool [n]: the class of the winning output, all outputs competing, is the label."""
        return np.asarray(self.predicted == self.labels)

    def to_frame(self, root: Path) -> pd.DataFrame:
        """Return a row for each image: file, sha256, label, predicted, confidence, and `p/<class>`."""
        frame = pd.DataFrame(
            {
                "file": [relative_name(image.path, root) for image in self.files],
                "sha256": [image.sha256 for image in self.files],
                "label": [self.classes[label] for label in self.labels],
                "predicted": self.names,
                "confidence": self.confidence,
            }
        )
        for index, name in enumerate(self.classes):
            frame[f"p/{name}"] = self.probabilities[:, index].astype(np.float32)
        return frame

    def confusion(self) -> tuple[np.ndarray, list[str]]:
        """Return counts [classes, columns] by true class and prediction, and the names of the columns.

        A last column `other` stands there if something outside the data's classes was predicted.
        """
        columns = [*range(len(self.classes)), -1]
        matrix = confusion_matrix(self.labels, self.predicted, labels=columns)[:-1]
        names = [*self.classes, "other"]
        return (matrix, names) if matrix[:, -1].any() else (matrix[:, :-1], names[:-1])


def evaluate(
    model: nn.Module, images: Split, classes: Sequence[str], class_map: ClassMap | None, machine: Machine
) -> Predictions:
    """Predict every image of a split, none dropped and none counted twice.

    Args:
        model: gives logits, [n, classes], or [n, 1000] with a class map; is left in evaluation mode.
        images: the split.
        classes: the data's classes; without a class map an output each.
        class_map: outputs of the head that stand for each class, or None.
        machine: where and how to compute.
    """
    return predict(compute_log_probabilities(model, images, machine), images, classes, class_map)


def compute_log_probabilities(model: nn.Module, images: Split, machine: Machine) -> np.ndarray:
    """Return the log-probabilities of the head's outputs for every image of a split, float64 [n, outputs]."""
    model.eval()
    log_probabilities = []
    with torch.inference_mode():
        for batch, _ in images.batches(BATCH_SIZE, machine.device):
            with machine.autocast():
                logits = model(batch)
            log_probabilities.append(logits.float().cpu().double().log_softmax(1))
    return torch.cat(log_probabilities).numpy()


def predict(
    log_probabilities: np.ndarray, images: Split, classes: Sequence[str], class_map: ClassMap | None
) -> Predictions:
    """Turn log-probabilities of the head's outputs, float64 [n, outputs], into predictions of the data's classes."""
    groups = _outputs_of(classes, class_map)
    owner = owners(log_probabilities.shape[1], classes, class_map)
    per_class = np.stack([np.logaddexp.reduce(log_probabilities[:, outputs], axis=1) for outputs in groups], axis=1)
    winners = log_probabilities.argmax(axis=1)
    return Predictions(
        files=images.files,
        classes=tuple(classes),
        labels=images.labels,
        outputs=winners,
        predicted=owner[winners],
        names=tuple(name_output(int(output), int(owner[output]), classes) for output in winners),
        confidence=np.exp(log_probabilities.max(axis=1)).astype(np.float32),
        probabilities=np.exp(per_class),
        log_closed=per_class - np.logaddexp.reduce(per_class, axis=1, keepdims=True),
    )


def owners(outputs: int, classes: Sequence[str], class_map: ClassMap | None) -> np.ndarray:
    """Return the class that each output of the head stands for, int64 [outputs]; -1 for none of the data's."""
    owner = np.full(outputs, -1)
    for index, own in enumerate(_outputs_of(classes, class_map)):
        owner[own] = index
    return owner


def _outputs_of(classes: Sequence[str], class_map: ClassMap | None) -> list[list[int]]:
    return [list(class_map[name]) for name in classes] if class_map else [[index] for index in range(len(classes))]


def name_output(output: int, owner: int, classes: Sequence[str]) -> str:
    """Return what people call an output of the head: the class that it stands for (`owner`, or -1), else ImageNet's."""
    if owner >= 0:
        return classes[owner]
    name = class_names()[output]
    return f"{name} (ImageNet {output})" if name in classes else name
