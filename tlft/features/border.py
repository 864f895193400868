"""Where a network can be cut in two: a frozen part, which says the same of an image in every epoch, and the rest.

The border is the input of the first part of the network, in the order of its forward pass, that is trained or draws
random numbers. A trial shows that the two halves give the bits of the whole; where they do not, nothing is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tlft.errors import one_line
from tlft.models.freeze import changing_state, put_state, set_training_mode
from tlft.runtime.device import Machine

_RANDOM = ("StochasticDepth", "DropPath", "DropBlock2d", "DropBlock3d", "PatchDropout", "PatchDropoutWithIndices")
"""Layers of torchvision and timm that draw random numbers in training, beside PyTorch's own dropout."""


_MOST_CANDIDATES = 10

_LEAST_SHARE = 0.5
"""Of the frozen parameters must come before the border: else much would be kept, and little saved."""


class UncuttableError(Exception):
    """Say in a few words why a network cannot be cut in two."""


class FailedTrialError(UncuttableError):
    """Say what a trial met that may be otherwise another time, such as too little memory."""


@dataclass(frozen=True)
class Border:
    """Where a network is cut, in plain JSON types.

    Attributes:
        image: shape of an image, the network's input.
        module: the part whose input crosses the border.
        is_last: whether the output of that part is the output of the network, so that the rest is this part alone.
        skipped: parts before it, each with the shape of its output for one image; empty if `is_last`.
        shape: of what crosses the border, for one image.
        dtype: of that, by its name in torch.
        channels_last: whether that lies in memory with the channels last.
    """

    image: list[int]
    module: str
    is_last: bool
    skipped: dict[str, list[int]]
    shape: list[int]
    dtype: str
    channels_last: bool


def find_border(model: nn.Module, size: int, machine: Machine) -> Border | None:
    """Cut a network whose frozen parts require no gradients; None if nothing that is frozen comes first.

    Args:
        model: stays as it is.
        size: width and height of its input.
        machine: where the trial is done, and in which precision.

    Raises:
        UncuttableError: if the halves would not give, bit for bit, what the whole gives.
        FailedTrialError: if that could not be found out.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, size, size, generator=generator).to(machine.device, memory_format=torch.channels_last)
    gpus = [machine.device] if machine.device.type == "cuda" else []
    before = {name: tensor.clone() for name, tensor in changing_state(model).items()}  # a trial moves averages
    set_training_mode(model)
    try:
        with torch.random.fork_rng(devices=gpus), torch.no_grad(), machine.autocast():
            return _find(model, images)
    except UncuttableError:
        raise
    except Exception as error:  # whatever code of a network raises that it was not written for
        raise FailedTrialError(f"a trial failed: {one_line(error)[:160]}") from None
    finally:
        put_state(model, before)


def _find(model: nn.Module, images: Tensor) -> Border | None:
    """Return the border next to what is trained that is proved to be one."""
    trace = _trace(model, images[:2])
    modules = dict(model.named_modules())
    first = next((index for index, call in enumerate(trace.calls) if _is_active(modules[call.name])), None)
    if first is None:
        raise UncuttableError("no part of it is called that is trained")
    reason = ""
    for index in _candidates(trace, first)[:_MOST_CANDIDATES]:
        earlier = _earlier(trace, index)
        skipped = sum(_count_parameters(modules[call.name]) for call in earlier)
        if not skipped and not reason:
            if any(_has_own_parameters(modules[call.name]) for call in trace.calls[:first]):
                raise UncuttableError("no part of it stands between what is frozen and what is trained")
            return None
        if skipped < _LEAST_SHARE * sum(p.numel() for p in model.parameters() if not p.requires_grad):
            reason = reason or "too little of what is frozen comes before what is trained"
            break
        try:
            border = _border_at(trace, index, earlier, list(images.shape[1:]))
            _prove(model, border, images)
        except UncuttableError as error:
            reason = reason or str(error)
        else:
            return border
    raise UncuttableError(reason)


@dataclass(frozen=True)
class _Call:
    """One call of a part of the network: its name, what it was given, and what it gave."""

    name: str
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    output: list[Any]


@dataclass(frozen=True)
class _Trace:
    """The calls of one forward pass, in the order in which they began, and its output."""

    calls: list[_Call]
    output: Any


def _trace(model: nn.Module, images: Tensor) -> _Trace:
    calls: list[_Call] = []
    open_calls: list[_Call] = []

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
            calls.append(_Call(name, inputs, options, []))
            open_calls.append(calls[-1])

        return hook

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        open_calls.pop().output.append(output)

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if name:
                hooks.callback(module.register_forward_pre_hook(enter(name), with_kwargs=True).remove)
                hooks.callback(module.register_forward_hook(leave).remove)
        return _Trace(calls, model(images))


def _count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _around(name: str) -> list[str]:
    """Return the names of the parts in which a part lies, itself first."""
    return [name.rsplit(".", cut)[0] for cut in range(name.count(".") + 1)]


def _candidates(trace: _Trace, first: int) -> list[int]:
    """Return the calls at whose inputs a network may be cut, best first.

    Best is the largest part that begins with the first active layer; then come what is called before and around it, one
    after the other, since that may be needed for more than this layer (as by a residual connection).
    """
    names = [call.name for call in trace.calls]
    around = _around(names[first])
    largest = first
    while largest and names[largest - 1] in around:
        largest -= 1
    return [
        largest,
        *(index for index in range(first - 1, -1, -1) if index != largest and _stands_alone(names, index, around)),
    ]


def _stands_alone(names: list[str], index: int, around: list[str]) -> bool:
    """Tell whether a call is of a part around the first active layer, or of a largest part that came before it."""
    return names[index] in around or names[index].rpartition(".")[0] in ("", *around)


def _earlier(trace: _Trace, index: int) -> list[_Call]:
    """Return the calls before one, of largest parts: not of those in which it lies, and not of parts of parts."""
    around = _around(trace.calls[index].name)
    before = [call for call in trace.calls[:index] if call.name not in around]
    return [call for call in before if call.name.rpartition(".")[0] in ("", *around)]


def _border_at(trace: _Trace, index: int, earlier: list[_Call], image: list[int]) -> Border:
    call = trace.calls[index]
    if sum(other.name == call.name for other in trace.calls) > 1:
        raise UncuttableError(f"{call.name} is called more than once")
    if not (call.inputs and _is_batch(call.inputs[0])):
        raise UncuttableError(f"{call.name} takes more than a tensor")
    is_last = call.output[0] is trace.output and len(call.inputs) == 1 and not call.options
    features = call.inputs[0]
    in_last = features.dim() == 4 and features.is_contiguous(memory_format=torch.channels_last)
    return Border(
        image=image,
        module=call.name,
        is_last=is_last,
        skipped={} if is_last else _shapes(earlier),
        shape=list(features.shape[1:]),
        dtype=str(features.dtype).removeprefix("torch."),
        channels_last=in_last and not features.is_contiguous(),
    )


def _is_active(module: nn.Module) -> bool:
    """Tell whether a layer is trained, or gives something else in training each time."""
    if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
        return True
    if not module.training:
        return False
    probability = next((getattr(module, name) for name in ("p", "drop_prob", "prob") if hasattr(module, name)), 1.0)
    is_random = isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ in _RANDOM
    return (is_random and probability != 0) or isinstance(module, nn.modules.batchnorm._NormBase)


def _has_own_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _is_batch(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == 2 and value.is_floating_point()


def _shapes(calls: list[_Call]) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for call in calls:
        output: Any = call.output[0] if call.output else None
        shape = list(output.shape[1:]) if _is_batch(output) else None
        if shape is None or shapes.get(call.name, shape) != shape:
            raise UncuttableError(f"{call.name} gives more than a tensor")
        shapes[call.name] = shape
    return shapes


def _prove(model: nn.Module, border: Border, images: Tensor) -> None:
    """Raise UncuttableError unless the halves give the bits of the whole, and an image's do not depend on another's."""
    pair, turned = images[:2], images[[2, 0]]
    features, other = frozen_output(model, border, pair), frozen_output(model, border, turned)
    if not torch.equal(features[0], other[1]):
        raise UncuttableError("what it says of an image depends on those beside it")
    for training, given, whole_images in ((True, features, pair), (False, other, turned)):
        set_training_mode(model) if training else model.eval()
        torch.manual_seed(0)
        whole = model(whole_images)
        torch.manual_seed(0)
        with from_border(model, border):
            halves = model(given)
        if not torch.equal(whole, halves):
            raise UncuttableError(f"from {border.module} on it needs more than what {border.module} is given")


class _ReachedError(Exception):
    """Carry what has reached the border out of a forward pass, whose rest is not needed."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


def frozen_output(model: nn.Module, border: Border, images: Tensor) -> Tensor:
    """Return what crosses the border for images, [b, 3, size, size]: [b, *border.shape]; leaves evaluation mode on."""

    def stop(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise _ReachedError(inputs[0])

    model.eval()
    hook = model.get_submodule(border.module).register_forward_pre_hook(stop)
    try:
        model(images)
    except _ReachedError as reached:
        return reached.features
    finally:
        hook.remove()
    raise UncuttableError(f"{border.module} was not reached")


@contextmanager
def from_border(model: nn.Module, border: Border) -> Iterator[None]:
    """Have the network take, within the block, what crosses the border, [b, *border.shape], in place of images.

    Parts before the border are not called; what the network itself does between them is done to numbers that are no
    numbers (NaN), so that it shows if anything of them reached the output.
    """
    part = model.get_submodule(border.module)
    with ExitStack() as undone:

        def replace(module: nn.Module, forward: Callable[..., Any]) -> None:
            module.forward = forward
            undone.callback(delattr, module, "forward")

        if border.is_last:
            replace(model, part.__call__)  # the module itself would become a part of the network
            yield
            return
        whole, crossing = model.forward, list[Tensor]()

        def forward(features: Tensor) -> Any:
            crossing[:] = [features]
            return whole(_nothing(features, border.image))

        for name, shape in border.skipped.items():
            replace(model.get_submodule(name), _placeholder(crossing, shape))
        hook = part.register_forward_pre_hook(lambda module, inputs: (crossing[0], *inputs[1:]))
        undone.callback(hook.remove)
        replace(model, forward)
        yield


def _placeholder(crossing: list[Tensor], shape: list[int]) -> Callable[..., Tensor]:
    return lambda *inputs, **options: _nothing(crossing[0], shape)


def _nothing(features: Tensor, shape: list[int]) -> Tensor:
    """Return a batch of NaN that takes no memory."""
    return features.new_full((), float("nan")).expand(len(features), *shape)
