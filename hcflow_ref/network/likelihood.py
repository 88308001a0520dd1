"""Negative log-likelihood in bits per HR pixel (docs/network.md, 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hcflow_ref.network.hcflow import Encoding, HCFlow
from hcflow_ref.network.layers import sum_per_image
from hcflow_ref.network.lr_image import quantise

LR_LOG_SIGMA = -6.0
"""log σ of the Gaussian of the quantised LR output around the given LR image."""


def bits_per_pixel(encoding: Encoding, lr: Tensor, q: int) -> Tensor:
    """NLL of each image in bits per HR pixel, [N].

    Args:
        encoding: the forward flow of `hr + U(0, 1) / q`.
        lr: the LR image that `hr` belongs to, N×3×H×W in [0, 1].
        q: quantisation levels of the dequantisation noise.
    """
    scale = 2 ** len(encoding.latents)
    pixels = lr.shape[2] * lr.shape[3] * scale**2
    residual = (quantise(encoding.lr) - lr) * math.exp(-LR_LOG_SIGMA)
    log_lr = sum_per_image(-0.5 * (residual**2 + math.log(2 * math.pi)) - LR_LOG_SIGMA)
    bits: Tensor = (math.log(q) * pixels - encoding.logp - log_lr) / (pixels * math.log(2))
    return bits


def nll(model: HCFlow, hr: Tensor, lr: Tensor, noise: Tensor | None = None) -> Tensor:
    """NLL of `hr` N×3×sH×sW given `lr` N×3×H×W, bits per pixel, [N].

    `noise` is the U(0, 1) draw of dequantisation, the shape of `hr`; drawn where not given.
    """
    q = model.config.quantisation
    noise = torch.rand_like(hr) if noise is None else noise
    return bits_per_pixel(model(hr + noise / q), lr, q)
