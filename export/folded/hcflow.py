"""Deploy modules: the reference, folded into one plain static network per direction.

Each module's parameters carry their path in the reference (`level0.cond.trunk0.3.rdb2.conv4`).
Their inputs and outputs are docs/graph-contract.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.folded import algebra
from export.folded.levels import DeployLevel, MixingLevel, mixing, run
from export.folded.rescaling import RescalingLevel
from hcflow_ref.network.hcflow import HCFlow, Level
from runtime.bundle.manifest import Direction


class DeployFlow(nn.Module):
    """The base of both directions: levels named `level0` (finest) and up, and the features."""

    def __init__(self, model: HCFlow, direction: Direction, with_latents: bool = True) -> None:
        super().__init__()
        self.config = model.config
        for j, level in enumerate(_levels(model)):
            kind = RescalingLevel if level.haar else MixingLevel
            self.add_module(f"level{j}", kind(level, direction, 3 * 2**j, with_latents))

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
            x = level.decode(x, a)
        return x


class ForwardFlow(DeployFlow):
    """`hr` → `lr`, `z1 … zL` and, for SR, `logp` [N]; nothing clipped or rounded."""

    def __init__(self, model: HCFlow) -> None:
        super().__init__(model, "forward")
        self.likelihood = model.config.task == "sr"
        self.log_det_per_pixel = (
            [log_det_per_pixel(level) for level in _levels(model)] if self.likelihood else []
        )

    def forward(self, hr: Tensor) -> tuple[Tensor, ...]:
        """N×3×sH×sW → `lr` N×3×H×W, the latents, `logp` [N]."""
        levels = self.levels()
        x = hr
        kept, split_off, log_maps = list[Tensor](), list[Tensor](), list[list[Tensor]]()
        for level in levels:
            x, a, log_map = level.encode(x)
            kept.append(x)
            split_off.append(a)
            log_maps.append(log_map)
        features, latents, logp = list[Tensor](), list[Tensor](), list[Tensor]()
        for j, level in reversed(list(enumerate(levels))):
            u = self.feature(level, kept[j], features)
            features.insert(0, u)
            a, log_map = run(level.cond.steps, split_off[j], u)
            z, minus_log_sigma = level.cond.prior(a, u)
            latents.insert(0, z)
            if self.likelihood:
                terms = [*log_maps[j], *log_map, minus_log_sigma.sum(1), -0.5 * (z * z).sum(1)]
                total = _sum(terms)
                logp.append((total + self.log_det_per_pixel[j]).sum((1, 2)))
        return (x, *latents, _sum(logp)) if self.likelihood else (x, *latents)


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _levels(model: HCFlow) -> list[Level]:
    return [level for level in model.levels if isinstance(level, Level)]


def log_det_per_pixel(level: Level) -> float:
    """The constant part of an SR level's log-likelihood: nats per pixel of the level.

    `Σ logs` of ActNorms, `log|det W|` of 1×1 convolutions, `−½ log 2π` of each latent channel.
    """
    linear = sum(
        float(torch.linalg.slogdet(algebra.step_linear(step).matrix).logabsdet)
        for step in [*mixing(level.steps), *mixing(level.cond.steps)]
    )
    latent_channels = len(level.cond.prior.bias) // 2
    return linear - 0.5 * latent_channels * math.log(2 * math.pi)
