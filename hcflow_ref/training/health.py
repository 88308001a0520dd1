"""NaN, infinity and exploding inverses: seen at the step they happen, and named by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

EXPLODED = 1e3
"""A weighted loss on images in [0, 1] beyond this means that the inverse has exploded."""

IMAGE_LOSSES = frozenset({"hr", "lr", "l1"})


def unhealthy(losses: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the losses of a step, or None."""
    for name, loss in losses.items():
        value = loss.item()
        if not math.isfinite(value):
            return f"loss '{name}' is {value}"
        if name in IMAGE_LOSSES and value > EXPLODED:
            return f"loss '{name}' is {value:.3g}: the inverse has exploded"
    return None


def _finite(output: object) -> bool:
    if isinstance(output, Tensor):
        return bool(torch.isfinite(output).all())
    if isinstance(output, tuple | list):
        return all(_finite(item) for item in output)
    return True


def first_bad_layer(model: nn.Module, run: Callable[[], object]) -> str | None:
    """The first layer whose output is not finite when `run` runs again; a bad weight counts first.

    Layers that only `inverse` uses are seen through the networks they contain.
    """
    for name, parameter in model.named_parameters():
        if not _finite(parameter):
            return name
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if not found and not _finite(output):
                found.append(name)

        return hook

    handles = [
        layer.register_forward_hook(watch(name)) for name, layer in model.named_modules() if name
    ]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def first_bad_gradient(model: nn.Module) -> str | None:
    """The first parameter whose gradient is not finite."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not _finite(parameter.grad):
            return name
    return None
