"""What a run is, known before any work: its data, its weights, its key, and what people call it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tlft.config.data_schema import DataConfig
from tlft.config.recipe_schema import MixConfig
from tlft.config.schema import Config
from tlft.config.validate_data import say_missing_holdout
from tlft.data.class_map import LabelSpace, list_classes, resolve_class_map, unmapped_classes
from tlft.data.dataset import Dataset, open_dataset
from tlft.data.image_folder import describe_kinds
from tlft.errors import ConfigurationError
from tlft.models.weights import Weights, find_weights
from tlft.names import Tag, shorten
from tlft.pixels.pixel_store import decode_all
from tlft.pixels.transforms import Transform
from tlft.records.folds import Fold
from tlft.runs.parent import find_parent, refuse_other_network
from tlft.runs.run_key import digest_of, run_key, scientific_config
from tlft.runtime.device import available_threads

_LONGEST_ORIGIN = 500


@dataclass(frozen=True)
class Identity:
    """What a run is: its data, its weights, what its outputs stand for, and the key that all of it makes.

    Attributes:
        parent: id of the run whose weights it starts from.
    """

    dataset: Dataset
    weights: Weights
    label_space: LabelSpace
    science: dict[str, Any]
    key: str
    parent: str | None = None


def identify(config: Config, dataset: Dataset | None = None) -> Identity:
    """Digest the data (unless it is known) and the weights and compute the run's key; no network is loaded.

    Nothing is decoded either, but where bad images are skipped: see `_count_trained`.
    """
    parent = find_parent(config)  # before images are fetched for it
    dataset = dataset or open_dataset(config.data, config.home, config.threads or available_threads())
    weights = find_weights(config, parent.weights if parent is not None else None)
    weights = replace(weights, transform=weights.transform.of_files(dataset.white, config.data.decode))
    if not dataset.split("holdout") and (problems := say_missing_holdout(config)):
        raise ConfigurationError(problems)
    if parent is not None:
        refuse_other_network(config, parent, dataset, weights.transform)
    class_map = None
    if config.head.name == "imagenet1k":
        leave_out = config.data.unmapped == "leave_out"
        class_map = resolve_class_map(config.data.class_map, dataset.classes, leave_out=leave_out)
        dataset = dataset.only(class_map)
    trained = _count_trained(config, dataset, weights.transform)
    _refuse_a_single_pair(config, trained)
    facts = (dataset.digests, weights.transform, weights.digest, class_map, trained, dataset.classes)
    science = scientific_config(config, *facts)
    label_space = LabelSpace(dataset.classes, class_map)
    return Identity(dataset, weights, label_space, science, run_key(science), parent.run_id if parent else None)


def _count_trained(config: Config, dataset: Dataset, transform: Transform) -> int:
    """Count the images that are trained on; which ones are bad and skipped is known when all have been decoded."""
    images = dataset.split("train")
    if config.data.on_bad_image != "skip" or not config.training.epochs:
        return len(images)
    cache, workers = config.home / "cache" / "decoded", config.threads or available_threads()
    decoded = decode_all(dataset.files, transform, cache, workers)
    return sum(image.sha256 in decoded.rows for image in images)


def _refuse_a_single_pair(config: Config, images: int) -> None:
    """Raise ConfigurationError if images are to be mixed in pairs, and all training images make one pair at most."""
    if isinstance(config.augment, MixConfig) and config.training.epochs and images <= 2:
        raise ConfigurationError(
            f"augment={config.augment.name}: mixes images in pairs, and {images} training image{'s' * (images != 1)} "
            "can make only one; add images, or choose augment=random_resized_crop"
        )


def stated_facts(data: DataConfig, dataset: Dataset) -> dict[str, str]:
    """Return as tags what is stated of the data and is no part of the key: what figures prove, not what they are."""
    facts = {
        Tag.GROUPING: shorten(data.group or dataset.grouping),
        Tag.ORIGIN: shorten(" ".join(dataset.origin.split()), _LONGEST_ORIGIN),
    }
    return {tag: text for tag, text in facts.items() if text}


def data_tags(config: Config, dataset: Dataset) -> dict[str, str]:
    """Return what the data is called, and what a reader must know of the folder."""
    leave_out = config.data.unmapped == "leave_out"
    unmapped = unmapped_classes(config.data.class_map, dataset.classes, leave_out=leave_out)
    left_out, folders = describe_kinds(dataset.left_out.values()), dataset.split_folders
    return {
        Tag.DATA: dataset.name,
        **({Tag.LEFT_OUT_FILES: left_out} if left_out else {}),
        **({Tag.SPLIT_FOLDERS: folders} if folders else {}),
        **({Tag.FOLD: _fold(config, dataset).to_text()} if config.data.folds else {}),
        **({Tag.UNMAPPED: shorten(unmapped)} if unmapped else {}),
        **(_of_whole(dataset, dataset.of) if dataset.of is not None else {}),
    }


def _fold(config: Config, dataset: Dataset) -> Fold:
    """Return which part of which images is evaluated, and how the others are used."""
    data = config.data
    training = [data.holdout_fraction]
    if config.training.trainable != "none":
        training += [data.train_fraction, data.train_per_class]
    images = [dataset.whole, data.folds, data.split_seed, data.group]
    return Fold(data.fold, data.folds or 1, *(digest_of(value) for value in (images, training)))


def _of_whole(dataset: Dataset, whole: Dataset) -> dict[str, str]:
    """Return what is left out of a whole data set, and which one it is."""
    left_out = [name for name in whole.classes if name not in dataset.classes]
    scored = f"{len(dataset.classes)} of {len(whole.classes)} classes (not of {list_classes(left_out)})"
    return {Tag.SCORED_ON: shorten(scored), Tag.WHOLE: whole.digests["eval"]}
