"""Validation PSNR on images held out of the training folder."""

from __future__ import annotations

import numpy as np
import torch

from hcflow_ref.evaluation.metrics import (
    bicubic_downscale,
    bicubic_upscale,
    crop_border,
    psnr,
)
from hcflow_ref.images.pixels import Pixels
from hcflow_ref.images.tensors import to_image, to_tensor
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from hcflow_ref.network.lr_image import encode_lr, quantise

BEST = 50.0
"""Most dB an image counts for: a flat one would outweigh all others."""


def bicubic_psnr(images: list[Pixels], scale: int) -> float:
    """The same figure as `validation_psnr`, of bicubic downscaling and upscaling."""
    lrs = (bicubic_downscale(image, scale) for image in images)
    made = [bicubic_upscale(lr, scale) for lr in lrs]
    return _mean_psnr(made, images, scale)


@torch.no_grad()
def validation_psnr(model: HCFlow | IRN, images: list[Pixels]) -> float:
    """Mean PSNR in dB on RGB at τ = 0, border cropped; NaN where an output is not finite.

    No image counts for more than `BEST`. Rescaling starts from its own 8-bit LR image,
    super-resolution from the bicubic one.
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


def _mean_psnr(made: list[Pixels], truths: list[Pixels], scale: int) -> float:
    values = []
    for image, truth in zip(made, truths, strict=True):
        border = scale if min(truth.shape[:2]) > 2 * scale else 0
        values.append(min(psnr(crop_border(image, border), crop_border(truth, border)), BEST))
    return float(np.mean(values)) if values else float("nan")
