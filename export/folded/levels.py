"""A level as a deploy module: its main flow, and the conditional flow of the split-off channels.

`MixingLevel` is the SR networks' kind, whose steps mix all channels; the rescaling network's main
flow is `export.folded.rescaling`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.folded import algebra
from export.folded.couplings import Coupling, LowPrecision, Prior
from export.folded.networks import DeployFeatures, conv
from hcflow_ref.network.hcflow import ConditionalFlow, Level
from hcflow_ref.network.steps import AffineStep
from runtime.bundle.manifest import Direction


class DeployStep(nn.Module):
    """A flow step: an affine map of the channels (`linear`) before or behind its coupling."""

    def __init__(self, step: AffineStep, direction: Direction, linear: nn.Conv2d) -> None:
        super().__init__()
        self.inverse = direction == "inverse"
        self.linear = linear
        self.coupling = Coupling(step, direction)

    def forward(self, v: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`v → (v', log-scale)`."""
        if self.inverse:
            v, log_scale = self.coupling(v, u)
            return self.linear(v), log_scale
        coupled: tuple[Tensor, Tensor] = self.coupling(self.linear(v), u)
        return coupled


class DeployConditional(DeployFeatures, LowPrecision):
    """Conditional flow of a level: features, prior and steps."""

    def __init__(self, flow: ConditionalFlow, direction: Direction, with_latent: bool) -> None:
        super().__init__(flow.features)
        self.prior = Prior(flow, direction, with_latent)
        self.steps = nn.ModuleList(
            DeployStep(step, direction, _linear(step, direction)) for step in mixing(flow.steps)
        )

    def networks(self) -> Sequence[nn.Module]:
        """The feature extractor and the prior's convolution."""
        return self.conv_first, self.trunk0, self.trunk1, self.trunk_conv1, self.prior


class DeployLevel(nn.Module, ABC):
    """A level: `steps` of the main flow, and `cond`, the conditional flow.

    Args:
        level: of the reference.
        direction: which way; `encode` or `decode` is there for it.
        channels: before the squeeze.
        with_latent: whether an inverse takes this level's latent.
    """

    steps: nn.ModuleList

    def __init__(
        self, level: Level, direction: Direction, channels: int, with_latent: bool
    ) -> None:
        super().__init__()
        self.cond = DeployConditional(level.cond, direction, with_latent)
        self.split_sizes = [level.kept, 4 * channels - level.kept]

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """N×C×2H×2W → the kept and the split-off channels, and log-scales' sums, N×H×W each."""

    @abstractmethod
    def decode(self, kept: Tensor, a: Tensor) -> Tensor:
        """The kept and the split-off channels → N×C×2H×2W."""


class MixingLevel(DeployLevel):
    """Every step has a 1×1 convolution; the squeeze is folded into the first step's."""

    def __init__(
        self, level: Level, direction: Direction, channels: int, with_latent: bool
    ) -> None:
        super().__init__(level, direction, channels, with_latent)
        steps = mixing(level.steps)
        entry = algebra.squeeze(level, channels).then(algebra.step_linear(steps[0]))
        linears = [ends(entry, direction), *(_linear(step, direction) for step in steps[1:])]
        self.steps = nn.ModuleList(
            DeployStep(step, direction, linear) for step, linear in zip(steps, linears, strict=True)
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """See `DeployLevel`."""
        v, log_map = run(self.steps, x, None)
        kept, a = torch.split(v, self.split_sizes, 1)
        return kept, a, log_map

    def decode(self, kept: Tensor, a: Tensor) -> Tensor:
        """See `DeployLevel`."""
        v = torch.cat([kept, a], 1)
        for step in reversed(self.steps):
            v, _ = step(v)
        return F.pixel_shuffle(v, 2)


def run(steps: nn.ModuleList, v: Tensor, u: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Run flow steps forward; also each coupling's log-scale summed over channels, N×H×W."""
    log_map = list[Tensor]()
    for step in steps:
        v, log_scale = step(v, u)
        log_map.append(log_scale.sum(1))
    return v, log_map


def ends(entry: algebra.Affine, direction: Direction) -> nn.Conv2d:
    """A level's first convolution forward, or its last one before depth-to-space."""
    if direction == "forward":
        return conv(algebra.stride2(entry), stride=2)
    return conv(algebra.pointwise(entry.inverse()))


def mixing(modules: nn.ModuleList) -> Sequence[AffineStep]:
    """The steps of a flow whose steps have 1×1 convolutions."""
    return [step for step in modules if isinstance(step, AffineStep)]


def _linear(step: AffineStep, direction: Direction) -> nn.Conv2d:
    affine = algebra.step_linear(step)
    return conv(algebra.pointwise(affine if direction == "forward" else affine.inverse()))
