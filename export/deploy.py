"""Deploy modules: the reference, folded into one plain static network per direction.

Each module's parameters carry their path in the reference (`level0.cond.trunk0.3.rdb2.conv4`).
The graph contract is DESIGN section 3.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export import folding
from export.flow import STATE, Coupling, Direction, Prior
from export.networks import DeployFeatures, conv
from hcflow_ref.hcflow import ConditionalFlow, HCFlow, Level
from hcflow_ref.steps import AffineStep, ThreeChannelStep


class DeployStep(nn.Module):
    """A flow step: an affine map of the channels (`linear`) before or behind its coupling."""

    def __init__(
        self,
        step: AffineStep | ThreeChannelStep,
        direction: Direction,
        linear: nn.Conv2d,
    ) -> None:
        super().__init__()
        self.inverse = direction == "inverse"
        self.linear = linear
        self.coupling = Coupling(step, direction)

    def forward(self, v: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """`v → (v', log-scale or None)`."""
        if self.inverse:
            v, log_scale = self.coupling(v, u)
            return self.linear(v), log_scale
        coupled: tuple[Tensor, Tensor | None] = self.coupling(self.linear(v), u)
        return coupled


class DeployConditional(DeployFeatures):
    """Conditional flow of a level: features, prior and steps."""

    def __init__(self, flow: ConditionalFlow, direction: Direction, with_latent: bool) -> None:
        super().__init__(flow.features)
        self.dtype = STATE
        self.prior = Prior(flow, direction, with_latent)
        self.steps = nn.ModuleList(
            DeployStep(step, direction, _linear(step, direction)) for step in _steps(flow.steps)
        )

    def lower(self, dtype: torch.dtype) -> None:
        """Round the feature extractor and the prior's convolution to `dtype`."""
        self.dtype = dtype
        for part in (self.conv_first, self.trunk0, self.trunk1, self.trunk_conv1, self.prior):
            part.to(dtype)


class DeployLevel(nn.Module):
    """Main flow of a level; the squeeze is folded into the first step's linear part."""

    def __init__(
        self, level: Level, direction: Direction, channels: int, with_latent: bool
    ) -> None:
        super().__init__()
        steps = _steps(level.steps)
        squeeze = folding.squeeze(level, channels)
        entry = squeeze.then(folding.step_linear(steps[0]))
        first = (
            conv(folding.stride2(entry), stride=2)
            if direction == "forward"
            else conv(folding.pointwise(entry.inverse()))
        )
        linears = [first, *(_linear(step, direction) for step in steps[1:])]
        self.steps = nn.ModuleList(
            DeployStep(step, direction, linear) for step, linear in zip(steps, linears, strict=True)
        )
        self.cond = DeployConditional(level.cond, direction, with_latent)
        self.split_sizes = [level.kept, 4 * channels - level.kept]


def _steps(modules: nn.ModuleList) -> list[AffineStep | ThreeChannelStep]:
    return [step for step in modules if isinstance(step, AffineStep | ThreeChannelStep)]


def _linear(step: AffineStep | ThreeChannelStep, direction: Direction) -> nn.Conv2d:
    affine = folding.step_linear(step)
    return conv(folding.pointwise(affine if direction == "forward" else affine.inverse()))


class DeployFlow(nn.Module):
    """What both directions share: levels named `level0` (finest) and up, and the features."""

    def __init__(self, model: HCFlow, direction: Direction, with_latents: bool = True) -> None:
        super().__init__()
        self.config = model.config
        for j, level in enumerate(_levels(model)):
            self.add_module(f"level{j}", DeployLevel(level, direction, 3 * 2**j, with_latents))

    def lower(self, dtype: torch.dtype, keep: Container[str] = ()) -> Self:
        """Round every network to `dtype` but those named; the flow state stays float32."""
        for name, module in self.named_modules():
            if isinstance(module, Coupling | DeployConditional) and name not in keep:
                module.lower(dtype)
        return self

    def levels(self) -> list[DeployLevel]:
        """The levels, finest first."""
        return [level for level in self.children() if isinstance(level, DeployLevel)]

    def feature(self, level: DeployLevel, kept: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        """Feature `u` from the kept channels and the coarser features, nearest first."""
        kept = kept.to(level.cond.dtype)
        upsampled = [
            F.interpolate(u.to(level.cond.dtype), scale_factor=2.0 ** (k + 1), mode="nearest")
            for k, u in enumerate(coarser)
        ]
        u: Tensor = level.cond(torch.cat([kept, *upsampled], 1) if upsampled else kept)
        return u


class InverseFlow(DeployFlow):
    """`lr`, `z1 … zL` → `hr`, unclipped; built without latents (τ = 0), `lr` → `hr`."""

    def __init__(self, model: HCFlow, with_latents: bool = True) -> None:
        super().__init__(model, "inverse", with_latents)
        self.with_latents = with_latents

    def forward(self, lr: Tensor, latents: tuple[Tensor, ...] = ()) -> Tensor:
        """N×3×H×W and the latents → N×3×sH×sW."""
        x, features = lr, list[Tensor]()
        for j, level in reversed(list(enumerate(self.levels()))):
            u = self.feature(level, x, features)
            features.insert(0, u)
            a, _ = level.cond.prior(latents[j] if self.with_latents else None, u)
            for step in reversed(level.cond.steps):
                a, _ = step(a, u)
            v = torch.cat([x, a], 1)
            for step in reversed(level.steps):
                v, _ = step(v)
            x = F.pixel_shuffle(v, 2)
        return x


class ForwardFlow(DeployFlow):
    """`hr` → `lr`, `z1 … zL` and, for SR, `logp` [N]; nothing clipped or rounded."""

    def __init__(self, model: HCFlow) -> None:
        super().__init__(model, "forward")
        self.likelihood = model.config.task == "sr"
        self.log_det_per_pixel = [log_det_per_pixel(level) for level in _levels(model)]

    def forward(self, hr: Tensor) -> tuple[Tensor, ...]:
        """N×3×sH×sW → `lr` N×3×H×W, the latents, `logp` [N]."""
        levels = self.levels()
        x = hr
        kept, split_off, log_maps = list[Tensor](), list[Tensor](), list[list[Tensor]]()
        for level in levels:
            v, log_map = self._run(level.steps, x, None)
            x, a = torch.split(v, level.split_sizes, 1)
            kept.append(x)
            split_off.append(a)
            log_maps.append(log_map)
        features, latents, logp = list[Tensor](), list[Tensor](), list[Tensor]()
        for j, level in reversed(list(enumerate(levels))):
            u = self.feature(level, kept[j], features)
            features.insert(0, u)
            a, log_map = self._run(level.cond.steps, split_off[j], u)
            z, minus_log_sigma = level.cond.prior(a, u)
            latents.insert(0, z)
            if self.likelihood:
                terms = [*log_maps[j], *log_map, minus_log_sigma.sum(1), -0.5 * (z * z).sum(1)]
                total = _sum(terms)
                logp.append((total + self.log_det_per_pixel[j]).sum((1, 2)))
        return (x, *latents, _sum(logp)) if self.likelihood else (x, *latents)

    def _run(
        self, steps: nn.ModuleList, v: Tensor, u: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Run flow steps; also each coupling's log-scale summed over channels, N×H×W."""
        log_map = list[Tensor]()
        for step in steps:
            v, log_scale = step(v, u)
            if self.likelihood and log_scale is not None:
                log_map.append(log_scale.sum(1))
        return v, log_map


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _levels(model: HCFlow) -> list[Level]:
    return [level for level in model.levels if isinstance(level, Level)]


def log_det_per_pixel(level: Level) -> float:
    """The part of a level's log-likelihood that is constant: nats per pixel of the level.

    `Σ logs` of ActNorms, `log|det W|` of 1×1 convolutions, `−½ log 2π` of each latent channel.
    """
    steps = [*_steps(level.steps), *_steps(level.cond.steps)]
    linear = sum(
        float(torch.linalg.slogdet(folding.step_linear(step).matrix).logabsdet) for step in steps
    )
    latent_channels = len(level.cond.prior.bias) // 2
    return linear - 0.5 * latent_channels * math.log(2 * math.pi)
