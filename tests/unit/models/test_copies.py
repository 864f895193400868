from __future__ import annotations

import timm
import torch
from networks import differing
from torch import nn

from tlft.models.copies import Original
from tlft.models.memory_order import to_channels_last


def test_a_copy_has_all_that_its_original_has_and_shares_nothing() -> None:
    model = to_channels_last(timm.create_model("test_efficientnet")).eval()
    next(model.parameters()).requires_grad_(False)
    original = Original(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    copy, images = original.copy(), torch.rand(1, 3, 32, 32)
    assert str(copy) == str(model)
    assert not copy.training
    assert torch.equal(copy(images), model(images))
    for (name, ours), (_, theirs) in zip(copy.named_parameters(), model.named_parameters(), strict=True):
        assert (ours.requires_grad, ours.stride()) == (theirs.requires_grad, theirs.stride()), name
    with torch.no_grad():
        for tensor in (*copy.parameters(), *copy.buffers()):
            tensor.zero_()
    assert differing(model.state_dict(), before) == set()
    assert differing(original.copy().state_dict(), before) == set()


def test_weights_that_layers_share_are_shared_in_a_copy_too() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    copy = Original(model).copy()
    assert isinstance(copy, nn.Sequential)
    assert copy[1].weight is copy[0].weight
    assert copy[0].weight is not model[0].weight


def test_a_network_that_cannot_be_written_down_is_copied_all_the_same() -> None:
    model = nn.Linear(3, 3)
    model.forward = lambda images: images  # type: ignore[method-assign, assignment]
    copy = Original(model).copy()
    assert copy is not model
    assert torch.equal(copy(torch.ones(3)), torch.ones(3))
    assert copy.weight is not model.weight
