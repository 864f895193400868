"""Own weights, however a training has wrapped them, and what is said of files that are none."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY_ARCH, Configure
from networks import State, build, differing
from safetensors.torch import save_file
from torch import nn

from tlft.errors import ConfigurationError, TlftError

RESNET = ("arch=resnet18",)
SCRATCH = ("model=scratch", "head=imagenet1k", "training.trainable=none")


def below(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def backbone(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(("fc.", "classifier."))}


def other_classifier(state: State, classes: int) -> State:
    """Return the same with a classifier of other classes."""
    return backbone(state) | {
        name: torch.zeros(classes, *tensor.shape[1:]) for name, tensor in state.items() if name not in backbone(state)
    }


WRAPPED: dict[str, Callable[[State], object]] = {
    "plain": lambda state: state,
    "PyTorch's checkpoint": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"lr": 1.0}},
    "Lightning": lambda state: {"state_dict": below("model.", state), "pytorch-lightning_version": "2.6"},
    "DDP and compile": lambda state: {"model": below("module._orig_mod.", state)},
    "a net within a net": lambda state: {"net": {"state_dict": below("encoder.", state)}},
    "DINO": lambda state: {
        "student": below("module.backbone.", {name: tensor + 1 for name, tensor in state.items()}),
        "teacher": below("backbone.", backbone(state)) | {"head.mlp.0.weight": torch.ones(3, 3)},
    },
    "MoCo": lambda state: {
        "state_dict": below("module.encoder_q.", backbone(state))
        | {"module.encoder_q.fc.0.weight": torch.ones(2, 2), "module.encoder_k.conv1.weight": torch.ones(1)}
    },
    "other classes": lambda state: {"ema": other_classifier(state, 21843)},
    "no classifier": backbone,
}


@pytest.mark.parametrize("arch", [RESNET, TINY_ARCH])
@pytest.mark.parametrize("how", WRAPPED)
def test_own_weights_are_found_however_they_are_wrapped(
    configure: Configure, tmp_path: Path, arch: tuple[str, ...], how: str
) -> None:
    state = build(configure(*arch, *SCRATCH, "seed=7")).state_dict()
    content = WRAPPED[how](state)
    if how == "MoCo" and arch is not RESNET:
        content = {"state_dict": below("module.encoder_q.", backbone(state))}
    torch.save(content, tmp_path / "own.pth")
    model = build(configure(*arch, "model=file", f"model.weights_file={tmp_path / 'own.pth'}"))
    assert differing(backbone(model.state_dict()), backbone(state)) == set()
    new = build(configure(*arch, "model=scratch"))  # whose head is drawn from the same seed
    head = backbone(new.state_dict()).keys() ^ new.state_dict().keys()
    assert head and not head & differing(model.state_dict(), new.state_dict())


def test_safetensors_are_read(configure: Configure, tmp_path: Path) -> None:
    state = build(configure(*RESNET, *SCRATCH)).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "own.safetensors")
    model = build(configure(*RESNET, "model=file", f"model.weights_file={tmp_path / 'own.safetensors'}"))
    assert differing(backbone(model.state_dict()), backbone(state)) == set()


def test_what_is_left_out_is_said(configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    state = build(configure(*RESNET, *SCRATCH)).state_dict()
    content = {"teacher": below("backbone.", other_classifier(state, 5)) | {"head.w": torch.ones(1)}, "ema": {"a": 1}}
    content["student"] = content["teacher"]
    torch.save(content, tmp_path / "own.pth")
    build(configure(*RESNET, "model=file", f"model.weights_file={tmp_path / 'own.pth'}"))
    assert "own.pth: of its entries teacher, student the first is taken" in caplog.text
    assert "left out beside it: head.w" in caplog.text
    assert "its classifier is left out, since the head is new: fc.weight 5x512, fc.bias 5" in caplog.text


def test_two_heads_of_one_file_are_two_networks(configure: Configure, tmp_path: Path) -> None:
    """One process does both, and remembers what it has loaded last."""
    state = build(configure(*RESNET, *SCRATCH)).state_dict()
    torch.save(state, tmp_path / "own.pth")
    file = ("model=file", f"model.weights_file={tmp_path / 'own.pth'}")
    build(configure(*RESNET, *file))
    whole = build(configure(*RESNET, *file, "head=imagenet1k", "training.trainable=none"))
    assert differing(whole.state_dict(), state) == set()


def test_a_head_may_begin_as_the_classifier_of_the_file(configure: Configure, tmp_path: Path) -> None:
    trained = build(configure(*RESNET, "model=scratch", "seed=9"))
    torch.save({"state_dict": below("model.", trained.state_dict())}, tmp_path / "own.pth")
    kept = ("model=file", f"model.weights_file={tmp_path / 'own.pth'}", "model.keep_head=true")
    assert differing(build(configure(*RESNET, *kept)).state_dict(), trained.state_dict()) == set()
    with pytest.raises(
        ConfigurationError, match=r"is not that of the run \(of another shape: fc.weight 2x512 for 3x512"
    ):
        build(configure(*RESNET, *kept), num_classes=3)


def test_head_and_backbone_are_of_the_same_entry_of_a_file(configure: Configure, tmp_path: Path) -> None:
    """timm's networks take averaged weights where a file has plain ones too."""
    averaged = build(configure(*TINY_ARCH, "model=scratch", "seed=9")).state_dict()
    plain = build(configure(*TINY_ARCH, "model=scratch", "seed=8")).state_dict()
    torch.save({"state_dict": plain, "state_dict_ema": averaged}, tmp_path / "own.pth")
    kept = ("model=file", f"model.weights_file={tmp_path / 'own.pth'}", "model.keep_head=true")
    assert differing(build(configure(*TINY_ARCH, *kept)).state_dict(), averaged) == set()


@pytest.mark.parametrize("arch", [RESNET, TINY_ARCH])
def test_what_does_not_fit_is_listed_by_name_and_shape(
    configure: Configure, tmp_path: Path, arch: tuple[str, ...]
) -> None:
    state = build(configure(*arch, *SCRATCH)).state_dict()
    first, second, third = [name for name in state if name.endswith("weight")][:3]
    del state[first]
    state[second] = torch.zeros(3)
    state["more.weight"] = torch.zeros(2, 2)
    torch.save(state, tmp_path / "own.pth")
    with pytest.raises(ConfigurationError) as raised:
        build(configure(*arch, "model=file", f"model.weights_file={tmp_path / 'own.pth'}"))
    said = str(raised.value)
    assert f"tensors are missing: {first}" in said
    assert f"of another shape: {second} 3 for " in said
    assert "not in the network: more.weight 2x2" in said
    assert third not in said
    assert "\n" not in said


@pytest.mark.parametrize("prefix", ["", "module.", "model._orig_mod."])
def test_classifiers_in_the_middle_of_a_network_are_left_out_under_any_wrapper(
    configure: Configure, tmp_path: Path, prefix: str
) -> None:
    network = ("arch=torchvision", "arch.name=googlenet")
    state = build(configure(*network, *SCRATCH)).state_dict()
    auxiliary = {f"aux{number}.conv.conv.weight": torch.ones(2, 2) for number in (1, 2)}
    torch.save(below(prefix, state | auxiliary | {"AuxLogits.fc.weight": torch.ones(3)}), tmp_path / "own.pth")
    whole = ("model=file", f"model.weights_file={tmp_path / 'own.pth'}", *SCRATCH[1:])
    assert differing(build(configure(*network, *whole)).state_dict(), state) == set()


@pytest.mark.parametrize(("arch", "stem"), [(RESNET, "conv1.weight"), (TINY_ARCH, "conv_stem.weight")])
def test_weights_for_grey_images_say_the_same_of_grey_in_three_colours(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture, arch: tuple[str, ...], stem: str
) -> None:
    caplog.set_level(logging.INFO)
    state = build(configure(*arch, *SCRATCH)).state_dict()
    grey = state | {stem: state[stem].sum(dim=1, keepdim=True)}  # as timm makes them with in_chans=1
    torch.save(grey, tmp_path / "own.pth")
    own = build(configure(*arch, "model=file", f"model.weights_file={tmp_path / 'own.pth'}", *SCRATCH[1:])).eval()
    assert f"own.pth: is of grey images; its first weights are spread over three colours: {stem}" in caplog.text
    assert differing(own.state_dict(), state) == {stem}
    images = torch.rand(2, 1, 64, 64)
    expected = torch.conv2d(images, grey[stem], stride=2, padding=1)
    said = torch.conv2d(images.expand(2, 3, 64, 64), own.get_parameter(stem), stride=2, padding=1)
    torch.testing.assert_close(said, expected)


def whole_model(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path)


def scripted(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "page": (lambda path: path.write_text("<!DOCTYPE html><html>sign in</html>"), "but a web page"),
    "pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "but a Git-LFS pointer to it; `git lfs pull` fetches",
    ),
    "empty": (lambda path: path.write_bytes(b""), "but empty; fetch it again"),
    "model": (whole_model, "torch.nn.modules.linear.Linear), perhaps a whole model: save model.state_dict()"),
    "script": (scripted, "is a TorchScript archive"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"a": [1, 2]})), "is no file of weights ("),
    "figures": (lambda path: torch.save({"accuracy": 0.5, "epoch": 3}, path), "; it has accuracy, epoch; save"),
    "text": (lambda path: path.write_text("conv1.weight: 3"), "is no file of weights ("),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_file_that_is_no_weights_is_named_for_what_it_is(configure: Configure, tmp_path: Path, kind: str) -> None:
    write, said = FOREIGN[kind]
    write(tmp_path / "own.pth")
    with pytest.raises(TlftError) as raised:
        build(configure(*RESNET, "model=file", f"model.weights_file={tmp_path / 'own.pth'}"))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
