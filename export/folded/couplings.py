"""The invertible parts of a deploy module, one class a part and direction-specific weights.

The flow state is float32 whatever the precision of the networks that steer it (docs/precision.md):
a coupling casts what enters its network and what comes out, and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from export.folded import algebra
from export.folded.networks import DeployFCN, conv
from hcflow_ref.network.hcflow import ConditionalFlow
from hcflow_ref.network.layers import COUPLING_SLOPE
from hcflow_ref.network.steps import AffineStep
from runtime.bundle.manifest import Direction

STATE = torch.float32
"""dtype of the flow state."""


def bounded_log_scale(s: Tensor) -> Tensor:
    """`0.318 · atan(s)`; the 2 of `atan(2s)`, and the sign of an inverse, are in the weights."""
    return COUPLING_SLOPE * torch.atan(s)


def modulate(v: Tensor, shift: Tensor, log_scale: Tensor, direction: Direction) -> Tensor:
    """Forward `(v + shift) · exp(log_scale)`, inverse `v · exp(log_scale) + shift`.

    An inverse network gives `−shift` and `−log_scale`, so that its signs cost nothing here.
    """
    if direction == "forward":
        return (v + shift) * torch.exp(log_scale)
    return v * torch.exp(log_scale) + shift


class LowPrecision(nn.Module, ABC):
    """A part whose networks run in `dtype`; what they steer stays float32."""

    def __init__(self) -> None:
        super().__init__()
        self.dtype = STATE

    @abstractmethod
    def networks(self) -> Sequence[nn.Module]:
        """What is rounded to the precision of a build."""

    def lower(self, dtype: torch.dtype) -> None:
        """Round the networks to `dtype`."""
        self.dtype = dtype
        for network in self.networks():
            network.to(dtype)


class Coupling(LowPrecision):
    """An affine coupling: its first channels, and a feature `u` where there is one, steer the rest.

    Forward on `v` N×C×H×W gives the coupled `v` and the log-scale that was applied.
    """

    def __init__(self, step: AffineStep, direction: Direction) -> None:
        super().__init__()
        self.direction: Direction = direction
        sign = 1.0 if direction == "forward" else -1.0
        self.driven = step.actnorm.bias.shape[1] - step.drivers
        self.sizes = [step.drivers, self.driven]
        last = algebra.deinterleave(algebra.scaled(step.net.conv3), even=sign, odd=2 * sign)
        self.net = DeployFCN(step.net, last)

    def networks(self) -> Sequence[nn.Module]:
        """See `LowPrecision`."""
        return (self.net,)

    def forward(self, v: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`v`, and the feature of a conditional step → coupled `v`, log-scale."""
        driver, driven = torch.split(v, self.sizes, 1)
        entry = driver.to(self.dtype)
        entry = entry if u is None else torch.cat([entry, u.to(self.dtype)], 1)
        shift, s = torch.split(self.net(entry).to(STATE), self.driven, 1)
        log_scale = bounded_log_scale(s)
        driven = modulate(driven, shift, log_scale, self.direction)
        return torch.cat([driver, driven], 1), log_scale


class Prior(nn.Module):
    """The Gaussian prior of a level as a coupling that `u` alone drives.

    Forward `a → (z, −log σ)`, inverse `z → (a, log σ)`. `with_scale=False` (an inverse for τ = 0)
    computes the mean alone, and `forward` takes no latent.
    """

    def __init__(self, flow: ConditionalFlow, direction: Direction, with_scale: bool) -> None:
        super().__init__()
        self.direction: Direction = direction
        self.bounded = flow.bounded
        sign = -1.0 if direction == "forward" else 1.0
        kernel = algebra.scaled(flow.prior)
        kernel = algebra.deinterleave(kernel, even=sign, odd=sign * (2 if self.bounded else 1))
        self.channels = len(kernel.bias) // 2
        if not with_scale:
            kernel = algebra.Kernel(kernel.weight[: self.channels], kernel.bias[: self.channels])
        self.conv = conv(kernel)

    def forward(self, state: Tensor | None, u: Tensor) -> tuple[Tensor, Tensor | None]:
        """`a` (forward), `z` or `None` (inverse) → `z` or `a`, and the log-scale applied."""
        h = self.conv(u).to(STATE)
        if state is None:
            return h, None
        mean, log_sigma = torch.split(h, self.channels, 1)
        if self.bounded:
            log_sigma = bounded_log_scale(log_sigma)
        return modulate(state, mean, log_sigma, self.direction), log_sigma
