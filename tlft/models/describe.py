"""Describe a network to people: its layers, their sizes, and which of them are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def summarize(model: nn.Module, crop: int) -> str:
    """List every layer with its output shape (for one image), its parameters, and whether it is trained.

    The model is left in evaluation mode.
    """
    rows: list[tuple[str, str, str, str, str]] = []
    names = {module: name for name, module in model.named_modules() if name and not list(module.children())}

    def add_row(module: nn.Module, _: object, output: object) -> None:
        shape = "x".join(str(n) for n in output.shape[1:]) if isinstance(output, Tensor) else "-"
        weights = list(module.parameters())
        state = "-" if not weights else "trained" if any(p.requires_grad for p in weights) else "frozen"
        rows.append((names[module], type(module).__name__, shape, f"{sum(p.numel() for p in weights):,}", state))

    hooks = [module.register_forward_hook(add_row) for module in names]
    with torch.inference_mode():
        model.eval()(torch.zeros(1, 3, crop, crop, device=next(model.parameters()).device))
    for hook in hooks:
        hook.remove()
    header = ("layer", "type", "output", "parameters", "state")
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return "\n".join([line.rstrip() for line in lines] + ["", f"{total:,} parameters, {trained:,} of them trained", ""])
