"""The folding algebra: everything that is constant at inference, multiplied out in float64.

Each function turns pieces of the reference into the weights of one convolution (docs/folding.md).
Weights come back in float64 and are rounded once, when a deploy module takes them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hcflow_ref.network.blocks import RESIDUAL_SCALE, NormedConv, ScaledConv
from hcflow_ref.network.hcflow import Level
from hcflow_ref.network.layers import HAAR, ActNorm
from hcflow_ref.network.steps import AffineStep


class Affine(NamedTuple):
    """`x ↦ matrix · x + bias` on the channels of every pixel; matrix [O, I], bias [O], float64."""

    matrix: Tensor
    bias: Tensor

    def then(self, other: Affine) -> Affine:
        """The map that does this one and then the other: one matrix, one bias."""
        return Affine(other.matrix @ self.matrix, other.matrix @ self.bias + other.bias)

    def inverse(self) -> Affine:
        """The map that undoes this one."""
        inverse = torch.linalg.inv(self.matrix)
        return Affine(inverse, -inverse @ self.bias)


class Kernel(NamedTuple):
    """Weight [O, I, kh, kw] and bias [O] of one convolution, float64."""

    weight: Tensor
    bias: Tensor


def actnorm(layer: ActNorm) -> Affine:
    """`(v + bias) · exp(logs)` as an affine map."""
    scale = layer.logs.double().flatten().exp()
    return Affine(torch.diag(scale), layer.bias.double().flatten() * scale)


def step_linear(step: AffineStep) -> Affine:
    """A flow step's affine map before its coupling: ActNorm and 1×1 convolution."""
    affine = actnorm(step.actnorm)
    weight = step.permute.weight.double()
    return affine.then(Affine(weight, torch.zeros_like(affine.bias)))


def squeeze(level: Level, channels: int) -> Affine:
    """A level's squeeze of `channels` as a matrix on space-to-depth's channels `4c + 2dy + dx`.

    The identity for SR; for rescaling the Haar bands, band-major, divided by 4.
    """
    if level.haar:
        return haar(channels)
    zero = torch.zeros(4 * channels, dtype=torch.float64)
    return Affine(torch.eye(4 * channels, dtype=torch.float64), zero)


def haar(channels: int) -> Affine:
    """The Haar bands of `channels`, band-major, on space-to-depth's channels."""
    bands = HAAR.double().reshape(4, 4) / 4
    matrix = torch.einsum("bp,cd->bcdp", bands, torch.eye(channels, dtype=torch.float64))
    matrix = matrix.reshape(4 * channels, 4 * channels)
    return Affine(matrix, torch.zeros(4 * channels, dtype=torch.float64))


def stride2(affine: Affine) -> Kernel:
    """Space-to-depth and then an affine map: one 2×2 convolution of stride 2."""
    outputs, inputs = affine.matrix.shape
    return Kernel(affine.matrix.reshape(outputs, inputs // 4, 2, 2), affine.bias)


def pointwise(affine: Affine) -> Kernel:
    """An affine map as a 1×1 convolution."""
    return Kernel(affine.matrix[:, :, None, None], affine.bias)


def normed(conv: NormedConv) -> Kernel:
    """A convolution without bias and the ActNorm behind it."""
    affine = actnorm(conv.actnorm)
    return Kernel(conv.weight.double() * affine.matrix.diagonal()[:, None, None, None], affine.bias)


def scaled(conv: ScaledConv) -> Kernel:
    """A convolution and the `exp(3 · logs)` behind it."""
    scale = (3 * conv.logs.double()).exp()
    return Kernel(conv.weight.double() * scale[..., None], conv.bias.double() * scale.flatten())


def plain(conv: torch.nn.Conv2d) -> Kernel:
    """A convolution unchanged."""
    assert conv.bias is not None
    return Kernel(conv.weight.double(), conv.bias.double())


def reading(kernel: Kernel, scale: Tensor) -> Kernel:
    """A convolution whose first inputs are held as `x` and mean `scale · x`."""
    weight = kernel.weight.clone()
    weight[:, : len(scale)] *= scale[:, None, None]
    return Kernel(weight, kernel.bias)


def residual(kernel: Kernel) -> Kernel:
    """The 0.2 of a residual dense block, inside its last convolution."""
    return Kernel(kernel.weight * RESIDUAL_SCALE, kernel.bias * RESIDUAL_SCALE)


def deinterleave(kernel: Kernel, even: float, odd: float) -> Kernel:
    """Outputs `0, 2, 4, …` times `even`, then `1, 3, 5, …` times `odd`: a split is contiguous."""

    def reorder(x: Tensor) -> Tensor:
        return torch.cat([even * x[0::2], odd * x[1::2]])

    return Kernel(reorder(kernel.weight), reorder(kernel.bias))
