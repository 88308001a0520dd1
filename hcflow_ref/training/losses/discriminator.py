"""The VGG-style discriminator of HCFlow++ and its vanilla GAN losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HALVINGS = 5


class Discriminator(nn.Module):
    """RGB N×3×P×P → a logit per image, [N]; positive means a real image.

    Five pairs of 3×3 and strided 4×4 convolutions with batch normalisation, of widths w, 2w, 4w, 8w
    and 8w, then two linear layers: at `width` 64 the published network for patches of 160×160.
    """

    def __init__(self, patch: int, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, side = 3, patch
        for halving in range(HALVINGS):
            outputs = width * min(2**halving, 8)
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=halving == 0))
            if halving:
                layers.append(nn.BatchNorm2d(outputs, affine=True))
            layers.append(nn.LeakyReLU(0.2))
            layers.append(nn.Conv2d(outputs, outputs, 4, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(outputs, affine=True), nn.LeakyReLU(0.2)]
            inputs, side = outputs, side // 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs * side * side, 100), nn.LeakyReLU(0.2), nn.Linear(100, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.classifier(self.features(image))
        return logits[:, 0]


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Binary cross-entropy of the logits, [N] each, of real and of generated images."""
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    return (
        F.binary_cross_entropy_with_logits(real, ones)
        + F.binary_cross_entropy_with_logits(fake, zeros)
    ) / 2


def generator_loss(fake: Tensor) -> Tensor:
    """The flow's loss: binary cross-entropy of its images' logits [N] as real images."""
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
