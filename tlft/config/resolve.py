"""The values that a configuration comes to."""

from __future__ import annotations

from dataclasses import replace

from tlft.config.recipe_schema import AugmentConfig
from tlft.config.schema import Config


def resolve(config: Config) -> Config:
    """Return the configuration with the values that it comes to.

    Nothing trainable means no epochs, and no epochs nothing trainable; the head and no stage of the backbone is the
    head. No augmentation is that of the reference without flips. `debug` runs one epoch at most, and has an experiment
    of its own. What only tries or verifies is computed although it was done before.
    """
    training, tracking = config.training, config.tracking
    epochs = 0 if training.trainable == "none" else training.epochs
    trainable = "none" if training.epochs == 0 else training.trainable
    if trainable.isdecimal() and int(trainable) == 0:
        trainable = "head"
    augment, flip = config.augment, training.flip
    if augment.name == "none":
        augment, flip = AugmentConfig("reference"), False
    experiment = tracking.experiment
    if config.debug:
        epochs = min(epochs, 1)
        experiment = f"{experiment}-debug"
    return replace(
        config,
        augment=augment,
        training=replace(training, epochs=epochs, trainable=trainable, flip=flip),
        tracking=replace(tracking, experiment=experiment),
        force=config.force or config.debug or config.verify,
    )
