"""Patches in gray: people have gray photographs, and folders of training images have few."""

from __future__ import annotations

import torch
from torch import Tensor

from hcflow_ref.network.lr_image import quantise

LUMA = (0.299, 0.587, 0.114)
"""BT.601's weights of R, G and B."""


def luma(images: Tensor) -> Tensor:
    """N×3×H×W → N×1×H×W."""
    return (images * torch.tensor(LUMA).to(images).view(1, 3, 1, 1)).sum(1, keepdim=True)


def some_in_gray(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """N×3×H×W in [0, 1], each in gray (its 8-bit luma in all three) with probability `share`."""
    if share == 0:
        return images
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < share
    return torch.where(chosen.to(images.device), quantise(luma(images)), images)
