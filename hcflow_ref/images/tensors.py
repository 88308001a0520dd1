"""8-bit images as tensors and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hcflow_ref.images.pixels import Pixels


def to_tensor(image: Pixels) -> Tensor:
    """H×W×3 uint8 → 1×3×H×W float32 in [0, 1]."""
    return torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1)[None].float() / 255


def to_image(x: Tensor) -> Pixels:
    """1×3×H×W or 3×H×W → H×W×3 uint8, clipped to [0, 1] and rounded.

    Raises:
        ValueError: a value is NaN or infinite, which clipping would hide.
    """
    if not torch.isfinite(x).all():
        raise ValueError("the image contains NaN or infinity")
    x = x.detach().reshape(x.shape[-3:]).double()
    x = (x.clamp(0, 1) * 255).round().to(torch.uint8)
    image: Pixels = x.permute(1, 2, 0).cpu().numpy()
    return image
