"""PSNR, SSIM, diversity and consistency (docs/network.md, 6) of H×W×3 uint8 RGB images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcflow_ref.images import bicubic
from hcflow_ref.images.pixels import Pixels
from hcflow_ref.images.tensors import to_image, to_tensor

Array = NDArray[np.float64]

SSIM_SIGMA = 1.5
SSIM_WINDOW = 11
"""scikit-image cuts the Gaussian at 3.5 σ: 11×11 pixels."""


@dataclass(frozen=True)
class Fidelity:
    """PSNR in dB and SSIM of one image against another, on RGB and on BT.601 luma."""

    psnr: float
    ssim: float
    psnr_y: float
    ssim_y: float


def luma(image: Pixels) -> Array:
    """H×W×3 uint8 → H×W×1 BT.601 luma in [16, 235], not rounded."""
    y: Array = image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255 + 16
    return y[..., None]


def crop_border(image: Pixels, border: int) -> Pixels:
    """The image without `border` pixels on each side.

    Raises:
        ValueError: no pixel is left.
    """
    height, width = image.shape[:2]
    if min(height, width) <= 2 * border:
        raise ValueError(f"image of {height}×{width} is too small for a border of {border}")
    return image[border : height - border, border : width - border]


def _same_shape(a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images differ in shape: {a.shape} and {b.shape}")


def psnr(a: Pixels | Array, b: Pixels | Array) -> float:
    """10·log10(255² / mean squared error) in dB over all channels; infinite for equal images.

    Values are on the scale of 8-bit images, 0 to 255, rounded or not.

    Raises:
        ValueError: shapes differ.
    """
    _same_shape(a, b)
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return math.inf if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(a: Pixels | Array, b: Pixels | Array) -> float:
    """Mean structural similarity of H×W×C images over channels and the valid region.

    Wang et al., 2004: Gaussian window σ = 1.5 of 11×11, population covariances, 8-bit range.

    Raises:
        ValueError: shapes differ, or a side is below the window's 11 pixels.
    """
    from skimage.metrics import structural_similarity  # noqa: PLC0415 - only evaluation needs it

    _same_shape(a, b)
    if min(a.shape[:2]) < SSIM_WINDOW:
        raise ValueError(
            f"image of {a.shape[0]}×{a.shape[1]} is smaller than the 11×11 window of SSIM"
        )
    return float(
        structural_similarity(  # type: ignore[no-untyped-call]
            a.astype(np.float64),
            b.astype(np.float64),
            data_range=255,
            channel_axis=2,
            gaussian_weights=True,
            sigma=SSIM_SIGMA,
            use_sample_covariance=False,
        )
    )


def fidelity(image: Pixels, truth: Pixels, border: int) -> Fidelity:
    """PSNR and SSIM on RGB and luma, without a border of `border` pixels.

    Raises:
        ValueError: shapes differ, or too little is left inside the border.
    """
    _same_shape(image, truth)
    a, b = crop_border(image, border), crop_border(truth, border)
    ya, yb = luma(a), luma(b)
    return Fidelity(psnr(a, b), ssim(a, b), psnr(ya, yb), ssim(ya, yb))


def bicubic_downscale(image: Pixels, scale: int) -> Pixels:
    """The 8-bit bicubic LR of an 8-bit HR image."""
    return to_image(bicubic.downscale(to_tensor(image).double(), scale))


def bicubic_upscale(image: Pixels, scale: int) -> Pixels:
    """The 8-bit bicubic upscaling of an 8-bit LR image."""
    return to_image(bicubic.upscale(to_tensor(image).double(), scale))


def consistency(hr: Pixels, lr: Pixels, scale: int) -> Fidelity:
    """How well the bicubic LR image of an output `hr` agrees with the `lr` it was made from."""
    return fidelity(bicubic_downscale(hr, scale), lr, 0)


def diversity(samples: Sequence[Pixels]) -> float:
    """Mean over pixels and channels of the standard deviation of the samples, in 8-bit steps.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("diversity of no samples")
    mean = square = np.zeros((), np.float64)
    for count, sample in enumerate(samples, start=1):  # Welford: constant memory
        off = sample - mean
        mean = mean + off / count
        square = square + off * (sample - mean)
    return float(np.sqrt(square / len(samples)).mean())
