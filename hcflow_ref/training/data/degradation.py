"""LR images as people have them: blurred, downscaled, and compressed as JPEG.

The first-order degradation of Wang et al., "Real-ESRGAN", ICCVW 2021, without its noise.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hcflow_ref.images import bicubic
from hcflow_ref.images.tensors import to_image, to_tensor
from hcflow_ref.network.lr_image import quantise
from hcflow_ref.training.config.settings import BEST_QUALITY

CLEAN = 0.25
"""Share of training patches that stay as they are."""


@dataclass(frozen=True)
class Degradation:
    """What training draws from.

    Attributes:
        blur: largest standard deviation of the Gaussian blur, in HR pixels.
        jpeg_quality: lowest quality of JPEG; 0 is no JPEG.
    """

    blur: float
    jpeg_quality: int

    def draw(self, hr: Tensor, scale: int, generator: torch.Generator) -> Tensor:
        """The 8-bit LR images N×3×H×W of `hr`, N×3×sH×sW in [0, 1], each degraded by chance.

        A quarter of them stays clean; the blur and the quality of the others are uniform.
        """
        draws = torch.rand(hr.shape[0], 3, generator=generator).tolist()
        images = []
        for image, (clean, blur, quality) in zip(torch.split(hr, 1), draws, strict=True):
            if clean < CLEAN:
                images.append(degraded(image, scale))
                continue
            lowest, drawn = self.jpeg_quality, 0
            if lowest:
                drawn = lowest + round(quality * (BEST_QUALITY - lowest))
            images.append(degraded(image, scale, blur * self.blur, drawn))
        return torch.cat(images)


def degraded(hr: Tensor, scale: int, blur: float = 0.0, jpeg_quality: int = 0) -> Tensor:
    """The 8-bit LR image 1×3×H×W of `hr`, 1×3×sH×sW in [0, 1].

    Args:
        hr: the HR image.
        scale: of MATLAB's bicubic, which downscales it.
        blur: standard deviation in HR pixels of the Gaussian before it; 0 is none.
        jpeg_quality: 1 to 100, with Pillow's defaults; 0 is no JPEG.
    """
    lr = quantise(bicubic.downscale(gaussian(hr, blur), scale))
    return jpeg(lr, jpeg_quality) if jpeg_quality else lr


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """`x`, N×C×H×W, blurred; the border's pixels are repeated."""
    reach = math.ceil(3 * sigma)
    if reach == 0:
        return x
    at = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(x)
    padded = F.pad(x, (reach,) * 4, mode="replicate").flatten(0, 1)[:, None]
    rows = F.conv2d(padded, kernel.reshape(1, 1, -1, 1))
    return F.conv2d(rows, kernel.reshape(1, 1, 1, -1)).reshape(x.shape)


def jpeg(image: Tensor, quality: int) -> Tensor:
    """`image`, 1×3×H×W in [0, 1], through a JPEG file."""
    from PIL import Image  # noqa: PLC0415 - a machine that trains on shards may lack it

    file = io.BytesIO()
    Image.fromarray(to_image(image)).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        return to_tensor(np.asarray(opened.convert("RGB"))).to(image)
