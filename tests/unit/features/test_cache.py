"""Features shared by runs: to the bits of runs without, computed once, whatever becomes of the folder they are in."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Configure
from tiny_network import CPU, TRANSFORM, Recorder, TinyClassifier, make_split
from torch import nn

from tlft.config.schema import Config
from tlft.data.batches import Images, SelectedPixels, Split
from tlft.data.class_map import LabelSpace
from tlft.evaluation.predictions import evaluate
from tlft.features import cache, inputs, keeping
from tlft.features.border import FailedTrialError, UncuttableError
from tlft.features.cache import SharedFeatures, share_features
from tlft.models.freeze import freeze
from tlft.models.head import replace_head
from tlft.models.network import build_network
from tlft.models.spec import Spec
from tlft.models.weights import Weights
from tlft.pixels import versions
from tlft.pixels.pixel_store import DecodedImages
from tlft.pixels.stored_pixels import StoredPixels
from tlft.runtime.device import Machine
from tlft.storage import records
from tlft.storage.records import RecordStore, shards_of
from tlft.training.loop import fresh_state, train

SPEC = Spec("tiny", TRANSFORM, 2)
PROBE = ("training.trainable=head", "training.epochs=3", "training.batch_size=4", "optimizer.lr=0.1")


def weights(digest: str | None = "a" * 64) -> Weights:
    return Weights(TRANSFORM, digest, None, SPEC)


def tiny(config: Config, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = TinyClassifier()
    freeze(model, config.training.trainable)
    return model.to(memory_format=torch.channels_last)


def images_of(train: Split, evaluation: Split, holdout: Split | None = None) -> Images:
    nothing = StoredPixels(RecordStore(Path("none")), [], 8, lambda: None)
    return Images(train, evaluation, holdout, {}, DecodedImages(nothing, {}, {}))


def some(split: Split, *rows: int) -> Split:
    files = tuple(split.files[row] for row in rows)
    return Split(files, SelectedPixels(split.pixels, np.array(rows)), split.transform)


@pytest.fixture
def images() -> Images:
    split = make_split(90)
    return images_of(some(split, *range(70)), some(split, *range(70, 85)), some(split, *range(85, 90)))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that has the keys of what is computed."""
    keys: list[str] = []
    compute = inputs.compute

    def counting(model: nn.Module, border: object, views: Sequence[object], *others: object) -> Iterator[object]:
        keys.extend(view.key for view in views)  # type: ignore[attr-defined]
        return compute(model, border, views, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "compute", counting)
    return keys


def share(config: Config, images: Images, model: nn.Module | None = None, **of: str | None) -> SharedFeatures | None:
    return share_features(tiny(config) if model is None else model, config, weights(**of), images, CPU)


def outcome(model: nn.Module, config: Config, images: Images, machine: Machine = CPU) -> tuple[object, ...]:
    """Train and evaluate; returns every bit that a run keeps."""
    report = Recorder()
    train(model, images.train, config, machine, fresh_state(config, model), report)
    assert images.holdout is not None
    space = LabelSpace(("ants", "bees"), None)
    said = [evaluate(model, split.inputs, space, machine).log_probabilities for split in (images.eval, images.holdout)]
    state = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    return report.steps, [array.tobytes() for array in said], state


def with_and_without(
    config: Config, images: Images, build: object = tiny, machine: Machine = CPU
) -> tuple[tuple[object, ...], tuple[object, ...]]:
    model = build(config)  # type: ignore[operator]
    shared = share_features(model, config, weights(), images, machine)
    assert shared is not None
    assert shared.images.eval.features is not None
    with shared.applied(model):
        cached = outcome(model, config, shared.images, machine)
    return cached, outcome(build(config), config, images, machine)  # type: ignore[operator]


@pytest.mark.parametrize(
    "overrides", [(), ("training.flip=false",), ("optimizer=adamw",), ("training.keep=lowest_train_loss",), ("seed=5",)]
)
def test_a_probe_ends_with_the_bits_of_one_without_the_cache(
    configure: Configure, images: Images, overrides: tuple[str, ...]
) -> None:
    cached, plain = with_and_without(configure(*PROBE, *overrides), images)
    assert cached == plain


@pytest.mark.parametrize("trainable", ["head", "1", "2"])
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_so_do_the_last_stages_of_real_networks(configure: Configure, name: str, trainable: str) -> None:
    def build(config: Config) -> nn.Module:
        torch.manual_seed(3)
        model = build_network("timm", name)
        replace_head(model, 2)
        freeze(model, config.training.trainable)
        return model.to(memory_format=torch.channels_last)

    random = np.random.default_rng(0)
    split = make_split(192)
    pixels = random.integers(0, 255, (192, 64, 64, 3), dtype=np.uint8)
    split = Split(split.files, pixels, replace(TRANSFORM, resize=64, crop=64))
    images = images_of(some(split, *range(64)), some(split, *range(64, 128)), some(split, *range(128, 192)))
    # In batches of 64, as features are computed: of a batch of four the library makes other last bits.
    recipe = ("training.epochs=2", "optimizer.lr=0.01", "training.batch_size=64")
    config = configure(*PROBE, f"training.trainable={trainable}", *recipe)
    model = build(config)
    shared = share_features(model, config, Weights(split.transform, "b" * 64, None, SPEC), images, CPU)
    assert shared is not None
    with shared.applied(model):
        cached = outcome(model, config, shared.images)
    assert cached == outcome(build(config), config, images)


def test_in_small_batches_the_library_may_round_otherwise_and_no_more(configure: Configure) -> None:
    split = make_split(24)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (24, 64, 64, 3), dtype=np.uint8)
    split = Split(split.files, pixels, replace(TRANSFORM, resize=64, crop=64))
    images = images_of(some(split, *range(12)), some(split, *range(12, 20)), some(split, *range(20, 24)))
    config = configure(*PROBE, "optimizer.lr=0.01")
    losses = []
    for features in (True, False):
        torch.manual_seed(3)
        model = build_network("timm", "test_efficientnet")
        replace_head(model, 2)
        freeze(model, "head")
        model.to(memory_format=torch.channels_last)
        if features:
            shared = share_features(model, config, Weights(split.transform, "b" * 64, None, SPEC), images, CPU)
            assert shared is not None
            with shared.applied(model):
                steps = outcome(model, config, shared.images)[0]
        else:
            steps = outcome(model, config, images)[0]
        losses.append([loss for _, _, loss in steps])  # type: ignore[attr-defined]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_threads_change_no_bit(configure: Configure, images: Images) -> None:
    config, sides = configure(*PROBE), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            sides.append(with_and_without(config, images)[0])
            shutil.rmtree(config.home / "cache")
    finally:
        torch.set_num_threads(before)
    assert sides[0] == sides[1]


def test_what_was_computed_is_computed_never_again(configure: Configure, images: Images, computed: list[str]) -> None:
    config = configure(*PROBE)
    share(config, images)
    count = len(computed)
    assert len(set(computed)) == count > 70 + 15 + 5  # some training images are looked at from both sides
    share(config, images)
    share(configure(*PROBE, "training.epochs=0"), images)  # a zero-shot run of the same network, likewise
    assert len(computed) == count
    share(configure(*PROBE, "training.epochs=50"), images)
    assert len(computed) == 2 * 70 + 15 + 5


def test_a_subset_and_one_more_image_compute_what_is_new(
    configure: Configure, images: Images, computed: list[str]
) -> None:
    config = configure(*PROBE, "training.flip=false")
    split = make_split(90)
    share(config, images_of(some(split, 3, 5, 8), some(split, 70)))
    assert len(computed) == 4
    share(config, images_of(some(split, 5, 8), some(split, 3)))  # other splits of the same images
    assert len(computed) == 4
    share(config, images_of(some(split, 3, 5, 8, 9), some(split, 70, 71)))
    assert sorted(computed[4:]) == sorted(split.files[row].sha256 for row in (9, 71))


def test_the_features_of_an_image_do_not_depend_on_those_beside_it(configure: Configure, images: Images) -> None:
    config, split = configure(*PROBE, "training.flip=false"), make_split(90)
    texts = []
    for rows in ((7,), (1, 2, 7), (7, 8, 9, *range(20, 89))):
        shutil.rmtree(config.home / "cache", ignore_errors=True)
        share(config, images_of(some(split, *rows), some(split, 89)))
        (folder,) = (path for path in (config.home / "cache" / "features").iterdir() if path.is_dir())
        texts.append(bytes(RecordStore(folder).read(split.files[7].sha256)))
    assert texts[0] == texts[1] == texts[2]


def test_mirror_images_are_looked_at_only_where_an_epoch_mirrors_them(
    configure: Configure, images: Images, computed: list[str]
) -> None:
    share(configure(*PROBE, "training.flip=false"), images)
    assert not [key for key in computed if key.endswith("mirrored")]
    computed.clear()
    share(configure(*PROBE, "training.epochs=1", "seed=9"), images)
    assert 15 < len(computed) < 55  # of seventy: those whose coin fell so
    assert all(key.endswith("mirrored") for key in computed)


def folder_of(config: Config) -> Path:
    (folder,) = (path for path in (config.home / "cache" / "features").iterdir() if path.is_dir())
    return folder


def test_a_changed_byte_is_seen_and_the_image_computed_anew(
    configure: Configure, images: Images, computed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(*PROBE)
    expected = with_and_without(config, images)
    (shard,) = shards_of(folder_of(config))
    data = bytearray((shard / "records.bin").read_bytes())
    data[64 * 3] ^= 1
    (shard / "records.bin").write_bytes(data)
    records.open_store.cache_clear()  # as in another process
    computed.clear()
    assert with_and_without(config, images) == expected
    assert len(computed) == 1
    assert "1 of the features are damaged, and computed anew" in caplog.text


@pytest.mark.parametrize(("name", "kept"), [("records.bin", 100), ("index.npy", 50), ("../border.json", 9)])
def test_a_file_that_is_cut_short_is_computed_anew(
    configure: Configure, images: Images, computed: list[str], name: str, kept: int
) -> None:
    config = configure(*PROBE)
    expected = with_and_without(config, images)
    (shard,) = shards_of(folder_of(config))
    (shard / name).write_bytes((shard / name).read_bytes()[:kept])
    records.open_store.cache_clear()
    computed.clear()
    assert with_and_without(config, images) == expected
    assert bool(computed) == (name != "../border.json")


def test_another_format_is_computed_anew_beside(
    configure: Configure, images: Images, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(*PROBE)
    share(config, images)
    count = len(computed)
    monkeypatch.setattr(versions, "FEATURES_FORMAT", versions.FEATURES_FORMAT + 1)
    share(config, images)
    assert len(computed) == 2 * count


@pytest.mark.parametrize("what", ["PIL.__version__", "tlft.pixels.versions.DECODED_FORMAT"])
def test_what_another_decoder_made_of_the_images_is_not_taken_for_what_this_one_makes(
    configure: Configure, images: Images, computed: list[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    config = configure(*PROBE)
    share(config, images)
    count = len(computed)
    monkeypatch.setattr(what, "1.2.3")
    share(config, images)
    assert len(computed) == 2 * count


def test_a_changed_byte_of_the_border_is_seen_and_it_is_found_anew(
    configure: Configure, images: Images, computed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(*PROBE)
    share(config, images)
    path = folder_of(config) / "border.json"
    whole = path.read_bytes()
    computed.clear()
    random = np.random.default_rng(0)
    for place, change in zip(random.choice(len(whole), 40, replace=False), random.integers(1, 256, 40), strict=True):
        data = bytearray(whole)
        data[place] ^= change
        path.write_bytes(data)
        caplog.clear()
        assert share(config, images) is not None
        assert caplog.text.count(f"{path}: is damaged, and computed anew") == 1
        assert path.read_bytes() == whole
    assert not computed  # the features have digests of their own


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ('"dtype": "float32"', '"dtype": "float16"'),
        ('"module": "drop"', '"module": "dropped"'),
        ('"reason": ""', '"reason": "no"'),
        ("   4", "   5"),
    ],
)
def test_a_border_that_was_changed_changes_no_result(
    configure: Configure, images: Images, true: str, false: str
) -> None:
    config = configure(*PROBE)
    expected = with_and_without(config, images)
    path = folder_of(config) / "border.json"
    assert true in path.read_text()
    path.write_text(path.read_text().replace(true, false))
    records.open_store.cache_clear()
    assert with_and_without(config, images) == expected


def test_a_record_of_another_length_is_computed_anew(
    configure: Configure, images: Images, computed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(*PROBE)
    expected = with_and_without(config, images)
    store = RecordStore(folder_of(config))
    with store.appending("waiting") as appender:
        for split, change in ((images.eval, slice(1, None)), (images.train, slice(0, 0))):
            key = split.files[0].sha256
            appender.append(key, store.read(key)[change])
    records.open_store.cache_clear()
    computed.clear()
    assert with_and_without(config, images) == expected
    assert sorted(computed) == sorted(split.files[0].sha256 for split in (images.eval, images.train))
    assert "2 of the features are damaged, and computed anew" in caplog.text


@pytest.mark.parametrize(
    ("number", "mend"), [(errno.ENOSPC, "free space there"), (errno.EROFS, "let it be written to"), (13, "let it be")]
)
def test_why_features_cannot_be_kept_says_what_can_be_done(
    configure: Configure,
    images: Images,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
    mend: str,
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(records, "one_at_a_time", refuse)
    assert share(configure(*PROBE), images) is not None
    assert f"({os.strerror(number)}), which are for this run alone; {mend}" in caplog.text
    assert ", or set paths.home" in caplog.text


def test_other_weights_precision_and_stages_have_features_of_their_own(
    configure: Configure, images: Images, computed: list[str]
) -> None:
    config = configure(*PROBE)
    share(config, images)
    count = len(computed)
    share(config, images, digest="b" * 64)
    share_features(tiny(config), config, weights(), images, replace(CPU, precision="bfloat16"))
    share(config, images, digest=None)
    assert len(computed) == 4 * count
    share(config, images, digest=None)  # known by what the frozen tensors hold
    assert len(computed) == 4 * count
    share(config, images, tiny(config, seed=1), digest=None)
    assert len(computed) == 5 * count


def test_a_full_disk_costs_the_keeping_and_not_the_run(
    configure: Configure, images: Images, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(*PROBE)
    expected = with_and_without(config, images)
    shutil.rmtree(config.home / "cache")
    records.open_store.cache_clear()
    written: list[int] = []

    def full(self: object, key: str, record: np.ndarray) -> None:
        written.append(len(record))
        if len(written) > 70:  # in the second batch
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(records.Appender, "append", full)
    assert with_and_without(config, images) == expected
    assert "cannot keep features (No space left on device), which are for this run alone" in caplog.text
    assert not shards_of(folder_of(config))


def test_a_folder_that_cannot_be_written_is_a_line_and_no_loss(
    configure: Configure, images: Images, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(*PROBE)
    (config.home / "cache").mkdir()
    (config.home / "cache" / "features").write_text("a file in the way")
    cached, plain = with_and_without(config, images)
    assert cached == plain
    assert caplog.text.count("cannot keep features") == 1


def test_a_folder_that_may_only_be_read_serves_what_is_in_it(
    configure: Configure, images: Images, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(*PROBE)
    expected = with_and_without(config, images)
    computed.clear()

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(records, "one_at_a_time", refuse)
    records.open_store.cache_clear()
    assert with_and_without(config, images) == expected
    assert not computed


def test_no_room_on_disk_and_in_memory_is_said_and_the_run_goes_on_without(
    configure: Configure, images: Images, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = configure(*PROBE)
    monkeypatch.setattr(keeping, "_MOST_OF_DISK", 0.0)
    assert share(config, images) is None
    assert "is computed in each epoch, since what it says would take" in caplog.text
    caplog.clear()
    monkeypatch.undo()
    (config.home / "cache" / "features").rename(config.home / "elsewhere")
    (config.home / "cache" / "features").write_text("a file in the way")
    monkeypatch.setattr(keeping, "_MOST_OF_MEMORY", 0.0)
    assert share(config, images) is None
    assert "fits neither on the disk nor into memory" in caplog.text


def test_the_limit_of_caches_is_kept(configure: Configure, images: Images, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert share(configure(*PROBE, "cache.max_gb=0.0000001"), images) is None
    assert "more than cache.max_gb=1e-07" in caplog.text


def test_nothing_is_shared_where_all_is_trained_or_nobody_wants_it(
    configure: Configure, images: Images, computed: list[str]
) -> None:
    assert share(configure(*PROBE, "features=off"), images) is None
    assert share(configure(*PROBE, "training.trainable=all"), images) is None
    assert not computed


def test_a_network_that_cannot_be_cut_is_tried_once_and_said_each_time(
    configure: Configure, images: Images, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trials: list[int] = []

    def refuse(*arguments: object) -> None:
        trials.append(1)
        raise UncuttableError("it is of one piece")

    monkeypatch.setattr(cache, "find_border", refuse)
    for _ in range(2):
        assert share(configure(*PROBE), images) is None
    assert len(trials) == 1
    assert caplog.text.count("computed in each epoch, since it is of one piece") == 2


def test_a_trial_that_failed_is_tried_again(
    configure: Configure, images: Images, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def fail(*arguments: object) -> None:
        raise FailedTrialError("a trial failed: not enough memory")

    monkeypatch.setattr(cache, "find_border", fail)
    assert share(configure(*PROBE), images) is None
    assert "computed in each epoch, since a trial failed: not enough memory" in caplog.text
    monkeypatch.undo()
    assert share(configure(*PROBE), images) is not None


def test_a_run_that_is_stopped_keeps_what_it_has_computed(
    configure: Configure, images: Images, computed: list[str]
) -> None:
    config = configure(*PROBE)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        share_features(tiny(config), config, weights(), images, CPU, stop)
    computed.clear()
    records.open_store.cache_clear()
    share(config, images)
    all_views = len(RecordStore(folder_of(config)))
    assert len(computed) == all_views - 64


def test_images_that_are_changed_at_random_are_looked_at_in_each_epoch_and_that_is_said(
    configure: Configure, images: Images, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert share(configure("experiment=linear_probe", "augment=random_resized_crop"), images) is None
    assert "since augment=random_resized_crop shows no image twice alike" in caplog.text
    assert share(configure("experiment=linear_probe", "augment=none"), images) is not None


@pytest.mark.parametrize(
    "overrides",
    [
        ("training.ema=0.9",),
        ("training.sam=0.1",),
        ("training.accumulate=2",),
        ("training.class_weights=balanced",),
        ("data.sampler=balanced",),
        ("optimizer=torch", "optimizer.algorithm=NAdam", "optimizer.lr=0.01"),
    ],
)
def test_a_recipe_has_the_same_bits_on_features(configure: Configure, images: Images, overrides: tuple[str]) -> None:
    config = configure("experiment=linear_probe", "training.epochs=3", *overrides)
    cached, uncached = with_and_without(config, images)
    assert cached == uncached
