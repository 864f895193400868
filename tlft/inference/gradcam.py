"""Show where a convolutional network looked: Grad-CAM beside the images as it saw them.

The method is Selvaraju et al. 2017, Grad-CAM; captum computes it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from tlft.data.batches import normalize
from tlft.data.folder_names import folder_label
from tlft.errors import ConfigurationError
from tlft.evaluation.lettering import fit, font
from tlft.evaluation.wording import say_prediction
from tlft.inference.classifier import Classifier
from tlft.models.describe import output_shapes
from tlft.storage.files import display_name

_GAP, _HEADER, _SCALE, _NUMBERS, _LETTERS = 8, 28, 14, 44, 13  # pixels
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_AT_ONCE = 16  # gradients need the memory of a whole pass


class Overlays:
    """Write for each image a picture of it beside one in which the places are coloured that spoke for the prediction.

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
                logits = self._classifier.model(batch)
            outputs = logits.argmax(dim=1)
            relevance = self._cam.attribute(batch.requires_grad_(), target=outputs, relu_attributions=True).detach()
            size = (transform.crop, transform.crop)
            maps = LayerAttribution.interpolate(relevance, size, "bilinear")[:, 0].cpu().numpy()
            named = paths[start : start + _AT_ONCE]
            captions = map(self._describe, named, logits.float().softmax(dim=1).cpu().numpy())
            for path, image, heat, caption in zip(named, chosen, maps, captions, strict=True):
                _card(image, heat, caption).save(self._folder / _name(path))

    def _describe(self, path: Path, probabilities: np.ndarray) -> str:
        """Return what is predicted for an image, and the class that its folder names, where that is another."""
        label_space = self._classifier.label_space
        output = int(probabilities.argmax())
        label = folder_label(path, label_space.classes)
        outputs = [] if label is None else label_space.outputs[label_space.classes.index(label)]
        figures = float(probabilities[output]), label, float(probabilities[outputs].sum())
        return say_prediction(label_space.name_of(output), *figures)


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


def _card(pixels: np.ndarray, heat: np.ndarray, caption: str) -> Image.Image:
    """Put an image, the same in grey with the heat in colour upon it, and the scale of the colours side by side."""
    height, width = pixels.shape[:2]
    share = heat / heat.max() if heat.max() > 0 else heat
    scale = np.linspace(1, 0, height)[:, None].repeat(_SCALE, axis=1)
    letters = font(_LETTERS)
    card = Image.new("RGB", (2 * width + 4 * _GAP + _SCALE + _NUMBERS, height + _HEADER + _GAP), "white")
    draw = ImageDraw.Draw(card)
    draw.text((_GAP, _HEADER / 2), fit(caption, letters, card.width - 2 * _GAP), "black", letters, anchor="lm")
    left = _GAP
    for picture in (Image.fromarray(pixels), _overlay(pixels, share), _overlay(np.zeros((*scale.shape, 3)), scale)):
        card.paste(picture, (left, _HEADER))
        left += picture.width + _GAP
    for place, text, anchor in ((0, "most", "la"), (height, "none", "ld")):
        draw.text((left - _GAP + 4, _HEADER + place), text, "black", letters, anchor=anchor)
    return card


def _overlay(pixels: np.ndarray, share: np.ndarray) -> Image.Image:
    """Colour a grey image where shares, 0..1 [h, w], are large, so that every colour seen is heat."""
    from matplotlib import colormaps

    grey = 0.25 * 255 + 0.6 * (pixels @ _LUMINANCE)[..., None]
    colours = colormaps["inferno"](share)[..., :3] * 255
    weight = np.sqrt(share)[..., None]
    return Image.fromarray(((1 - weight) * grey + weight * colours).round().astype(np.uint8))
