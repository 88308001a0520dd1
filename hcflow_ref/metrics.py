"""PSNR, SSIM, diversity and consistency (HCFLOW.md section 5).

Images are H×W×3 uint8 RGB; a border of `border` pixels is cropped before anything is compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcflow_ref import bicubic
from hcflow_ref.photographs import to_image, to_tensor

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5
"""The Gaussian window is cut at 3.5 σ: 11×11 pixels."""
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class Fidelity:
    """PSNR in dB and SSIM of one image against another, on RGB and on BT.601 luma."""

    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float


def luma(image: Image) -> Array:
    """H×W×3 uint8 → H×W×1 BT.601 luma in [16, 235], not rounded."""
    y: Array = image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255 + 16
    return y[..., None]


def crop_border(image: Image, border: int) -> Image:
    """Cut `border` pixels off each side.

    Raises:
        ValueError: nothing would be left.
    """
    height, width = image.shape[:2]
    if min(height, width) <= 2 * border:
        raise ValueError(f"image of {height}×{width} has nothing inside a border of {border}")
    return image[border : height - border, border : width - border]


def _same_shape(a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images differ in shape: {a.shape} and {b.shape}")


def psnr(a: Image | Array, b: Image | Array) -> float:
    """10·log10(255² / mean squared error) over all channels; infinite for equal images."""
    _same_shape(a, b)
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(255**2 / error))


def _window() -> Array:
    offsets = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    window: Array = weights / weights.sum()
    return window


def _blur(x: Array) -> Array:
    """Gaussian window means of H×W×C, where the window fits (the valid region)."""
    window = _window()
    for axis in (0, 1):
        x = np.lib.stride_tricks.sliding_window_view(x, window.size, axis=axis) @ window
    return x


def ssim(a: Image | Array, b: Image | Array) -> float:
    """Mean structural similarity of H×W×C images over channels and the valid region.

    Wang et al., 2004: Gaussian window σ = 1.5, population covariances, 8-bit range.

    Raises:
        ValueError: shapes differ, or a side is below the window's 11 pixels.
    """
    _same_shape(a, b)
    if min(a.shape[:2]) < 2 * SSIM_RADIUS + 1:
        raise ValueError(f"image of {a.shape[0]}×{a.shape[1]} is below the 11×11 window of SSIM")
    x, y = a.astype(np.float64), b.astype(np.float64)
    mx, my = _blur(x), _blur(y)
    vx, vy, vxy = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    luminance = (2 * mx * my + SSIM_C1) / (mx * mx + my * my + SSIM_C1)
    structure = (2 * vxy + SSIM_C2) / (vx + vy + SSIM_C2)
    return float(np.mean(luminance * structure))


def fidelity(image: Image, truth: Image, border: int) -> Fidelity:
    """PSNR and SSIM on RGB and Y inside the border."""
    _same_shape(image, truth)
    a, b = crop_border(image, border), crop_border(truth, border)
    ya, yb = luma(a), luma(b)
    return Fidelity(psnr(a, b), ssim(a, b), psnr(ya, yb), ssim(ya, yb))


def bicubic_downscale(image: Image, scale: int) -> Image:
    """The 8-bit bicubic LR of an 8-bit HR image."""
    return to_image(bicubic.downscale(to_tensor(image).double(), scale))


def bicubic_upscale(image: Image, scale: int) -> Image:
    """The 8-bit bicubic upscaling of an 8-bit LR image."""
    return to_image(bicubic.upscale(to_tensor(image).double(), scale))


def consistency(hr: Image, lr: Image, scale: int) -> Fidelity:
    """How well the bicubic LR of an output `hr` agrees with the `lr` it was made from."""
    return fidelity(bicubic_downscale(hr, scale), lr, 0)


def diversity(samples: Sequence[Image]) -> float:
    """Mean over pixels and channels of the standard deviation of the samples, in 8-bit steps."""
    if not samples:
        raise ValueError("diversity of no samples")
    return float(np.std(np.stack(samples).astype(np.float64), axis=0).mean())
