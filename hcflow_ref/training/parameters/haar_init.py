"""Initialisation for short super-resolution runs: the LR image starts as the box-downscaled image.

The official initialisation is a random orthogonal matrix in every 1×1 convolution: training first
has to find the LR image. Here the first matrix of a level is a Haar transform and the others
permute channels, so that training works on details from the first step.
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
    bands, luma before the two chromas; then all other channels unchanged.
    """
    bands = HAAR.reshape(4, 4).double() / 2
    average = torch.kron(torch.eye(3, dtype=torch.float64), bands[:1] / 2)
    luma = torch.kron(COLOUR[:1], bands[1:])
    chroma = torch.kron(COLOUR[1:], bands[1:])
    matrix = torch.eye(4 * entering, dtype=torch.float64)
    matrix[:12, :12] = torch.cat([average, luma, chroma])
    return matrix


def channel_orders(channels: int, steps: int) -> list[Tensor]:
    """For each main step the indices of the channels in the order its coupling sees them.

    The first half of the channels drives the second. In every other step the first three channels
    are driven: in turn by the details after them and by the second half. The last order is the
    identity.
    """
    index = torch.arange(channels)
    half = channels // 2
    after = torch.cat([index[3 : 3 + half], index[:3], index[3 + half :]])
    second = torch.cat([index[half:], index[:half]])
    driven = (after, second)
    return [index if back % 2 == 0 else driven[back // 2 % 2] for back in reversed(range(steps))]


@torch.no_grad()
def initialise_from_haar(model: HCFlow) -> None:
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
    """The main steps' ActNorms: set from data they would take y out of the range of an image."""
    levels = [module for module in model.modules() if isinstance(module, Level)]
    steps = [step for level in levels for step in level.steps]
    return {step.actnorm for step in steps if isinstance(step, AffineStep)}
