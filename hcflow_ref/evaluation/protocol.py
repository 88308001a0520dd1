"""The evaluation protocol (docs/network.md, 6): figures of a model on a set of images.

Rescaling starts from its own 8-bit LR image, super-resolution from the 8-bit bicubic LR image. Both
are compared with bicubic upscaling of the bicubic LR image.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

from hcflow_ref.errors import CheckpointError
from hcflow_ref.evaluation.metrics import (
    SSIM_WINDOW,
    Fidelity,
    bicubic_downscale,
    bicubic_upscale,
    consistency,
    diversity,
    fidelity,
    psnr,
)
from hcflow_ref.evaluation.perceptual_metrics import PerceptualMetrics
from hcflow_ref.images.files import (
    FORMATS,
    UNREADABLE,
    image_files,
    open_image,
    to_rgb,
)
from hcflow_ref.images.photographs import photographs
from hcflow_ref.images.pixels import Pixels, crop_to_multiple
from hcflow_ref.network.config import Task

Noise = torch.Tensor
"""Uniform noise for dequantisation, 1×3×H×W float32, not yet divided by q."""

METRICS_BYTES = 210
"""Memory of the metrics per HR pixel; 193 to 200 were measured, most of them SSIM's."""

PICTURES_BYTES = 30
"""Memory of the compared images per HR pixel."""

BICUBIC_BYTES = 16
"""Memory per `side² / scale`: the float64 matrices that resize that axis down and up."""


class Evaluated(Protocol):
    """What is evaluated: a reference network, or a bundle on a backend.

    Images are H×W×3 uint8, HR sides multiples of the scale.
    """

    @property
    def scale(self) -> int:
        """HR size / LR size."""

    @property
    def task(self) -> Task:
        """Rescaling makes its own LR image; super-resolution starts from the bicubic one."""

    @property
    def bytes_per_pixel(self) -> float:
        """Memory per HR pixel of running a whole image; 0 where the model runs in tiles."""

    def downscale(self, hr: Pixels) -> Pixels:
        """The network's own LR image."""

    def upscale(self, lr: Pixels, tau: float, seed: int, samples: int) -> list[Pixels]:
        """Samples at temperature τ, whose latents follow from seed, sample and position."""

    def bits_per_pixel(self, hr: Pixels, lr: Pixels, noise: Noise) -> float | None:
        """NLL of `hr` + noise/q given `lr` in bits per HR pixel; None where there is none."""


@dataclass(frozen=True)
class Settings:
    """How to sample, and how to measure the likelihood.

    Attributes:
        tau: temperature of the samples; figures at τ = 0 are always measured too.
        seed: seed of the latents and of the dequantisation noise.
        samples: number of samples; none are drawn at τ = 0.
        dequantisation: noise U(0, 1)/q as published, or U(−½, ½)/q for weights trained with that.
    """

    tau: float
    seed: int = 0
    samples: int = 2
    dequantisation: Literal["official", "centred"] = "official"


@dataclass(frozen=True)
class Outputs:
    """The images behind a row, to look at.

    Attributes:
        truth, bicubic, restored: HR images; `restored` is the network's at τ = 0.
        sample: the first HR sample at τ; None at τ = 0.
        lr: the 8-bit LR image that was upscaled.
    """

    truth: Pixels
    bicubic: Pixels
    restored: Pixels
    sample: Pixels | None
    lr: Pixels


@dataclass(frozen=True)
class Row:
    """The figures of one image. PSNR is in dB; a border as wide as the scale is cropped.

    Attributes:
        bicubic: bicubic downscaling and upscaling against the truth.
        restored: the network's output at τ = 0 against the truth.
        sampled: mean over the samples at τ, or None.
        lr_psnr: the 8-bit LR image against the bicubic one; infinite for super-resolution.
        consistency: the bicubic LR of the output at τ = 0 against the LR it was made from.
        sampled_consistency: the same of the first sample, or None.
        diversity: mean per-pixel standard deviation of the samples, 8-bit steps, or None.
        bits_per_pixel: negative log-likelihood; super-resolution only.
        vif: visual information fidelity of the output at τ = 0, 1 for equal images, or None.
        lpips: its learned perceptual distance, 0 for equal images, or None.
        sampled_vif, sampled_lpips: the same of the first sample, or None.
    """

    name: str
    bicubic: Fidelity
    restored: Fidelity
    sampled: Fidelity | None
    lr_psnr: float
    consistency: Fidelity
    sampled_consistency: Fidelity | None
    diversity: float | None
    bits_per_pixel: float | None
    vif: float | None
    lpips: float | None
    sampled_vif: float | None = None
    sampled_lpips: float | None = None


@dataclass(frozen=True)
class Source:
    """An image that is read only when it is evaluated.

    Attributes:
        name: its name in reports.
        height, width: size of the HR image; 0 where it could not be read.
        read: reads the image, sides cropped to multiples of the scale; raises `CheckpointError`
            where it is damaged or too small.
    """

    name: str
    height: int
    width: int
    read: Callable[[], Pixels]

    @property
    def pixels(self) -> int:
        """Number of HR pixels."""
        return self.height * self.width


def sources(folder: Path | None, scale: int) -> list[Source]:
    """The images of a folder and its subfolders, sorted; the four photographs for None.

    Raises:
        CheckpointError: there is no such folder, or no image in it.
    """
    if folder is None:
        return [
            Source(name, image.shape[0], image.shape[1], functools.partial(np.asarray, image))
            for name, image in photographs(scale).items()
        ]
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; --data takes a folder of images")
    paths = image_files(folder)
    if not paths:
        raise CheckpointError(f"{folder}: contains no images ({', '.join(FORMATS)})")
    found = []
    for path in paths:
        width, height = 0, 0
        with contextlib.suppress(*UNREADABLE), open_image(path) as file:
            width, height = file.size
        name = path.relative_to(folder).as_posix()
        found.append(Source(name, height, width, functools.partial(_read, path, scale)))
    return found


def _read(path: Path, scale: int) -> Pixels:
    try:
        with open_image(path) as file:
            image = np.asarray(to_rgb(file))
    except UNREADABLE as error:
        raise CheckpointError(f"cannot be read ({error})") from error
    if min(image.shape[:2]) // scale < SSIM_WINDOW:
        raise CheckpointError(f"too small to measure at scale {scale}")
    return crop_to_multiple(image, scale)


def bytes_needed(model: Evaluated, source: Source, samples: int) -> int:
    """Bytes that evaluating an image takes: the network or the metrics, and the images.

    A long strip has few pixels, but its resize matrices grow with the square of its length.
    """
    pictures = PICTURES_BYTES + 3 * samples
    matrices = BICUBIC_BYTES * (source.height**2 + source.width**2) / model.scale
    return int(source.pixels * (max(model.bytes_per_pixel, METRICS_BYTES) + pictures) + matrices)


def evaluate_image(
    model: Evaluated, name: str, truth: Pixels, settings: Settings, metrics: PerceptualMetrics
) -> tuple[Row, Outputs]:
    """The figures and outputs of one image whose sides are multiples of the scale."""
    scale = model.scale
    bicubic_lr = bicubic_downscale(truth, scale)
    lr = model.downscale(truth) if model.task == "rescaling" else bicubic_lr
    (restored,) = model.upscale(lr, 0.0, settings.seed, 1)
    drawn: list[Pixels] = []
    if settings.tau > 0:
        drawn = model.upscale(lr, settings.tau, settings.seed, settings.samples)
    upscaled = bicubic_upscale(bicubic_lr, scale)
    row = Row(
        name,
        bicubic=fidelity(upscaled, truth, scale),
        restored=fidelity(restored, truth, scale),
        sampled=_mean([fidelity(image, truth, scale) for image in drawn]),
        lr_psnr=psnr(lr, bicubic_lr),
        consistency=consistency(restored, lr, scale),
        sampled_consistency=consistency(drawn[0], lr, scale) if drawn else None,
        diversity=diversity(drawn) if len(drawn) > 1 else None,
        bits_per_pixel=_bits_per_pixel(model, truth, lr, settings),
        vif=metrics.vif(restored, truth),
        lpips=metrics.lpips(restored, truth),
        sampled_vif=metrics.vif(drawn[0], truth) if drawn else None,
        sampled_lpips=metrics.lpips(drawn[0], truth) if drawn else None,
    )
    return row, Outputs(truth, upscaled, restored, drawn[0] if drawn else None, lr)


def _bits_per_pixel(model: Evaluated, hr: Pixels, lr: Pixels, settings: Settings) -> float | None:
    if model.task != "sr":
        return None
    height, width = hr.shape[:2]
    generator = torch.Generator().manual_seed(settings.seed)
    noise = torch.rand((1, 3, height, width), generator=generator)
    centred = settings.dequantisation == "centred"
    return model.bits_per_pixel(hr, lr, noise - 0.5 if centred else noise)


def average(rows: Sequence[Row]) -> Row:
    """The mean of every figure over the images; None where an image has none."""
    names = [field.name for field in dataclasses.fields(Row) if field.name != "name"]
    return Row("average", **{name: _mean([getattr(row, name) for row in rows]) for name in names})


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers or of fidelities; None where there are none or one is None."""
    if not values or any(value is None for value in values):
        return None
    if isinstance(values[0], Fidelity):
        columns = zip(*map(dataclasses.astuple, values), strict=True)
        return Fidelity(*map(_mean, columns))
    return float(np.mean(values))
