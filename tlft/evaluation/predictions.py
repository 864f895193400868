"""What a network says of images.

Open-set: all outputs of the head compete. Closed-set: only those that stand for the data's classes do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from tlft.data.batches import Inputs
from tlft.data.class_map import LabelSpace
from tlft.data.splits import ImageFile
from tlft.names import GROUP, PROBABILITY
from tlft.runtime.device import Machine
from tlft.storage.files import relative_name

BATCH_SIZE = 64
"""Images evaluated at once; large enough for the hardware, and no matter of the result."""


@dataclass(frozen=True)
class Predictions:
    """What a network says of each image, in their order.

    Attributes:
        log_probabilities: of the head's outputs, all competing, float64 [n, outputs].
        label_space: what the outputs stand for.
    """

    log_probabilities: np.ndarray
    label_space: LabelSpace

    @cached_property
    def outputs(self) -> np.ndarray:
        """The head's output with the highest probability, int64 [n]."""
        return np.asarray(self.log_probabilities.argmax(axis=1))

    @cached_property
    def predicted(self) -> np.ndarray:
        """The class that this output stands for, int64 [n]; -1 for none of the data's."""
        class_of_output = self.label_space.class_of_output
        return np.array([class_of_output.get(output, -1) for output in self.outputs.tolist()], dtype=np.int64)

    @property
    def names(self) -> tuple[str, ...]:
        """For each image the name of what was predicted, any of the head's classes."""
        return tuple(self.label_space.name_of(output) for output in self.outputs.tolist())

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the output with the highest, all outputs competing, float32 [n]."""
        return np.asarray(np.exp(self.log_probabilities.max(axis=1)), dtype=np.float32)

    @cached_property
    def log_summed(self) -> np.ndarray:
        """Logarithm of the summed probability of each class's outputs, all outputs competing, float64 [n, classes]."""
        per_class = (self.log_probabilities[:, outputs] for outputs in self.label_space.outputs)
        return np.stack([np.logaddexp.reduce(columns, axis=1) for columns in per_class], axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """The summed probability of each class's outputs, all outputs competing, float64 [n, classes]."""
        return np.asarray(np.exp(self.log_summed))

    @property
    def log_closed(self) -> np.ndarray:
        """Log-probabilities with only the data's classes competing, float64 [n, classes]."""
        return np.asarray(self.log_summed - np.logaddexp.reduce(self.log_summed, axis=1, keepdims=True))

    def correct(self, labels: np.ndarray) -> np.ndarray:
        """Tell where the class of the winning output, all outputs competing, is the label, bool [n]."""
        return np.asarray(self.predicted == labels)

    def among_first(self, labels: np.ndarray, count: int) -> np.ndarray:
        """Tell where so many outputs with the highest probabilities have one that stands for the label, bool [n]."""
        class_of_output = self.label_space.class_of_output
        classes = np.array([class_of_output.get(output, -1) for output in range(self.log_probabilities.shape[1])])
        first = np.argpartition(-self.log_probabilities, count - 1, axis=1)[:, :count]
        return np.asarray((classes[first] == labels[:, None]).any(axis=1))

    def confusion(self, labels: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Return counts [classes, columns] by true class and prediction, and the names of the columns.

        A last column `other` stands there if something outside the data's classes was predicted.
        """
        names = [*self.label_space.classes, "other"]
        matrix = np.zeros((len(names) - 1, len(names)), np.int64)
        np.add.at(matrix, (labels, self.predicted), 1)  # where -1 is the last column
        return (matrix, names) if matrix[:, -1].any() else (matrix[:, :-1], names[:-1])


def predictions_frame(
    files: Sequence[ImageFile], predictions: Predictions, root: Path, groups: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Return a row for each image: file below `root`, sha256, label, predicted, confidence, and `p/<class>`.

    Where images are in groups that of each stands in `group`; `groups` may give them, by SHA-256.
    """
    by_image = {image.sha256: (groups or {}).get(image.sha256, image.group) for image in files}
    classes = predictions.label_space.classes
    probabilities = predictions.probabilities.T.astype(np.float32)
    return pd.DataFrame(
        {
            "file": [relative_name(image.path, root) for image in files],
            "sha256": [image.sha256 for image in files],
            "label": [classes[image.label] for image in files],
            **({GROUP: list(map(by_image.__getitem__, (i.sha256 for i in files)))} if any(by_image.values()) else {}),
            "predicted": predictions.names,
            "confidence": predictions.confidence,
            **dict(zip((f"{PROBABILITY}{name}" for name in classes), probabilities, strict=True)),
        }
    )


def evaluate(model: nn.Module, inputs: Inputs, label_space: LabelSpace, machine: Machine) -> Predictions:
    """Predict every image from the model's logits, [n, outputs], none dropped and none counted twice.

    The model is left in evaluation mode.
    """
    model.eval()
    log_probabilities = []
    with torch.inference_mode():
        for indices in np.split(np.arange(len(inputs)), range(BATCH_SIZE, len(inputs), BATCH_SIZE)):
            with machine.autocast():
                logits = model(inputs.batch(indices, machine.device))
            log_probabilities.append(logits.float().cpu().double().log_softmax(1))
    return Predictions(torch.cat(log_probabilities).numpy(), label_space)
