"""Neutral pictures in training: what colour in their LR image costs, and what the runtime keeps.

The runtime makes the output neutral where the input is (docs/pixels.md). Detail that a rescaling
network has put into the chroma of a gray picture's LR image is then lost; one that is trained with
`loss.keep_neutral` sees that, and puts it into the luma.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hcflow_ref.training.data.gray import luma

REACH = 6
"""LR pixels around coloured input, each way, in which the output is coloured."""

BLUR = 3
"""LR pixels each way over which the share of colour is averaged."""

NEUTRAL, COLOURED = 1 / 255, 5 / 255
"""Between R, G and B: what is no colour yet, and what is all colour."""


def colour_of_neutral(made: Tensor, truth: Tensor) -> Tensor:
    """Mean square of the channels' differences from their mean where `truth` has R = G = B.

    Both are N×3×H×W; elsewhere it counts as zero.
    """
    neutral = truth.amax(1, keepdim=True) == truth.amin(1, keepdim=True)
    return ((made - made.mean(1, keepdim=True)) * neutral).square().mean()


def colour_share(images: Tensor, block: int) -> Tensor:
    """How much of its colour each LR pixel keeps, N×1×H×W from 0 to 1 (docs/pixels.md).

    Args:
        images: the input, N×3×(block·H)×(block·W) in [0, 1].
        block: input pixels an LR pixel, each way.
    """
    chroma = F.max_pool2d(images.amax(1, keepdim=True) - images.amin(1, keepdim=True), block)
    counted = ((chroma - NEUTRAL) / (COLOURED - NEUTRAL)).clamp(0, 1)
    largest = F.max_pool2d(counted, 2 * REACH + 1, stride=1, padding=REACH)
    return F.avg_pool2d(F.pad(largest, (BLUR,) * 4, mode="replicate"), 2 * BLUR + 1, stride=1)


def pull(images: Tensor, share: Tensor) -> Tensor:
    """N×3×H×W with the colour that `share`, N×1×H×W, leaves; clipped to [0, 1] where it takes some.

    Their luma stays what it was.
    """
    clipped = images.clamp(0, 1)
    return torch.where(share == 1, images, share * clipped + (1 - share) * luma(clipped))


def keep_neutral(made: Tensor, given: Tensor) -> Tensor:
    """A network's output without colour where its input has none, as the runtime leaves it.

    Args:
        made: the output, N×3×H×W.
        given: the input, N×3×sH×sW for an LR image H×W, N×3×H/s×W/s for a restored one.
    """
    share = colour_share(given.detach(), max(1, given.shape[2] // made.shape[2]))
    # Linear between the centres of LR pixels; for an LR image it changes nothing.
    share = F.interpolate(share, size=made.shape[2:], mode="bilinear", align_corners=False)
    return pull(made, share)
