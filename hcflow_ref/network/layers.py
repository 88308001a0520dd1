"""The invertible layers of a flow step, each with its inverse and log-determinant.

docs/network.md, 2 and 3. Tensors are N×C×H×W; log-determinants are per image, [N] or scalar.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HAAR = torch.tensor([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]])
"""The four ±1 filters `[band][dy][dx]`: average, horizontal, vertical, diagonal."""

COUPLING_SLOPE = 0.318
"""The factor in affine couplings; a literal of the official code, not 1/π."""


def space_to_depth(x: Tensor) -> Tensor:
    """N×C×2H×2W → N×4C×H×W, channel `4c + 2dy + dx` from `c` at offset `(dy, dx)`."""
    return F.pixel_unshuffle(x, 2)


def depth_to_space(x: Tensor) -> Tensor:
    """Inverse of `space_to_depth`."""
    return F.pixel_shuffle(x, 2)


def _swap_groups(x: Tensor, groups: int) -> Tensor:
    """Channels from group-major to member-major order: for `groups` × M channels, M × `groups`."""
    n, channels, height, width = x.shape
    grouped = x.reshape(n, groups, channels // groups, height, width)
    return grouped.transpose(1, 2).reshape(x.shape)


def haar(x: Tensor) -> Tensor:
    """N×C×2H×2W → N×4C×H×W Haar bands, band-major, divided by 4. log-det: `haar_log_det`."""
    channels = x.shape[1]
    filters = HAAR.to(x).unsqueeze(1).repeat(channels, 1, 1, 1) / 4
    bands = F.conv2d(x, filters, stride=2, groups=channels)
    return _swap_groups(bands, channels)


def haar_inverse(x: Tensor) -> Tensor:
    """Inverse of `haar`: the transposed convolution with the undivided filters."""
    channels = x.shape[1] // 4
    filters = HAAR.to(x).unsqueeze(1).repeat(channels, 1, 1, 1)
    bands = _swap_groups(x, 4)
    return F.conv_transpose2d(bands, filters, stride=2, groups=channels)


def haar_log_det(x: Tensor) -> Tensor:
    """`−ln 16` per 2×2 block and channel of the input `x`, N×C×2H×2W."""
    blocks = x.shape[1] * (x.shape[2] // 2) * (x.shape[3] // 2)
    return x.new_tensor(-blocks * math.log(16))


class ActNorm(nn.Module):
    """Per-channel affine map `(v + bias) · exp(logs)`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.logs = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, v: Tensor) -> Tensor:
        """`(v + bias) · exp(logs)`."""
        return (v + self.bias) * torch.exp(self.logs)

    def inverse(self, v: Tensor) -> Tensor:
        """`v · exp(−logs) − bias`."""
        return v * torch.exp(-self.logs) - self.bias

    def log_det(self, v: Tensor) -> Tensor:
        """`H · W · Σ logs`, the same for every image."""
        return self.logs.sum() * (v.shape[2] * v.shape[3])


class InvertibleConv1x1(nn.Module):
    """A `C`×`C` matrix on the channels; inverse and determinant are computed in float64."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(channels, channels)))

    def forward(self, v: Tensor) -> Tensor:
        """`W · v` for every pixel."""
        return F.conv2d(v, self.weight[:, :, None, None])

    def inverse(self, v: Tensor) -> Tensor:
        """`W⁻¹ · v` for every pixel."""
        inverse = torch.linalg.inv(self.weight.double()).to(v.dtype)
        return F.conv2d(v, inverse[:, :, None, None])

    def log_det(self, v: Tensor) -> Tensor:
        """`H · W · log|det W|`."""
        log_abs = torch.linalg.slogdet(self.weight.double()).logabsdet
        log_det: Tensor = log_abs.to(v.dtype) * (v.shape[2] * v.shape[3])
        return log_det


def shift_and_log_scale(h: Tensor) -> tuple[Tensor, Tensor]:
    """A coupling network's output: `shift = h[0::2]`, `logscale = 0.318 · atan(2 · h[1::2])`."""
    return h[:, 0::2], COUPLING_SLOPE * torch.atan(2 * h[:, 1::2])


def sum_per_image(x: Tensor) -> Tensor:
    """N×C×H×W → [N]."""
    return x.flatten(1).sum(1)
