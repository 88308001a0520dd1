"""Initialises ActNorms from data, so that every output channel has mean 0 and variance 1."""

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
def initialising(model: nn.Module, skip: Collection[nn.Module] = ()) -> Iterator[None]:
    """Set every ActNorm whose bias is all zero from the first batch that reaches it.

    As in the official training, this includes those inside FCNs; those in `skip` are left alone.
    """
    handles = [
        layer.register_forward_pre_hook(_set_from_data)
        for layer in model.modules()
        if isinstance(layer, ActNorm) and layer not in skip
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
