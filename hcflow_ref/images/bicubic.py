"""MATLAB's bicubic resizing (`imresize`): antialiased, a = −0.5, symmetric border.

"Bicubic" means this function throughout. PyTorch's antialiased bicubic differs from it by up to
8/255, and Pillow treats borders differently.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

A = -0.5
"""The cubic kernel's free parameter."""

SUPPORT = 4.0
"""Width of the cubic kernel."""


def _cubic(t: Tensor) -> Tensor:
    """Keys' cubic kernel at distance `t`; 0 from distance 2 on."""
    t = t.abs()
    near = (A + 2) * t**3 - (A + 3) * t**2 + 1
    far = A * t**3 - 5 * A * t**2 + 8 * A * t - 4 * A
    return torch.where(t <= 1, near, torch.where(t < 2, far, torch.zeros_like(t)))


@functools.lru_cache(maxsize=4)  # both axes, down and up
def resize_matrix(inputs: int, outputs: int) -> Tensor:
    """The float64 matrix, `outputs` × `inputs`, that resizes one axis; each row sums to 1.

    Pixels are centred (`u = (i + ½) · inputs/outputs − ½`); downscaling widens the kernel by the
    scale; samples beyond a border are mirrored with the edge pixel repeated.
    """
    step = inputs / outputs
    stretch = max(step, 1.0)
    width = SUPPORT * stretch
    centre = (torch.arange(outputs, dtype=torch.float64) + 0.5) * step - 0.5
    taps = math.ceil(width) + 2
    first = torch.floor(centre - width / 2)
    position = first[:, None] + torch.arange(taps, dtype=torch.float64)
    weight = _cubic((centre[:, None] - position) / stretch)
    weight = weight / weight.sum(1, keepdim=True)
    mirrored = position.long() % (2 * inputs)
    mirrored = torch.where(mirrored < inputs, mirrored, 2 * inputs - 1 - mirrored)
    matrix = torch.zeros(outputs, inputs, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored, weight)


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Resize `x`, N×C×H×W of any float type, to `height` × `width`; not clipped.

    Raises:
        ValueError: a size is below 1.
    """
    if min(height, width, *x.shape[2:]) < 1:
        raise ValueError(f"cannot resize {tuple(x.shape)} to {height}×{width}: empty side")
    rows = resize_matrix(x.shape[2], height).to(x)
    columns = resize_matrix(x.shape[3], width).to(x)
    return rows @ x @ columns.T


def downscale(x: Tensor, scale: int) -> Tensor:
    """N×C×sH×sW → N×C×H×W.

    Raises:
        ValueError: a side is not a multiple of `scale`.
    """
    height, width = x.shape[2:]
    if height % scale or width % scale:
        raise ValueError(f"cannot downscale {height}×{width} by {scale}: crop to a multiple first")
    return resize(x, height // scale, width // scale)


def upscale(x: Tensor, scale: int) -> Tensor:
    """N×C×H×W → N×C×sH×sW."""
    return resize(x, x.shape[2] * scale, x.shape[3] * scale)
