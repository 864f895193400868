"""The part of the schema that says which images there are, and how they are split (see schema.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

NEAR_DUPLICATES = "near_duplicates"
"""As `data.group`: evaluation images that are nearly the same are one group."""


@dataclass
class DataConfig:
    """The images, and how they are split.

    Attributes:
        root: folder of the images; null: TLFT_HYMENOPTERA, else data/ in paths.home.
        class_map: outputs of the 1000-class head for each class, {ants:[310],dogs:n02084071}, by index, name or WordNet
            id, or a .yaml, .json or .csv file; null: the built-in map of the photographs.
        unmapped: what becomes of classes that have no outputs where others have, for the 1000-class head; leave_out
            scores it on the images of the others alone, two classes or more.
        train_split: sub-folder that is trained on.
        eval_split: sub-folder that reports; null: test, else val.
        split_seed: draws what is split, whatever `seed` is.
        eval_fraction: share of the images that reports, where the folder has no splits; 1 where nothing is trained.
        folds: into how many parts the images are split for cross-validation, where the folder has no splits.
        fold: the part that reports, from 0; the others are trained on.
        holdout_split: sub-folder that is kept back, to choose by; null: val, where test reports.
        holdout_fraction: share of the training images that is kept back, to choose by; never trained on.
        train_fraction: share of the training images that is used; a smaller one lies within a larger one.
        train_per_class: how many training images of each class are used; fewer lie within more.
        sampler: uniform: each epoch has every training image once; balanced: as many images, drawn with replacement so
            that all classes come alike.
        image_size: side of the squares that the network is given, in training and evaluation; null: as its weights were
            trained.
        white_level: grey value that is white in images of more than eight bits, such as 4095 of a camera's 12; auto: by
            their own tags, or the largest value of all images.
        decode: full, or scaled, which reads a JPEG at a half, a quarter or an eighth of its size where that has twice
            the pixels that are needed: photographs of cameras are read in a fraction of the time.
        on_bad_image: what becomes of a file that cannot be decoded.
        subfolders: what becomes of images in folders below a class.
        group: which images belong together: a regular expression with one pair of parentheses, on each file's path in
            the folder, or near_duplicates.
        origin: where the images are from, in words that are told below the table.
    """

    name: str = MISSING
    root: str | None = None
    class_map: Any = None  # typed, Hydra would let nobody add a class to it
    unmapped: str = "refuse"
    train_split: str = "train"
    eval_split: str | None = None
    split_seed: int = 0
    eval_fraction: float | None = None
    folds: int | None = None
    fold: int = 0
    holdout_split: str | None = None
    holdout_fraction: float | None = None
    train_fraction: float | None = None
    train_per_class: int | None = None
    sampler: str = "uniform"
    image_size: int | None = None
    white_level: str = "auto"
    decode: str = "full"
    on_bad_image: str = "error"
    subfolders: str = "error"
    group: str | None = None
    origin: str | None = None


@dataclass
class ManifestConfig(DataConfig):
    """Images that a table names: columns path and label, and perhaps split and group.

    Attributes:
        file: the table (.csv, .tsv or .parquet); its paths begin at its own folder.
    """

    file: str = MISSING


@dataclass
class SyntheticConfig(DataConfig):
    """Drawn ants and bees.

    Attributes:
        drawing_seed: draws others.
    """

    drawing_seed: int = 0
