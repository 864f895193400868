"""Show where a convolutional network looked: Grad-CAM overlays on the images as it saw them.

The method is Selvaraju et al. 2017, Grad-CAM; captum computes it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from tlft.data.batches import normalize
from tlft.errors import ConfigurationError
from tlft.inference.classifier import Classifier
from tlft.models.describe import output_shapes
from tlft.runtime.files import display_name

_STRENGTH = 0.55
_AT_ONCE = 16  # gradients need the memory of a whole pass


class Overlays:
    """Write for each image a picture of it in which the places are bright that spoke for the predicted output.

    Raises:
        ConfigurationError: if the network has no convolution to look at, captum is not installed, or the folder cannot
            be made.
    """

    def __init__(self, classifier: Classifier, folder: Path) -> None:
        try:
            from captum.attr import LayerGradCam
        except ImportError:
            raise ConfigurationError("--explain needs captum: pip install -e '.[explain]'") from None
        self._classifier = classifier
        self._cam = LayerGradCam(classifier.model, _find_layer(classifier))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"--explain {folder}: {error.strerror}; name another folder") from None
        self._folder = folder

    def write(self, paths: Sequence[Path], pixels: Sequence[np.ndarray]) -> None:
        """Write the pictures of some images, each uint8 [crop, crop, 3] as the network sees it, named by paths."""
        from captum.attr import LayerAttribution

        transform, machine = self._classifier.transform, self._classifier.machine
        for start in range(0, len(pixels), _AT_ONCE):
            chosen = pixels[start : start + _AT_ONCE]
            batch = normalize(np.stack(chosen), transform, machine.device)
            with torch.no_grad(), machine.autocast():
                outputs = self._classifier.model(batch).argmax(dim=1)
            relevance = self._cam.attribute(batch.requires_grad_(), target=outputs, relu_attributions=True).detach()
            size = (transform.crop, transform.crop)
            maps = LayerAttribution.interpolate(relevance, size, "bilinear")[:, 0].cpu().numpy()
            for path, image, heat in zip(paths[start : start + _AT_ONCE], chosen, maps, strict=True):
                _overlay(image, heat).save(self._folder / _name(path))


def _find_layer(classifier: Classifier) -> nn.Module:
    """Return the last convolution that still has a place for each part of the image."""
    shapes = output_shapes(classifier.model, classifier.transform.crop)
    convolutions = [(module, shape) for module, shape in shapes if isinstance(module, nn.Conv2d)]
    spatial = [module for module, shape in convolutions if shape and len(shape) == 4 and shape[-1] > 1]
    if len(spatial) < 2:  # a transformer has one, which cuts the image into patches
        raise ConfigurationError(
            f"--explain: is for convolutional networks, and {classifier.description['arch']} is none; leave it out"
        )
    return spatial[-1]


def _name(path: Path) -> str:
    """Return a name that tells the image, and that no other image in another folder has."""
    folder, stem = (display_name(part).encode()[:100] for part in (path.parent.name, path.stem))  # of 255 bytes at most
    digest = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:6]
    return os.fsdecode(f"{folder.decode(errors='ignore')}-{stem.decode(errors='ignore')}-{digest}.png".encode())


def _overlay(pixels: np.ndarray, heat: np.ndarray) -> Image.Image:
    from matplotlib import colormaps

    share = heat / heat.max() if heat.max() > 0 else heat
    colours = colormaps["inferno"](share)[..., :3] * 255
    weight = _STRENGTH * share[..., None]
    blended = (1 - weight) * pixels + weight * colours
    return Image.fromarray(blended.round().astype(np.uint8))
