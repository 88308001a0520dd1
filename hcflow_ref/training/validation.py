"""Validation PSNR on images held out of the training folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hcflow_ref.evaluation.metrics import (
    Image,
    bicubic_downscale,
    bicubic_upscale,
    crop_border,
    psnr,
)
from hcflow_ref.images.files import UNREADABLE, read_image
from hcflow_ref.images.photographs import crop_to_multiple
from hcflow_ref.images.tensors import to_image, to_tensor
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from hcflow_ref.network.lr_image import encode_lr, quantise

CROP = 256
"""Validation looks at the central crop of this side."""


BEST = 50.0
"""dB that an image counts for at most: a flat one would outweigh all others."""


def validation_images(
    paths: list[Path], scale: int, short_side: int, report: Callable[[str], None] = print
) -> list[Image]:
    """The central crops, sides multiples of the scale; damaged files are named and left out."""
    images = []
    for path in paths:
        try:
            images.append(_centre(read_image(path, short_side), scale))
        except UNREADABLE as error:
            report(f"skipped {path}: cannot be read ({error})")
    return images


def _centre(image: Image, scale: int) -> Image:
    height, width = image.shape[:2]
    y, x = max(0, (height - CROP) // 2), max(0, (width - CROP) // 2)
    return np.ascontiguousarray(crop_to_multiple(image[y : y + CROP, x : x + CROP], scale))


def bicubic_psnr(images: list[Image], scale: int) -> float:
    """What `validation_psnr` has to beat: the same figure of bicubic down and up."""
    lrs = (bicubic_downscale(image, scale) for image in images)
    made = [bicubic_upscale(lr, scale) for lr in lrs]
    return _mean_psnr(made, images, scale)


@torch.no_grad()
def validation_psnr(model: HCFlow | IRN, images: list[Image]) -> float:
    """Mean PSNR in dB on RGB at τ = 0, border of the scale cropped; NaN where an output is.

    No image counts for more than `BEST`. Rescaling goes through its own 8-bit LR,
    super-resolution starts from the bicubic one.
    """
    scale = model.config.scale
    device = next(model.parameters()).device
    outputs = []
    for image in images:
        if model.config.task == "rescaling":
            lr = quantise(encode_lr(model, to_tensor(image).to(device)))
        else:
            lr = to_tensor(bicubic_downscale(image, scale)).to(device)
        made = model.inverse(lr, model.zero_latents(lr))
        if not torch.isfinite(made).all():
            return float("nan")
        outputs.append(to_image(made))
    return _mean_psnr(outputs, images, scale)


def _mean_psnr(made: list[Image], truths: list[Image], scale: int) -> float:
    values = []
    for image, truth in zip(made, truths, strict=True):
        border = scale if min(truth.shape[:2]) > 2 * scale else 0
        values.append(min(psnr(crop_border(image, border), crop_border(truth, border)), BEST))
    return float(np.mean(values)) if values else float("nan")
