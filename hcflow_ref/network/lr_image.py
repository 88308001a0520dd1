"""The LR image that a network makes of an HR image, and its rounding to 8 bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN


def encode_lr(model: HCFlow | IRN, hr: Tensor) -> Tensor:
    """N×3×sH×sW in [0, 1] → the LR image alone, N×3×H×W, neither clipped nor rounded.

    HCFlow computes no conditional flow, prior or likelihood for it.
    """
    if isinstance(model, IRN):
        return model(hr).lr  # type: ignore[no-any-return]
    x = hr
    for level in model.levels:
        x, _, _ = level.split(x)  # type: ignore[operator]
    return x


class _Round8Bit(torch.autograd.Function):
    """Clip to [0, 1] and round to 8 bits; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        return torch.round(y.clamp(0, 1) * 255) / 255

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0]


def quantise(y: Tensor) -> Tensor:
    """`round(clip(y, 0, 1) · 255) / 255` with a straight-through gradient."""
    rounded: Tensor = _Round8Bit.apply(y)  # type: ignore[no-untyped-call]
    return rounded
