"""Exponential moving average of the weights, which is validated and shipped."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Network = TypeVar("Network", bound=nn.Module)


def averaged_copy(model: Network) -> Network:
    """A copy of the network to hold the average, in eval mode and without gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def update(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """`average ← decay · average + (1 − decay) · model` of every parameter.

    Early on the decay is lower, so that the average spans the last third or so of the steps taken.
    """
    decay = min(decay, (1 + step) / (4 + step))
    # Not `AveragedModel`: its first update copies, and its keys are not those of saved states.
    average_into = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    average_into(tuple(average.parameters()), tuple(model.parameters()), step)
