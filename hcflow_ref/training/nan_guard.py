"""Detects NaN, infinity and exploding inverses at the step they happen, and names the layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from hcflow_ref.network.layers import InvertibleConv1x1

EXPLODED = 1e3
"""A larger weighted loss on images in [0, 1] means that the inverse has exploded."""

IMAGE_LOSSES = frozenset({"hr", "lr", "l1"})


def divergence(losses: Mapping[str, Tensor]) -> str | None:
    """How the losses of a step have diverged, or None where they have not."""
    for name, loss in losses.items():
        value = loss.item()
        if not math.isfinite(value):
            return f"loss '{name}' is {value}"
        if name in IMAGE_LOSSES and value > EXPLODED:
            return f"loss '{name}' is {value:.3g}: the inverse has exploded"
    return None


def _largest(output: object) -> float:
    """The largest magnitude in tensors, nested or not; NaN where there is one."""
    if isinstance(output, Tensor):
        return output.detach().abs().max().item() if output.numel() else 0.0
    if isinstance(output, tuple | list):
        magnitudes = [_largest(item) for item in output]
        return math.nan if any(map(math.isnan, magnitudes)) else max(magnitudes, default=0.0)
    return 0.0


def _largest_feature(output: object) -> float:
    """The largest magnitude in feature maps alone: log-determinants may well be large."""
    maps = output if isinstance(output, tuple | list) else (output,)
    return max((_largest(m) for m in maps if isinstance(m, Tensor) and m.ndim == 4), default=0.0)


def first_bad_layer(model: nn.Module, run: Callable[[], object]) -> str | None:
    """The first layer whose output is not finite when `run` runs again; weights are checked first.

    Where all outputs are finite it is the first layer whose output exceeds `EXPLODED`. Layers that
    only `inverse` uses are found through the networks they contain.
    """
    for name, parameter in model.named_parameters():
        if not math.isfinite(_largest(parameter)):
            return name
    not_finite: list[str] = []
    large: list[str] = []

    def check(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if not math.isfinite(_largest(output)):
                not_finite.append(name)
            elif _largest_feature(output) > EXPLODED:
                large.append(name)

        return hook

    handles = [
        layer.register_forward_hook(check(name)) for name, layer in model.named_modules() if name
    ]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return next(iter(not_finite + large), None)


def first_bad_gradient(model: nn.Module) -> str | None:
    """The first parameter whose gradient is not finite."""
    parameters = model.named_parameters()
    return next((name for name, p in parameters if not math.isfinite(_largest(p.grad))), None)


def first_singular(model: nn.Module) -> str | None:
    """The first 1×1 convolution whose matrix has no inverse."""
    layers: dict[str, nn.Module] = dict(model.named_modules())
    for name, layer in layers.items():
        if isinstance(layer, InvertibleConv1x1):
            _, info = torch.linalg.inv_ex(layer.weight.double())
            if info.item():
                return name
    return None
