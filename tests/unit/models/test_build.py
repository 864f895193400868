from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import TINY_ARCH, Configure
from networks import build, differing
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from tlft.errors import ConfigurationError, TlftError
from tlft.models.build import build_model
from tlft.models.spec import ask_library
from tlft.models.weights import Weights, find_weights
from tlft.pixels.pixel_store import scale


def test_scratch_is_drawn_from_the_seed_whatever_ran_before(configure: Configure) -> None:
    config = configure(*TINY_ARCH, "model=scratch", "seed=5")
    first = build(config).state_dict()
    torch.manual_seed(99)
    torch.rand(1000)
    before = torch.random.get_rng_state()
    assert differing(first, build(config).state_dict()) == set()
    assert torch.equal(before, torch.random.get_rng_state())
    other = build(configure(*TINY_ARCH, "model=scratch", "seed=6")).state_dict()
    assert "conv_stem.weight" in differing(first, other)


@pytest.mark.parametrize("head", ["task", "imagenet1k"])
def test_resnet50_takes_a_file_placed_by_hand(configure: Configure, resnet50_file: Path, head: str) -> None:
    trainable = "none" if head == "imagenet1k" else "all"
    config = configure(f"head={head}", f"model.weights_file={resnet50_file}", f"training.trainable={trainable}")
    model = build(config)
    stored = torch.load(resnet50_file, weights_only=True)
    state = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert differing(state, stored) == ({"fc.weight", "fc.bias"} if head == "task" else set())
    outputs = model.eval()(torch.rand(1, 3, 64, 64))
    assert outputs.shape == (1, 2 if head == "task" else 1000)


def test_pretrained_statistics_follow_slowly_where_the_architecture_says_so(
    configure: Configure,
) -> None:
    def momenta(*overrides: str) -> set[float | None]:
        model = build(configure("arch=efficientnet_lite0", *overrides))
        return {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)}

    assert momenta() == {0.01}
    assert momenta("arch.bn_momentum=null") == {0.1}
    assert momenta("model=scratch") == {0.1}


def test_file_of_another_network_does_not_fit(configure: Configure, resnet50_file: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not fit resnet18"):
        build(configure("arch=resnet18", f"model.weights_file={resnet50_file}"))


@pytest.mark.parametrize("arch", [("arch=resnet18",), TINY_ARCH])
@pytest.mark.parametrize("wrapped", [False, True])
def test_no_code_in_a_weights_file_is_run(
    configure: Configure, tmp_path: Path, arch: tuple[str, ...], wrapped: bool
) -> None:
    proof = tmp_path / "code was run"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(proof)!r}, 'w')",)

    path = tmp_path / "evil.pth"
    torch.save({"state_dict": {"fc.weight": Evil()}} if wrapped else {"fc.weight": Evil()}, path)
    with pytest.raises(TlftError, match="is no file of weights"):
        build(configure(*arch, f"model.weights_file={path}"))
    assert not proof.exists()


def test_timm_is_handed_tensors_and_no_file(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("timm reads a file")

    monkeypatch.setattr("timm.models._builder.load_state_dict", refuse)  # in some versions it unpickles anything
    state = build(configure(*TINY_ARCH, "model=scratch", "head=imagenet1k", "training.trainable=none")).state_dict()
    for name, content in {
        "plain.pth": state,
        "checkpoint.pth": {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3},
        "averaged.pth": {"state_dict": {"no": torch.zeros(1)}, "state_dict_ema": state},
    }.items():
        torch.save(content, tmp_path / name)
        overrides = (f"model.weights_file={tmp_path / name}", "head=imagenet1k", "training.trainable=none")
        assert differing(build(configure(*TINY_ARCH, *overrides)).state_dict(), state) == set()
    torch.save({}, tmp_path / "empty.pth")  # timm would fetch a file of its own instead
    with pytest.raises(TlftError, match="holds no state dict"):
        build(configure(*TINY_ARCH, f"model.weights_file={tmp_path / 'empty.pth'}"))


def test_no_code_in_an_archive_of_numpy_is_run(configure: Configure, tmp_path: Path) -> None:
    proof = tmp_path / "code was run"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(proof)!r}, 'w')",)

    path = tmp_path / "evil.npz"
    np.savez(path, **{"embedding/kernel": np.array([Evil()], dtype=object)})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="takes no NumPy archive"):
        build(configure(*TINY_ARCH, f"model.weights_file={path}"))
    with pytest.raises(ConfigurationError, match="does not fit vit_tiny_patch16_224"):
        build(configure("arch=timm", "arch.name=vit_tiny_patch16_224", f"model.weights_file={path}"))
    assert not proof.exists()


def test_a_network_that_cannot_be_trained_on_one_image_says_so(configure: Configure) -> None:
    scratch = ("model=scratch", "head=task", "training.batch_size=1")
    with pytest.raises(ConfigurationError, match=r"training\.batch_size=1: mobilenetv4_conv_small normalises"):
        build(configure("arch=timm", "arch.name=mobilenetv4_conv_small", *scratch))
    build(configure(*TINY_ARCH, *scratch))


@pytest.mark.parametrize(("library", "name", "size"), [("torchvision", "resnet18", 96), ("timm", "test_resnet", 64)])
def test_a_network_takes_images_of_another_size(configure: Configure, library: str, name: str, size: int) -> None:
    network = (f"arch={library}", f"arch.name={name}", "model=scratch")
    native = find_weights(configure(*network)).transform
    config = configure(*network, f"data.image_size={size}")
    transform = find_weights(config).transform
    assert (transform.crop, transform.resize) == (size, round(native.resize * size / native.crop))
    assert build(config).eval()(torch.zeros(2, 3, size, size)).shape == (2, 2)


def test_a_network_that_takes_one_size_alone_is_refused_in_one_line(configure: Configure) -> None:
    config = configure("arch=timm", "arch.name=mixer_s16_224", "model=scratch", "data.image_size=96")
    with pytest.raises(
        ConfigurationError, match=r"^data\.image_size=96: mixer_s16_224 does not take images of"
    ) as raised:
        build(config)
    assert "\n" not in str(raised.value)


def test_published_weights_without_a_classifier_serve_under_a_new_head(configure: Configure, tmp_path: Path) -> None:
    network = ("arch=timm", "arch.name=vit_tiny_patch16_dinov3_qkvb", "training.trainable=head")
    torch.manual_seed(1)
    trained = timm.create_model("vit_tiny_patch16_dinov3_qkvb", num_classes=0)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    spec = ask_library("timm", "vit_tiny_patch16_dinov3_qkvb", "auto")
    assert spec.num_classes == 0
    weights = Weights(spec.transform, "0" * 64, tmp_path / "model.safetensors", spec)
    model = build_model(configure(*network), weights, 3)
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in trained.state_dict().items())
    with pytest.raises(ConfigurationError, match=r"head=imagenet1k arch.name=.* have no outputs, not the 1000"):
        build_model(configure(*network, "head=imagenet1k", "training.trainable=none"), weights, 3)


def test_images_are_squashed_where_the_weights_were_trained_so() -> None:
    transform = ask_library("timm", "convnext_base", "fb_in22k_ft_in1k_384").transform
    assert (transform.crop, transform.resize, transform.squash) == (384, 384, True)
    assert scale(Image.new("RGB", (800, 500)), transform).size == (384, 384)
    plain = ask_library("timm", "convnext_base", "fb_in22k_ft_in1k").transform
    assert plain.squash is None
    assert "squash" not in plain.to_dict()
    assert scale(Image.new("RGB", (800, 500)), plain).size == (int(plain.resize * 1.6), plain.resize)
