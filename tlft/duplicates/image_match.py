"""Tell by its pixels whether one image is a copy of another: compressed, scaled, brightened, slightly cut, or grey.

Where copies are looked for, and in which order, is the story of `tlft.duplicates.near_duplicates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Array = NDArray[np.float32]
Pose = NDArray[np.float64]
"""How an image is scaled about its middle (down, right; 0 leaves it), and then shifted, in pixels (down, right)."""

SIDE = 64
"""Pixels of the grey image that is compared; a copy may have lost what is finer than that."""

# Least correlations, of what is coarse and of what is fine. An image that may be moved finds one that fits better.
_AS_THEY_LIE = (0.975, 0.85)
_ALIGNED = (0.985, 0.92)
_HOPELESS = 0.9  # correlation of what is coarse, below which nothing dearer is tried

_LIMITS = np.array([0.08, 0.08, 0.08 * SIDE, 0.08 * SIDE])  # a copy that lost 5 % at every edge is within
_MARGIN = 5  # pixels at each edge that are not compared: a cut copy has none
_BLURS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_FLAT = 1.0  # grey levels of 255: what stands out less is noise
_SAME_LEVEL = 2.0
_GREY_CHROMA = 3.0
_LEAST_COLOR_COSINE = 0.7

# Something plain in the middle of an even ground says little by its outline, so that its colors have to be the same.
_PLAIN = 0.55  # share of an image that stands out, below which it is plain
_PLAIN_LEVELS = 2.0
_PLAIN_COLOR_COSINE = 0.95
_PLAIN_CHROMA_RATIO = 1.3
_GREY_COPY_GAIN = 1.1
_PLAIN_RESIDUE = 0.15  # of the brightness, against its deviation

_OWN = 0.6  # least correlation of what is left of two images without that which all of their kind share


@dataclass(frozen=True)
class Appearance:
    """What is compared of one image, float32, 0..255: `grey` [SIDE, SIDE] and `color` [SIDE, SIDE, 3] (Y, Cb, Cr)."""

    grey: Array
    color: Array

    @property
    def mirrored(self) -> Appearance:
        """The same of the mirror image."""
        return Appearance(self.grey[:, ::-1], self.color[:, ::-1])

    def moved(self, pose: Pose) -> Appearance:
        """The same of the image in another pose."""
        color = np.stack([_move(channel, pose) for channel in np.moveaxis(self.color, -1, 0)], axis=-1)
        return Appearance(_move(self.grey, pose), color)

    @property
    def is_flat(self) -> bool:
        """Whether nothing stands out from its surroundings."""
        return float(_coarse(self.grey).std()) < _FLAT

    def sketch(self) -> Array:
        """Return 259 numbers that are nearer to those of another image the likelier that one is a copy."""
        structure = ndimage.zoom(_coarse(self.grey), 0.25, order=1).ravel()
        structure /= max(float(np.linalg.norm(structure)), 1.0)
        return np.concatenate([structure, self.color.mean(axis=(0, 1)) / 255]).astype(np.float32)


def appearance_of(pixels: NDArray[np.uint8]) -> Appearance:
    """Return what is compared of an image, uint8 [height, width, 3]."""
    image = Image.fromarray(pixels)
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    color = image.resize((SIDE, SIDE), Image.Resampling.BOX).convert("YCbCr")
    return Appearance(np.asarray(grey, np.float32), np.asarray(color, np.float32))


def is_copy(one: Appearance, other: Appearance, shared: Sequence[Array] = ()) -> bool:
    """Tell whether two images show one picture.

    What stands out from its surroundings is correlated, at two scales, so that an even ground, which all images of a
    kind may share, counts for nothing; nor does what is in `shared`, of each the mean grey of images of one kind, each
    [SIDE, SIDE]. Before, the brightness is made the same, the sharper image is blurred as the
    other is, and, unless they fit as they lie, one is shifted and scaled upon the other. Two images in which nothing
    stands out show one picture only if they have one color.
    """
    if one.is_flat or other.is_flat:
        difference = float(np.abs(_blocks(one.color) - _blocks(other.color)).max())
        return one.is_flat and other.is_flat and difference <= _SAME_LEVEL
    if not _agree_in_color(one.color, other.color, _LEAST_COLOR_COSINE):
        return False
    if _agree(one.grey, other.grey, _AS_THEY_LIE):
        return _is_alike_beyond_its_kind(one, other, shared)
    pose = _align(_blur(one.grey, 3.0), _blur(other.grey, 3.0), np.zeros(4))
    if _correlate(_coarse(one.grey), _coarse(_move(other.grey, pose))) < _HOPELESS:
        return False
    pose = _align(_blur(one.grey, 1.0), _blur(other.grey, 1.0), pose)
    moved = other.moved(pose)
    return _agree(one.grey, moved.grey, _ALIGNED) and _is_alike_beyond_its_kind(one, moved, shared)


def _agree_in_color(one: Array, other: Array, least: float) -> bool:
    """Tell whether the colors are alike, or one of the images is grey."""
    first, second = (_blocks(color)[..., 1:].ravel() - 128 for color in (one, other))
    lengths = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    is_grey = min(lengths) < _GREY_CHROMA * np.sqrt(first.size)
    return is_grey or float(first @ second) >= least * lengths[0] * lengths[1]


def _blocks(color: Array) -> Array:
    """Return the colors as 8 x 8 blocks have them, float32 [8, 8, 3]."""
    means: Array = color.reshape(8, SIDE // 8, 8, SIDE // 8, 3).mean(axis=(1, 3))
    return means


def _is_alike_beyond_its_kind(one: Appearance, other: Appearance, shared: Sequence[Array]) -> bool:
    """Tell whether images that fit have more in common than others of their kind: colors, and what is their own."""
    if min(_busy(one.grey), _busy(other.grey)) < _PLAIN and not _has_same_colors(one.color, other.color):
        return False
    return not shared or _agree_in_their_own(one.grey, other.grey, shared)


def _busy(grey: Array) -> float:
    return float((np.abs(_inner(_fine(grey))) > _PLAIN_LEVELS).mean())


def _has_same_colors(one: Array, other: Array) -> bool:
    """Tell whether one image has the other's colors, at another exposure at most, or is a grey copy of it."""
    light, other_light = (_inner(color[..., 0]) for color in (one, other))
    inside = (np.minimum(light, other_light) > 4) & (np.maximum(light, other_light) < 251)
    measured, by = (values[inside] if inside.any() else values for values in (light, other_light))
    gain = max(float(np.linalg.norm(measured)), 1.0) / max(float(np.linalg.norm(by)), 1.0)
    if gain < 1:  # the darker one is made brighter, since white stays white
        return _has_same_colors(other, one)
    exposed = np.concatenate([np.clip(gain * other[..., :1], 0, 255), gain * (other[..., 1:] - 128) + 128], axis=-1)
    first, second = _blocks(one), _blocks(exposed)
    residue = float((first - second)[..., 0].std())
    if residue > _PLAIN_RESIDUE * max(float(first[..., 0].std()), _FLAT):
        return False
    chroma, other_chroma = (float(np.linalg.norm(blocks[..., 1:] - 128)) for blocks in (first, second))
    least = _GREY_CHROMA * np.sqrt(first[..., 1:].size)
    if min(chroma, other_chroma) < least:
        return max(chroma, other_chroma) < least or gain < _GREY_COPY_GAIN
    is_scaled_alike = 1 / _PLAIN_CHROMA_RATIO < chroma / other_chroma < _PLAIN_CHROMA_RATIO
    return is_scaled_alike and _agree_in_color(one, exposed, _PLAIN_COLOR_COSINE)


def _agree_in_their_own(one: Array, other: Array, shared: Sequence[Array]) -> bool:
    """Tell whether two images are alike in what neither shares with all others of its kind."""
    one, other = _equally_sharp(one, _with_brightness_of(one, other))
    columns = np.stack([np.ones(_inner(one).size), *(_inner(_coarse(mean)).ravel() for mean in shared)], axis=1)
    basis = np.linalg.qr(columns.astype(np.float64))[0]
    first, second = (_inner(_coarse(image)).ravel().astype(np.float64) for image in (one, other))
    first, second = (values - basis @ (basis.T @ values) for values in (first, second))
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return norm == 0 or float(first @ second) >= _OWN * norm


def _agree(one: Array, other: Array, least: tuple[float, float]) -> bool:
    other = _with_brightness_of(one, other)
    if _correlate(_coarse(one), _coarse(other)) < _HOPELESS:
        return False
    one, other = _equally_sharp(one, other)
    return _correlate(_coarse(one), _coarse(other)) >= least[0] and _correlate(_fine(one), _fine(other)) >= least[1]


def _blur(image: Array, sigma: float) -> Array:
    blurred: Array = ndimage.gaussian_filter(image, sigma)
    return blurred


def _coarse(image: Array) -> Array:
    """Return what stands out from its surroundings and is some 3 to 12 pixels wide."""
    return _blur(image, 1.0) - _blur(image, 4.0)


def _fine(image: Array) -> Array:
    """Return what stands out from its surroundings and is some 1 to 6 pixels wide."""
    return _blur(image, 0.5) - _blur(image, 2.0)


def _inner(image: Array) -> Array:
    return image[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def _correlate(one: Array, other: Array) -> float:
    """Return Pearson's correlation of two images without their edges; 0 where one of them is even."""
    first, second = (_inner(image) - _inner(image).mean() for image in (one, other))
    norm = float(np.sqrt((first * first).sum() * (second * second).sum()))
    return float((first * second).sum()) / norm if norm else 0.0


def _with_brightness_of(one: Array, other: Array) -> Array:
    """Return the other image as bright as the first, and cut off at black and white, as a brightened copy is."""
    first, second = _inner(one).ravel(), _inner(other).ravel()
    inside = (np.minimum(first, second) > 4) & (np.maximum(first, second) < 251)
    if inside.mean() < 0.1 or np.ptp(second[inside]) < 1:
        return other
    gain, offset = np.polyfit(second[inside], first[inside], 1)
    return np.clip(gain * other + offset, 0, 255).astype(np.float32) if 0.5 < gain < 2 else other


def _equally_sharp(one: Array, other: Array) -> tuple[Array, Array]:
    """Return both images, the sharper one blurred as the other is, which may have been smaller meanwhile."""

    def sharpness(image: Array) -> float:
        return float(_inner(_fine(image)).std()) / max(float(_inner(_coarse(image)).std()), 1e-6)

    goal, actual = sharpness(one), sharpness(other)
    if goal > actual:
        return _equally_sharp(other, one)[::-1]
    blurred = other
    for sigma in _BLURS:
        if sharpness(blurred) <= 1.02 * goal:
            break
        blurred = _blur(other, sigma)
    return one, blurred


def _move(image: Array, pose: Pose) -> Array:
    scale, center = 1 + pose[:2], (SIDE - 1) / 2
    moved: Array = ndimage.affine_transform(image, scale, center + pose[2:] - scale * center, order=1, mode="nearest")
    return moved


def _align(one: Array, other: Array, pose: Pose) -> Pose:
    """Return the pose in which the other image fits the first best, from one near it.

    Gauss-Newton steps on the squared difference (Lucas and Kanade 1981), with a gain and an offset of the brightness.
    """
    down, right = np.mgrid[:SIDE, :SIDE].astype(np.float32) - (SIDE - 1) / 2
    target = _inner(one).ravel().astype(np.float64)
    for _ in range(8):
        moved = _move(other, pose)
        vertical, horizontal = (np.asarray(slope) for slope in np.gradient(moved))
        parts = (vertical * down, horizontal * right, vertical, horizontal, moved, np.ones_like(moved))
        columns = np.stack([_inner(part).ravel() for part in parts], axis=1).astype(np.float64)
        solution = np.linalg.lstsq(columns.T @ columns, columns.T @ target, rcond=1e-9)[0]
        gain = solution[4]
        if gain < 0.2:  # nothing that is alike is within reach
            break
        step = solution[:4] / gain
        pose = np.clip(pose + step, -_LIMITS, _LIMITS)
        if (np.abs(step) < _LIMITS / 200).all():
            break
    return pose
