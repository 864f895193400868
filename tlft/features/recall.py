"""Classify images of which the home keeps what the frozen part of the network says, without decoding them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlft.data.batches import PixelInputs
from tlft.evaluation.predictions import Predictions, evaluate
from tlft.features.border import Border, UncuttableError, from_border
from tlft.features.cache import facts_of, folder_of, remembered_border
from tlft.features.inputs import FeatureInputs, bytes_per_image
from tlft.inference.classifier import Classifier
from tlft.storage.checked_json import DamagedFileError
from tlft.storage.files import sha256_of
from tlft.storage.records import RecordStore, open_store


@dataclass(frozen=True)
class RecalledFeatures:
    """A classifier with what is kept of its frozen part; nothing is computed to be kept."""

    classifier: Classifier
    border: Border
    store: RecordStore

    @classmethod
    def of(cls, classifier: Classifier, home: Path) -> RecalledFeatures | None:
        """Return what a home keeps for a classifier; None if that is nothing."""
        if not (frozen := classifier.description.get("frozen")):
            return None
        try:
            folder = folder_of(home, facts_of(frozen, classifier.machine))
            border = remembered_border(folder)
        except (UncuttableError, LookupError, DamagedFileError):
            return None
        return None if border is None else cls(classifier, border, open_store(folder))

    def load(self, path: Path, otherwise: Callable[[Path], np.ndarray]) -> np.ndarray:
        """Return what is kept of the image in a file, uint8 [bytes], or the image itself as `otherwise` loads it."""
        if path.is_file():  # a pipe would be waited for
            record = self.store.read_sound(digest := sha256_of(path))
            if record is not None and len(record) == bytes_per_image(self.border):
                self.store.touch([digest])
                return record
        return otherwise(path)

    def predict(self, batch: Sequence[np.ndarray]) -> Predictions:
        """Predict from what `load` has returned of each image, in that order."""
        classifier, label_space = self.classifier, self.classifier.label_space
        kept = [index for index, loaded in enumerate(batch) if loaded.ndim == 1]
        images = [index for index, loaded in enumerate(batch) if loaded.ndim > 1]
        parts = []
        if kept:
            inputs = FeatureInputs(self.border, [batch[index] for index in kept], [])
            with from_border(classifier.model, self.border):
                parts.append(evaluate(classifier.model, inputs, label_space, classifier.machine).log_probabilities)
        if images:
            pixels = PixelInputs(np.stack([batch[index] for index in images]), classifier.transform)
            parts.append(evaluate(classifier.model, pixels, label_space, classifier.machine).log_probabilities)
        return Predictions(np.concatenate(parts)[np.argsort([*kept, *images])], label_space)
