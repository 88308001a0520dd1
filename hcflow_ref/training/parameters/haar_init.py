"""A start for a short super-resolution run: y begins as the box-downscaled image.

The official start is a random orthogonal matrix in every 1×1 convolution, from which the main steps
have to find the LR image first. Here the first matrix of a level is a Haar transform and the others
permute channels, so that the first training step already works on details.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hcflow_ref.network.hcflow import HCFlow, Level
from hcflow_ref.network.layers import HAAR
from hcflow_ref.network.steps import AffineStep

COLOUR = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
COLOUR = COLOUR / COLOUR.norm(dim=1, keepdim=True)
"""Rows: luma, two chromas; orthonormal."""


def haar_matrix(entering: int) -> Tensor:
    """The matrix, `4·entering` square in float64, on the output of space-to-depth.

    Rows: 2×2 averages of the first three channels (RGB); then, orthonormal, their details in three
    bands, luma before the two chromas; then all other channels as they come.
    """
    bands = HAAR.reshape(4, 4).double() / 2
    average = torch.kron(torch.eye(3, dtype=torch.float64), bands[:1] / 2)
    luma = torch.kron(COLOUR[:1], bands[1:])
    chroma = torch.kron(COLOUR[1:], bands[1:])
    matrix = torch.eye(4 * entering, dtype=torch.float64)
    matrix[:12, :12] = torch.cat([average, luma, chroma])
    return matrix


def channel_orders(channels: int, steps: int) -> list[Tensor]:
    """For every main step the order of channels its coupling sees, as indices; the last: as is.

    Every other step the first three channels are among the driven, by the details after them or by
    the second half in turn; else they are among the drivers.
    """
    index = torch.arange(channels)
    half = channels // 2
    after = torch.cat([index[3 : 3 + half], index[:3], index[3 + half :]])
    second = torch.cat([index[half:], index[:half]])
    driven = (after, second)
    return [index if back % 2 == 0 else driven[back // 2 % 2] for back in reversed(range(steps))]


@torch.no_grad()
def start_from_haar(model: HCFlow) -> None:
    """Set the 1×1 convolutions of the main steps of a new super-resolution network."""
    for level in model.levels:
        assert isinstance(level, Level)
        before: Tensor | None = None
        steps = [step for step in level.steps if isinstance(step, AffineStep)]
        channels = steps[0].permute.weight.shape[0]
        for step, order in zip(steps, channel_orders(channels, len(steps)), strict=True):
            if before is None:
                matrix = haar_matrix(channels // 4)[order]
            else:
                matrix = torch.eye(channels, dtype=torch.float64)[before.argsort()][order]
            step.permute.weight.copy_(matrix)
            before = order


def main_actnorms(model: nn.Module) -> set[nn.Module]:
    """The ActNorms that would take y out of an image's range if they were set from data."""
    levels = [module for module in model.modules() if isinstance(module, Level)]
    steps = [step for level in levels for step in level.steps]
    return {step.actnorm for step in steps if isinstance(step, AffineStep)}
