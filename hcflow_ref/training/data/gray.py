"""Patches in gray: people have gray photographs, and folders of training images have few."""

from __future__ import annotations

import torch
from torch import Tensor

from hcflow_ref.network.lr_image import quantise
from hcflow_ref.training.losses.neutral import luma


def some_in_gray(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """N×3×H×W in [0, 1], each in gray (its 8-bit luma in all three) with probability `share`."""
    if share == 0:
        return images
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < share
    return torch.where(chosen.to(images.device), quantise(luma(images)), images)
