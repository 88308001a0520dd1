"""IRN, the previous invertible network for rescaling: HR image ⇄ LR image and one latent.

Xiao et al., "Invertible Image Rescaling", ECCV 2020; docs/network.md, 8. Same interface as HCFlow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hcflow_ref.network.blocks import CouplingDenseBlock
from hcflow_ref.network.hcflow import Encoding, check_latents
from hcflow_ref.network.layers import HAAR, haar, haar_inverse, haar_log_det, sum_per_image

LR_CHANNELS = 3


@dataclass(frozen=True)
class IRNConfig:
    """An IRN: for each level, finest first, its blocks and the growth of their dense blocks."""

    blocks: tuple[int, ...]
    growth: tuple[int, ...]

    @property
    def task(self) -> Literal["rescaling"]:
        """Always rescaling."""
        return "rescaling"

    @property
    def scale(self) -> int:
        """Pixels of HR per pixel of LR along one side."""
        return int(2 ** len(self.blocks))

    def latent_shapes(self, height: int, width: int) -> tuple[tuple[int, int, int]]:
        """The shape `(C, H, W)` of the one latent for an LR image of `height` × `width`."""
        return ((3 * 4 ** len(self.blocks) - LR_CHANNELS, height, width),)

    @property
    def default_tau(self) -> float:
        """The official sampling temperature."""
        return 1.0


IRN_X4 = IRNConfig((8, 8), (32, 32))
"""The published ×4 network, 4 355 376 parameters."""


class HaarSqueeze(nn.Module):
    """C → 4C channels at half size; keeps the ±1 filters that official checkpoints store."""

    haar_weights: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("haar_weights", HAAR.float().unsqueeze(1).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x → (bands, log-det)`."""
        return haar(x), haar_log_det(x)

    def inverse(self, x: Tensor) -> Tensor:
        """Inverse of `forward`."""
        return haar_inverse(x)


class IRNBlock(nn.Module):
    """A coupling between the first 3 channels `v1` and the rest `v2`, in both directions.

    `v1 + F(v2)`, then `v2 · exp(s) + G(v1)` with `s = 2 · sigmoid(H(v1)) − 1`.
    """

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        rest = channels - LR_CHANNELS
        self.F = CouplingDenseBlock(rest, LR_CHANNELS, growth)
        self.G = CouplingDenseBlock(LR_CHANNELS, rest, growth)
        self.H = CouplingDenseBlock(LR_CHANNELS, rest, growth)

    def _log_scale(self, v1: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.H(v1)) - 1

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """`v → (v', log-det [N])`."""
        v1, v2 = v[:, :LR_CHANNELS], v[:, LR_CHANNELS:]
        v1 = v1 + self.F(v2)
        s = self._log_scale(v1)
        return torch.cat([v1, v2 * torch.exp(s) + self.G(v1)], 1), sum_per_image(s)

    def inverse(self, v: Tensor) -> Tensor:
        """`v' → v`."""
        v1, v2 = v[:, :LR_CHANNELS], v[:, LR_CHANNELS:]
        v2 = (v2 - self.G(v1)) / torch.exp(self._log_scale(v1))
        return torch.cat([v1 - self.F(v2), v2], 1)


class IRN(nn.Module):
    """HR image ⇄ LR image and latent, exact both ways; its parameter names are the official ones.

    A new network is the identity up to its squeezes: couplings start at zero.
    """

    def __init__(self, config: IRNConfig) -> None:
        super().__init__()
        self.config = config
        operations: list[nn.Module] = []
        channels = 3
        for blocks, growth in zip(config.blocks, config.growth, strict=True):
            operations.append(HaarSqueeze(channels))
            channels *= 4
            operations += [IRNBlock(channels, growth) for _ in range(blocks)]
        self.operations = nn.ModuleList(operations)

    def _steps(self) -> Iterator[HaarSqueeze | IRNBlock]:
        return (op for op in self.operations if isinstance(op, HaarSqueeze | IRNBlock))

    def forward(self, hr: Tensor) -> Encoding:
        """Encode `hr`, N×3×sH×sW in [0, 1]; `logp` assumes a standard normal latent."""
        v, logp = hr, hr.new_zeros(hr.shape[0])
        for step in self._steps():
            v, log_det = step(v)
            logp = logp + log_det
        lr, z = v[:, :LR_CHANNELS], v[:, LR_CHANNELS:]
        logp = logp - sum_per_image(0.5 * (z * z + math.log(2 * math.pi)))
        return Encoding(lr, (z,), logp)

    def inverse(self, lr: Tensor, latents: Sequence[Tensor]) -> Tensor:
        """Decode `lr`, N×3×H×W, with the latent already multiplied by τ: HR, unclipped.

        Raises:
            ValueError: there is not exactly one latent.
        """
        check_latents(latents, 1)
        v = torch.cat([lr, latents[0]], 1)
        for step in reversed(list(self._steps())):
            v = step.inverse(v)
        return v

    def zero_latents(self, lr: Tensor) -> tuple[Tensor, ...]:
        """The latent at τ = 0 for `lr`, N×3×H×W."""
        (shape,) = self.config.latent_shapes(lr.shape[2], lr.shape[3])
        return (lr.new_zeros(lr.shape[0], *shape),)
