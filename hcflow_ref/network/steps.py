"""Flow steps: ActNorm → 1×1 convolution (SR and conditional steps) → coupling (docs/network.md, 3).

Every step maps `v` N×C×H×W to the same shape and is invertible; `u` is the conditional feature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hcflow_ref.network.blocks import FCN, CouplingDenseBlock
from hcflow_ref.network.layers import ActNorm, InvertibleConv1x1, shift_and_log_scale, sum_per_image


class AffineStep(nn.Module):
    """ActNorm, 1×1 convolution, affine coupling: the first ⌊C/2⌋ channels drive the others.

    With `condition` > 0 the coupling network also sees a feature `u` of that many channels.
    """

    def __init__(self, channels: int, hidden: int, condition: int = 0) -> None:
        super().__init__()
        self.drivers = channels // 2
        self.actnorm = ActNorm(channels)
        self.permute = InvertibleConv1x1(channels)
        self.net = FCN(self.drivers + condition, 2 * (channels - self.drivers), hidden)

    def _shift_and_log_scale(self, v1: Tensor, u: Tensor | None) -> tuple[Tensor, Tensor]:
        return shift_and_log_scale(self.net(v1 if u is None else torch.cat([v1, u], 1)))

    def forward(self, v: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`v → (v', log-det [N])`."""
        log_det = self.actnorm.log_det(v) + self.permute.log_det(v)
        v = self.permute(self.actnorm(v))
        v1, v2 = v[:, : self.drivers], v[:, self.drivers :]
        shift, log_scale = self._shift_and_log_scale(v1, u)
        v2 = (v2 + shift) * torch.exp(log_scale)
        return torch.cat([v1, v2], 1), log_det + sum_per_image(log_scale)

    def inverse(self, v: Tensor, u: Tensor | None = None) -> Tensor:
        """`v' → v`."""
        v1, v2 = v[:, : self.drivers], v[:, self.drivers :]
        shift, log_scale = self._shift_and_log_scale(v1, u)
        v2 = v2 * torch.exp(-log_scale) - shift
        return self.actnorm.inverse(self.permute.inverse(torch.cat([v1, v2], 1)))


class ThreeChannelStep(nn.Module):
    """ActNorm, and the rescaling network's coupling between 3 channels and the rest.

    With an even `index` the first 3 drive an affine coupling of the rest; with an odd one the rest
    shift the first 3.
    """

    def __init__(self, channels: int, hidden: int, index: int) -> None:
        super().__init__()
        self.affine = index % 2 == 0
        self.actnorm = ActNorm(channels)
        rest = channels - 3
        self.net = (
            CouplingDenseBlock(3, 2 * rest, hidden)
            if self.affine
            else CouplingDenseBlock(rest, 3, hidden)
        )

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """`v → (v', log-det [N])`."""
        log_det = self.actnorm.log_det(v).expand(v.shape[0])
        v = self.actnorm(v)
        first, rest = v[:, :3], v[:, 3:]
        if self.affine:
            shift, log_scale = shift_and_log_scale(self.net(first))
            rest = (rest + shift) * torch.exp(log_scale)
            log_det = log_det + sum_per_image(log_scale)
        else:
            first = first + self.net(rest)
        return torch.cat([first, rest], 1), log_det

    def inverse(self, v: Tensor) -> Tensor:
        """`v' → v`."""
        first, rest = v[:, :3], v[:, 3:]
        if self.affine:
            shift, log_scale = shift_and_log_scale(self.net(first))
            rest = rest * torch.exp(-log_scale) - shift
        else:
            first = first - self.net(rest)
        return self.actnorm.inverse(torch.cat([first, rest], 1))
