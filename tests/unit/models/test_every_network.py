"""Every network of torchvision, and one of each family of timm, with random weights: what all must be able to do.

Of each: its head is replaced, its outputs are finite, every parameter that is trained gets a gradient, its head and its
last stage can be trained alone, features at the border give what the whole gives, and a checkpoint goes on.
"""

from __future__ import annotations

import copy
import gc
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
from conftest import Configure
from networks import differing
from tiny_network import CPU
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model

from tlft.config.schema import Config
from tlft.errors import ConfigurationError
from tlft.features.border import UncuttableError, find_border, from_border, frozen_output
from tlft.models.freeze import freeze, set_training_mode, stages
from tlft.models.head import head_names, replace_head
from tlft.models.memory_order import to_channels_last
from tlft.models.network import build_network
from tlft.models.spec import list_networks
from tlft.training.checkpoint import Checkpoints
from tlft.training.loop import TrainingState, fresh_state

CLASSES = 3
SIZES = (56, 64, 96, 128, 160, 192, 224, 240, 256, 299, 336, 384, 448, 512)
MOST_PARAMETERS = 100_000_000
"""Of larger networks no checkpoint is written, which would take three copies of each parameter in memory."""

SMALLEST = json.loads((Path(__file__).parents[2] / "data" / "timm_families.json").read_text())
"""A small network of each family of timm; of one that is not there the first by name is taken."""


def every_network() -> Iterator[tuple[str, str]]:
    yield from (("torchvision", name) for name in list_networks("torchvision"))
    for family in timm.models.list_modules():
        names = timm.list_models(module=family)
        if names:
            yield "timm", SMALLEST[family] if SMALLEST.get(family) in names else names[0]


@pytest.fixture(autouse=True)
def freed() -> Iterator[None]:
    yield
    gc.collect()  # hooks and closures hold networks in rings


def built(library: str, name: str) -> nn.Module:
    """Return a network with a new head, for small images where its builder takes their size."""
    sides = [64, 128] if library == "timm" else [56 if name == "vit_h_14" else 64] if name.startswith("vit_") else []
    for side in sides:
        with suppress(TypeError, AssertionError, ValueError, RuntimeError):  # which takes no size, or not this one
            model = timm.create_model(name, img_size=side) if library == "timm" else get_model(name, image_size=side)
            if getattr(model, "num_classes", None) == 0:  # as build_network does it
                model.reset_classifier(1000)
            return headed(model, side)
    return headed(build_network(library, name))


def headed(model: nn.Module, side: int | None = None) -> nn.Module:
    if side is not None:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, side, side))
    replace_head(model, CLASSES)
    return to_channels_last(model)


def images_for(model: nn.Module) -> Tensor:
    """Return two images of the least size that the network takes."""
    reasons = []
    for size in SIZES:
        images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        try:
            with torch.no_grad():
                model.eval()(images)
        except Exception as error:  # whatever its code raises of a size that it does not take
            reasons.append(f"{size}: {error}")
        else:
            return images.to(memory_format=torch.channels_last)
    raise AssertionError("\n".join(reasons))


def take_step(model: nn.Module, state: TrainingState, images: Tensor) -> Tensor:
    """Take a step of gradient descent with a fixed draw of dropout; returns the outputs."""
    assert state.optimizer is not None
    set_training_mode(model)
    torch.manual_seed(1)
    outputs: Tensor = model(images)
    state.optimizer.zero_grad()
    F.cross_entropy(outputs, torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    state.step += 1
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize(("library", "name"), list(every_network()))
def test_a_network_can_do_all_that_a_run_asks_of_it(
    configure: Configure, tmp_path: Path, library: str, name: str
) -> None:
    torch.manual_seed(0)
    model = built(library, name)
    heads = tuple(f"{head}." for head in head_names(model))
    images = images_for(model)
    is_small = sum(parameter.numel() for parameter in model.parameters()) <= MOST_PARAMETERS
    config = configure("training.epochs=1", "optimizer.lr=0.001", *([] if is_small else ["optimizer.momentum=0.0"]))
    check_training(model, images, config, tmp_path / "checkpoint")
    check_parts(model, heads)
    for trainable in ("head", "1"):
        check_border(model, trainable, images)


def check_training(model: nn.Module, images: Tensor, config: Config, folder: Path) -> None:
    """Check that all is trained, and that a checkpoint brings all of it back."""
    state = fresh_state(config, model)
    outputs = take_step(model, state, images)
    assert outputs.shape == (2, CLASSES)
    assert outputs.isfinite().all()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing
    if not config.optimizer.momentum:  # type: ignore[attr-defined]
        return
    Checkpoints(folder, "key").save(model, state, CPU)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.zero_()
    resumed = fresh_state(config, other)
    assert Checkpoints(folder, "key").restore(other, resumed, CPU)
    assert resumed.step == state.step == 1
    assert differing(other.state_dict(), model.state_dict()) == set()
    assert state.optimizer is not None
    assert resumed.optimizer is not None
    before, after = (each.state_dict()["state"] for each in (state.optimizer, resumed.optimizer))
    assert before.keys() == after.keys() != set()
    assert all(torch.equal(before[key]["momentum_buffer"], after[key]["momentum_buffer"]) for key in before)
    shutil.rmtree(folder)  # of all networks they would take 40 GB


def check_parts(model: nn.Module, heads: tuple[str, ...]) -> None:
    """Check what is trained of a network of which the head, or the last stages, are trained."""

    def trained(trainable: str) -> set[str]:
        freeze(model, trainable)
        return {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    of_head = {name for name, _ in model.named_parameters() if name.startswith(heads)}
    assert trained("head") == of_head != set()
    depth = len(stages(model))
    assert depth >= 1
    parts = [of_head, *(trained(str(count)) for count in sorted({1, min(2, depth), depth}))]
    assert all(fewer < more for fewer, more in pairwise(parts))
    with pytest.raises(ConfigurationError, match=rf"the backbone has {depth} stages"):
        trained(str(depth + 1))


def check_border(model: nn.Module, trainable: str, images: Tensor) -> None:
    """Check that what crosses the border gives what the whole gives, or that there is a reason for none."""
    freeze(model, trainable)
    try:
        border = find_border(model, images.shape[-1], CPU)
    except UncuttableError as error:
        assert str(error)
        return
    if border is None:  # as of Twins, of which the last stage has a layer that is asked before any other
        assert trainable != "head"
        return
    with torch.no_grad():
        whole = model.eval()(images)
        features = frozen_output(model, border, images)
        with from_border(model, border):
            assert torch.equal(model(features), whole)
