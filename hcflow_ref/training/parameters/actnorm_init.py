"""Data-dependent initialisation of ActNorms: output of mean 0 and variance 1 per channel."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hcflow_ref.network.layers import ActNorm

EPSILON = 1e-6


def _set_from_data(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    assert isinstance(layer, ActNorm)
    if layer.bias.detach().any():
        return
    v = inputs[0].detach().float()
    mean = v.mean((0, 2, 3), keepdim=True)
    sigma = (v - mean).square().mean((0, 2, 3), keepdim=True).sqrt()
    with torch.no_grad():
        layer.bias.copy_(-mean)
        layer.logs.copy_(-torch.log(sigma + EPSILON))


@contextmanager
def initialising(model: nn.Module, leave: Collection[nn.Module] = ()) -> Iterator[None]:
    """Within, every ActNorm whose bias is all zero is set from the batch that reaches it.

    Those of the flow and those inside FCNs alike, as the official schedule has it; but not those
    in `leave`.
    """
    handles = [
        layer.register_forward_pre_hook(_set_from_data)
        for layer in model.modules()
        if isinstance(layer, ActNorm) and layer not in leave
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
