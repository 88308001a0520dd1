"""The paper's objectives (docs/network.md, 6).

An objective is a sequence of phases, each with its own losses, backward pass and optimiser step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hcflow_ref.images import bicubic
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from hcflow_ref.network.likelihood import bits_per_pixel
from hcflow_ref.network.lr_image import encode_lr, quantise
from hcflow_ref.training.config.settings import LossSettings
from hcflow_ref.training.data.degradation import Degradation
from hcflow_ref.training.losses.discriminator import (
    Discriminator,
    discriminator_loss,
    generator_loss,
)
from hcflow_ref.training.losses.neutral import colour_of_neutral, keep_neutral

PHASES: dict[str, tuple[str, ...]] = {
    "nll": ("nll",),
    "nll+l1": ("nll", "l1"),
    "gan": ("nll", "l1", "gan"),
    "rescaling": ("rescaling",),
}
"""Phases of HCFlow, HCFlow+, HCFlow++ and the rescaling networks."""

RMSE_FLOOR = 1e-5
"""Added to a patch's mean squared error, so that the root has a gradient at zero."""


def draw_latents(
    model: HCFlow | IRN, lr: Tensor, tau: float, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Latents from N(0, τ²) for `lr` N×3×H×W, drawn on the CPU so that all devices agree."""
    if tau == 0:
        return model.zero_latents(lr)
    shapes = model.config.latent_shapes(lr.shape[2], lr.shape[3])
    return tuple(
        tau * torch.randn((lr.shape[0], *shape), generator=generator).to(lr) for shape in shapes
    )


class Objective(nn.Module):
    """A network with its losses; with several processes DistributedDataParallel wraps it.

    Args:
        model: the network.
        settings: weights of the losses.
        features: feature network of the perceptual loss (`gan` only).
        discriminator: rates samples in the `gan` phase; its own loss is `DiscriminatorLoss`.
        degradation: of the LR images that the `l1` phase is given.
    """

    def __init__(
        self,
        model: HCFlow | IRN,
        settings: LossSettings,
        features: nn.Module | None = None,
        discriminator: Discriminator | None = None,
        degradation: Degradation | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.degradation = degradation
        # In tuples, so that their parameters do not become parameters of this module.
        self._features = (features,)
        self._discriminator = (discriminator,)

    def forward(
        self, phase: str, hr: Tensor, lr: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The weighted losses of a phase by name; their sum is minimised.

        Args:
            phase: one of `PHASES`.
            hr: N×3×sH×sW in [0, 1].
            lr: its 8-bit bicubic LR image.
            generator: source of every random draw in the phase.
        """
        losses = {
            "nll": self._nll,
            "l1": self._l1,
            "gan": self._gan,
            "rescaling": self._rescaling,
        }
        return losses[phase](hr, lr, generator)

    def _nll(self, hr: Tensor, lr: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        assert isinstance(self.model, HCFlow)
        q = self.model.config.quantisation
        noise = torch.rand(hr.shape, generator=generator).to(hr)
        if self.settings.dequantisation == "centred":
            noise = noise - 0.5
        bits = bits_per_pixel(self.model(hr + noise / q), lr, q).mean()
        alone = self.settings.objective == "nll"
        return {"nll": bits if alone else self.settings.nll_weight * bits}

    def _l1(self, hr: Tensor, lr: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        given = lr
        if self.degradation is not None:
            given = self.degradation.draw(hr, self.model.config.scale, generator)
        made = self.model.inverse(given, self.model.zero_latents(given))
        losses = {"l1": self.settings.l1_weight * image_distance(made, hr, self.settings.hr)}
        if weight := self.settings.consistency_weight:
            made_lr = bicubic.downscale(made, self.model.config.scale)
            losses["consistency"] = weight * (made_lr - lr).abs().mean()
        return losses

    def _gan(self, hr: Tensor, lr: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        (features,), (discriminator,) = self._features, self._discriminator
        assert features is not None
        assert discriminator is not None
        made = self.model.inverse(lr, draw_latents(self.model, lr, self.settings.tau, generator))
        distance = (features(made) - features(hr)).abs().mean()
        discriminator.requires_grad_(False)
        gan = generator_loss(discriminator(made))
        discriminator.requires_grad_(True)
        return {
            "features": self.settings.feature_weight * distance,
            "gan": self.settings.gan_weight * gan,
        }

    def _rescaling(self, hr: Tensor, lr: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        settings, losses = self.settings, {}
        if settings.latent_weight:
            encoding = self.model(hr)
            made_lr = encoding.lr
            losses["z"] = settings.latent_weight * mean_square(encoding.latents)
        else:
            made_lr = encode_lr(self.model, hr)
        latents = draw_latents(self.model, made_lr, settings.tau, generator)
        given = quantise(keep_neutral(made_lr, hr) if settings.keep_neutral else made_lr)
        made = self.model.inverse(given, latents)
        if settings.keep_neutral:
            made = keep_neutral(made, given)
        losses["hr"] = image_distance(made, hr, settings.hr)
        losses["lr"] = settings.lr_weight * (made_lr - lr).square().mean()
        if weight := settings.neutral_weight:
            losses["neutral"] = weight * colour_of_neutral(made_lr, lr)
        return losses


def mean_square(tensors: Sequence[Tensor]) -> Tensor:
    """Mean of the squares of all elements."""
    return torch.cat([t.flatten() for t in tensors]).square().mean()


def image_distance(made: Tensor, truth: Tensor, kind: str) -> Tensor:
    """`l1`: mean absolute error; `rmse`: mean over patches of the root mean square error."""
    if kind == "l1":
        return (made - truth).abs().mean()
    return ((made - truth).square().flatten(1).mean(1) + RMSE_FLOOR).sqrt().mean()


class DiscriminatorLoss(nn.Module):
    """The discriminator with its loss on real patches and on the flow's samples."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, real: Tensor, made: Tensor) -> dict[str, Tensor]:
        """The loss by name; `made` must not need gradients."""
        loss = discriminator_loss(self.discriminator(real), self.discriminator(made))
        return {"discriminator": loss}


@torch.no_grad()
def draw_samples(model: HCFlow | IRN, lr: Tensor, tau: float, generator: torch.Generator) -> Tensor:
    """HR samples N×3×sH×sW at temperature τ for the discriminator, without gradients."""
    return model.inverse(lr, draw_latents(model, lr, tau, generator))
