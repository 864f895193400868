"""Describe a network to people: its layers, their sizes, and which of them are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def output_shapes(model: nn.Module, crop: int) -> list[tuple[nn.Module, torch.Size | None]]:
    """Return the layers that one image passes, in order, with the shape of each output, or None if it is no tensor.

    The model is left in evaluation mode.
    """
    shapes: list[tuple[nn.Module, torch.Size | None]] = []

    def note(module: nn.Module, _: object, output: object) -> None:
        shapes.append((module, output.shape if isinstance(output, Tensor) else None))

    hooks = [module.register_forward_hook(note) for module in model.modules() if not list(module.children())]
    with torch.inference_mode():
        model.eval()(torch.zeros(1, 3, crop, crop, device=next(model.parameters()).device))
    for hook in hooks:
        hook.remove()
    return shapes


def summarize(model: nn.Module, crop: int) -> str:
    """List every layer with its output shape (for one image), its parameters, and whether it is trained."""
    names = {module: name for name, module in model.named_modules()}
    rows = [("layer", "type", "output", "parameters", "state")]
    for module, shape in output_shapes(model, crop):
        weights = list(module.parameters())
        state = "-" if not weights else "trained" if any(p.requires_grad for p in weights) else "frozen"
        size = "-" if shape is None else "x".join(map(str, shape[1:]))
        rows.append((names[module], type(module).__name__, size, f"{sum(p.numel() for p in weights):,}", state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return "\n".join([*lines, "", f"{total:,} parameters, {trained:,} of them trained", ""])
