"""What a run's key is made of, as far as the files themselves have to be looked at."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from conftest import TINY_ARCH, Configure, draw_folder

from tlft.data.batch_borders import has_lone_image
from tlft.data.batches import open_images
from tlft.errors import ConfigurationError
from tlft.runs.identify import Identity, identify


@pytest.mark.parametrize(("bad", "lone"), [(0, False), (1, True), (2, False), (5, True)])
def test_images_that_are_skipped_leave_no_lone_one_behind_the_keys_back(
    configure: Configure, tmp_path: Path, bad: int, lone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop joins a lone one of the images that can be decoded, so the key has to count these."""
    folder = draw_folder(tmp_path / "insects", train=7, evaluation=2)
    for number in range(bad):
        path = folder / "train" / "ants" / f"{number}.png"
        path.write_bytes(path.read_bytes()[: 100 + number])
    given = ("data=imagefolder", f"data.root={folder}", *TINY_ARCH, "model=scratch", "training.batch_size=4")
    config = configure(*given, "data.on_bad_image=skip")
    with caplog.at_level(logging.WARNING):
        identity = identify(config)
    assert not caplog.messages  # what is skipped is said once, where the images are opened
    assert joins(identity) == lone
    transform = identity.weights.transform
    images = open_images(identity.dataset, transform, config.home / "cache", config.data.on_bad_image, 1)
    assert has_lone_image(len(images.train), 4) == lone


def test_nothing_is_decoded_for_a_key_unless_images_may_be_skipped(
    configure: Configure, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlft.runs.identify.decode_all", lambda *arguments: pytest.fail("decodes"))
    given = ("data=imagefolder", f"data.root={tiny_folder}", *TINY_ARCH, "model=scratch")
    asked = (("training.epochs=1",), ("data.on_bad_image=skip", "training.epochs=0"))
    identities = [identify(configure(*given, *more)) for more in asked]
    assert [joins(identity) for identity in identities] == [False, False]
    assert identities[0].dataset.digests == identities[1].dataset.digests


def joins(identity: Identity) -> bool:
    """Tell whether the key says that a lone image joins the batch before."""
    return bool(identity.science["training"].get("last_batch") == "joined")


def test_where_the_order_of_outputs_is_not_that_of_letters_the_key_says_so(
    configure: Configure, tmp_path: Path
) -> None:
    """An earlier version had the other order, in which the same seed draws another network."""
    first = draw_folder(tmp_path / "letters")
    second = draw_folder(tmp_path / "numbers")
    for split in ("train", "val"):
        (second / split / "ants").rename(second / split / "10")
        (second / split / "bees").rename(second / split / "9")
    of_letters, of_numbers = (
        identify(configure("data=imagefolder", f"data.root={root}", "model=scratch")) for root in (first, second)
    )
    assert of_letters.science["head"] == {"name": "task"}
    assert of_numbers.science["head"] == {"name": "task", "classes": "natural"}
    assert of_numbers.dataset.classes == ("9", "10")


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_images_of_which_there_is_one_pair_are_not_mixed(configure: Configure, tmp_path: Path, name: str) -> None:
    folder = draw_folder(tmp_path / "insects", train=2, evaluation=2)
    given = ("data=imagefolder", f"data.root={folder}", *TINY_ARCH, "model=scratch", f"augment={name}")
    identify(configure(*given))
    identify(configure(*given, "data.train_per_class=1", "training.trainable=none"))
    said = f"augment={name}: mixes images in pairs, and 2 training images can make only one; add images, or choose"
    with pytest.raises(ConfigurationError, match=f"^{said}"):
        identify(configure(*given, "data.train_per_class=1"))
    for label, kind in enumerate(("ants", "bees")):  # cut off, and skipped
        path = folder / "train" / kind / "0.png"
        path.write_bytes(path.read_bytes()[: 100 + label])
    with pytest.raises(ConfigurationError, match=f"^{said}"):
        identify(configure(*given, "data.on_bad_image=skip"))
