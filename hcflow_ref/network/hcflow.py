"""The HCFlow network: a bijection between an HR image and an LR image with latents.

Liang et al., "Hierarchical Conditional Flow", ICCV 2021; docs/network.md, 2 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcflow_ref.network.blocks import FeatureExtractor, ScaledConv
from hcflow_ref.network.config import HCFlowConfig
from hcflow_ref.network.layers import (
    COUPLING_SLOPE,
    depth_to_space,
    haar,
    haar_inverse,
    haar_log_det,
    space_to_depth,
    sum_per_image,
)
from hcflow_ref.network.steps import AffineStep, ThreeChannelStep


class Encoding(NamedTuple):
    """The output of the forward flow for an HR batch.

    Attributes:
        lr: N×3×H×W, neither clipped nor rounded.
        latents: `z_1 … z_L`, level 1 the finest, normalised by the prior.
        logp: log-likelihood of each image under the flow, [N], in nats.
    """

    lr: Tensor
    latents: tuple[Tensor, ...]
    logp: Tensor


class ConditionalFlow(nn.Module):
    """The flow of a level's split-off channels `a` given its condition (docs/network.md, 4)."""

    def __init__(self, config: HCFlowConfig, level: int) -> None:
        super().__init__()
        hyper = config.levels[level]
        channels, features = config.channels(level)[2], config.feature_channels(level)
        self.bounded = config.task == "rescaling"
        self.features = FeatureExtractor(
            config.condition_channels(level),
            hyper.features,
            hyper.growth,
            hyper.blocks,
            both_trunks=config.task == "sr",
        )
        self.steps = nn.ModuleList(
            AffineStep(channels, hyper.cond_hidden, features) for _ in range(hyper.cond_steps)
        )
        self.prior = ScaledConv(features, 2 * channels)

    def _mean_and_log_sigma(self, u: Tensor) -> tuple[Tensor, Tensor]:
        h = self.prior(u)
        mean, logs = h[:, 0::2], h[:, 1::2]
        return mean, COUPLING_SLOPE * torch.atan(2 * logs) if self.bounded else logs

    def forward(self, a: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """`a → (z, log-det of the steps + log N(a; mean, σ), [N])`."""
        logp = a.new_zeros(a.shape[0])
        for step in self.steps:
            a, log_det = step(a, u)
            logp = logp + log_det
        mean, logs = self._mean_and_log_sigma(u)
        z = (a - mean) * torch.exp(-logs)
        return z, logp + sum_per_image(-0.5 * (z * z + math.log(2 * math.pi)) - logs)

    def inverse(self, z: Tensor, u: Tensor) -> Tensor:
        """`z → a`."""
        mean, logs = self._mean_and_log_sigma(u)
        a = mean + torch.exp(logs) * z
        for step in reversed(self.steps):
            assert isinstance(step, AffineStep)
            a = step.inverse(a, u)
        return a


class Level(nn.Module):
    """Squeeze, main flow steps and split, with the conditional flow of the channels split off."""

    def __init__(self, config: HCFlowConfig, level: int) -> None:
        super().__init__()
        hyper = config.levels[level]
        total, self.kept, _ = config.channels(level)
        self.haar = config.task == "rescaling"
        self.steps = nn.ModuleList(
            ThreeChannelStep(total, hyper.hidden, k)
            if self.haar
            else AffineStep(total, hyper.hidden)
            for k in range(hyper.steps)
        )
        self.cond = ConditionalFlow(config, level)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`x → (kept, a, log-det [N])`: squeeze, main steps, split."""
        log_det = x.new_zeros(x.shape[0])
        if self.haar:
            log_det = log_det + haar_log_det(x)
        v = haar(x) if self.haar else space_to_depth(x)
        for step in self.steps:
            v, step_log_det = step(v)
            log_det = log_det + step_log_det
        return v[:, : self.kept], v[:, self.kept :], log_det

    def merge(self, kept: Tensor, a: Tensor) -> Tensor:
        """Inverse of `split`."""
        v = torch.cat([kept, a], 1)
        for step in reversed(self.steps):
            assert isinstance(step, AffineStep | ThreeChannelStep)
            v = step.inverse(v)
        return haar_inverse(v) if self.haar else depth_to_space(v)


def upsample_nearest(x: Tensor, factor: int) -> Tensor:
    """Repeat every pixel `factor` × `factor` times."""
    return F.interpolate(x, scale_factor=float(factor), mode="nearest")


def check_latents(latents: Sequence[Tensor], count: int) -> None:
    """Raise `ValueError` unless there are `count` latents."""
    if len(latents) != count:
        raise ValueError(f"{len(latents)} latents given, expected {count}")


class HCFlow(nn.Module):
    """HR image ⇄ LR image and latents, both directions exact.

    A new network is the identity up to its squeezes: couplings and priors start at zero.
    """

    def __init__(self, config: HCFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList(Level(config, j) for j in range(len(config.levels)))

    def _levels(self) -> list[Level]:
        return [level for level in self.levels if isinstance(level, Level)]

    def _feature(self, j: int, kept: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        """Feature `u` of level `j` from its kept channels and coarser features, nearest first."""
        upsampled = [upsample_nearest(u, 2 ** (k + 1)) for k, u in enumerate(coarser)]
        u: Tensor = self._levels()[j].cond.features(torch.cat([kept, *upsampled], 1))
        return u

    def forward(self, hr: Tensor) -> Encoding:
        """Encode `hr`, N×3×sH×sW with values in [0, 1] and sides divisible by the scale."""
        x, logp = hr, hr.new_zeros(hr.shape[0])
        kept, split_off = [], []
        for level in self._levels():
            x, a, log_det = level.split(x)
            kept.append(x)
            split_off.append(a)
            logp = logp + log_det
        features: list[Tensor] = []
        latents: list[Tensor] = []
        for j in reversed(range(len(kept))):
            u = self._feature(j, kept[j], features)
            z, log_likelihood = self._levels()[j].cond(split_off[j], u)
            features.insert(0, u)
            latents.insert(0, z)
            logp = logp + log_likelihood
        return Encoding(x, tuple(latents), logp)

    def inverse(self, lr: Tensor, latents: Sequence[Tensor]) -> Tensor:
        """Decode `lr`, N×3×H×W, with latents already multiplied by τ: HR N×3×sH×sW, unclipped.

        Raises:
            ValueError: the number of latents is not that of the levels.
        """
        check_latents(latents, len(self.levels))
        x = lr
        features: list[Tensor] = []
        for j in reversed(range(len(latents))):
            level = self._levels()[j]
            u = self._feature(j, x, features)
            features.insert(0, u)
            x = level.merge(x, level.cond.inverse(latents[j], u))
        return x

    def zero_latents(self, lr: Tensor) -> tuple[Tensor, ...]:
        """The latents at τ = 0 for `lr`, N×3×H×W."""
        shapes = self.config.latent_shapes(lr.shape[2], lr.shape[3])
        return tuple(lr.new_zeros(lr.shape[0], *shape) for shape in shapes)
