"""Exponential moving average of the weights: what is validated and shipped."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def averaged_copy(model: Network) -> Network:
    """A copy of the network to average into, in eval mode and without gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """`average ← decay · average + (1 − decay) · model`; early on, over a third of the run."""
    decay = min(decay, (1 + step) / (4 + step))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
