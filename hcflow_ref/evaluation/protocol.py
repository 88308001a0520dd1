"""The evaluation protocol (docs/network.md, 6) on whatever enlarges a set of images.

Rescaling goes through its own 8-bit LR; super-resolution starts from the 8-bit bicubic LR. Both are
compared with bicubic upscaling of the bicubic LR. Every figure states τ and seed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from hcflow_ref.errors import CheckpointError
from hcflow_ref.evaluation.metrics import (
    SSIM_WINDOW,
    Fidelity,
    Image,
    bicubic_downscale,
    bicubic_upscale,
    consistency,
    diversity,
    fidelity,
    psnr,
)
from hcflow_ref.evaluation.perceptual_metrics import Perception
from hcflow_ref.images.files import FORMATS, UNREADABLE, image_files, open_image, to_rgb
from hcflow_ref.images.photographs import crop_to_multiple, photographs
from hcflow_ref.network.config import Task

Noise = torch.Tensor
"""Uniform draws of dequantisation, 1×3×H×W float32."""

METRICS_BYTES = 210
"""Per HR pixel: 193 to 200 were measured, of which most is SSIM's."""

PICTURES_BYTES = 30
"""Per HR pixel, of the images that are compared."""

BICUBIC_BYTES = 16
"""Per square of a side over the scale: the matrices of that axis, down and up, in float64."""


class Subject(Protocol):
    """What is evaluated: a reference network, or a bundle on some backend.

    Images are H×W×3 uint8, HR sides multiples of the scale.
    """

    @property
    def scale(self) -> int:
        """HR size / LR size."""

    @property
    def task(self) -> Task:
        """Rescaling makes its own LR image; super-resolution is given the bicubic one."""

    @property
    def bytes_per_pixel(self) -> float:
        """Memory per HR pixel that an image run whole takes; 0 where only tiles run."""

    def reduce(self, hr: Image) -> Image:
        """The 8-bit LR image that the network itself makes."""

    def enlarge(self, lr: Image, tau: float, seed: int, samples: int) -> list[Image]:
        """Samples at τ with latents by place."""

    def bits_per_pixel(self, hr: Image, lr: Image, noise: Noise) -> float | None:
        """Negative log-likelihood of `hr` + noise/q given `lr`, for super-resolution; or None."""


@dataclass(frozen=True)
class Settings:
    """How to sample.

    Attributes:
        tau: temperature of the samples; the first image is always at τ = 0.
        seed: of the latents.
        samples: how many to draw for diversity; none at τ = 0.
        dequantisation: noise of the likelihood, U(0, 1)/q as published, or U(−½, ½)/q for weights
            trained with that.
    """

    tau: float
    seed: int = 0
    samples: int = 2
    dequantisation: Literal["official", "centred"] = "official"


@dataclass(frozen=True)
class Outputs:
    """What one image gave, for looking at.

    Attributes:
        truth, bicubic, restored: HR; the last at τ = 0.
        sample: HR at τ, the first one; None at τ = 0.
        lr: what the network started from or made, 8 bits.
    """

    truth: Image
    bicubic: Image
    restored: Image
    sample: Image | None
    lr: Image


@dataclass(frozen=True)
class Row:
    """The figures of one image; PSNR in dB, border of the scale cropped.

    Attributes:
        bicubic: of bicubic down and up.
        restored: of the network at τ = 0.
        sampled: mean over the samples at τ, or None.
        lr_psnr: 8-bit LR against the bicubic LR, whole image; infinite for super-resolution.
        consistency: of the output at τ = 0, downscaled, with the LR it was made from.
        sampled_consistency: of the first sample, or None.
        diversity: mean per-pixel standard deviation of several samples, 8-bit steps, or None.
        bits_per_pixel: negative log-likelihood; super-resolution only.
        vif: visual information fidelity of the output at τ = 0, 1 for equal images, or None.
        lpips: its learned perceptual distance, 0 for equal images, or None.
        sampled_vif, sampled_lpips: of the first sample, or None.
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
    """An image that is read when its turn comes.

    Attributes:
        name: for people.
        height, width: of HR; 0 where that could not be read.
        read: the image, sides cropped to multiples of the scale; raises `CheckpointError` for a
            damaged or too small one.
    """

    name: str
    height: int
    width: int
    read: Callable[[], Image]

    @property
    def pixels(self) -> int:
        """Of HR."""
        return self.height * self.width


def sources(folder: Path | None, scale: int) -> list[Source]:
    """The images of a folder and those below it, sorted; None: the four photographs.

    Raises:
        CheckpointError: no image there.
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
        raise CheckpointError(f"{folder}: holds no images ({', '.join(FORMATS)})")
    found = []
    for path in paths:
        width, height = 0, 0
        with contextlib.suppress(*UNREADABLE), open_image(path) as file:
            width, height = file.size
        name = path.relative_to(folder).as_posix()
        found.append(Source(name, height, width, functools.partial(_read, path, scale)))
    return found


def _read(path: Path, scale: int) -> Image:
    try:
        with open_image(path) as file:
            image = np.asarray(to_rgb(file))
    except UNREADABLE as error:
        raise CheckpointError(f"cannot be read ({error})") from error
    if min(image.shape[:2]) // scale < SSIM_WINDOW:
        raise CheckpointError(f"too small to measure at scale {scale}")
    return crop_to_multiple(image, scale)


def bytes_needed(subject: Subject, source: Source, samples: int) -> int:
    """Memory that evaluating an image takes: its network, then its metrics, and its pictures.

    A long strip has few pixels, and matrices of bicubic that are as large as its square.
    """
    pictures = PICTURES_BYTES + 3 * samples
    matrices = BICUBIC_BYTES * (source.height**2 + source.width**2) / subject.scale
    return int(source.pixels * (max(subject.bytes_per_pixel, METRICS_BYTES) + pictures) + matrices)


def evaluate_image(
    subject: Subject, name: str, truth: Image, settings: Settings, perception: Perception
) -> tuple[Row, Outputs]:
    """The figures and outputs of one image whose sides are multiples of the scale."""
    scale = subject.scale
    bicubic_lr = bicubic_downscale(truth, scale)
    lr = subject.reduce(truth) if subject.task == "rescaling" else bicubic_lr
    (restored,) = subject.enlarge(lr, 0.0, settings.seed, 1)
    drawn: list[Image] = []
    if settings.tau > 0:
        drawn = subject.enlarge(lr, settings.tau, settings.seed, settings.samples)
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
        bits_per_pixel=_bits_per_pixel(subject, truth, lr, settings),
        vif=perception.vif(restored, truth),
        lpips=perception.lpips(restored, truth),
        sampled_vif=perception.vif(drawn[0], truth) if drawn else None,
        sampled_lpips=perception.lpips(drawn[0], truth) if drawn else None,
    )
    return row, Outputs(truth, upscaled, restored, drawn[0] if drawn else None, lr)


def _bits_per_pixel(subject: Subject, hr: Image, lr: Image, settings: Settings) -> float | None:
    if subject.task != "sr":
        return None
    height, width = hr.shape[:2]
    generator = torch.Generator().manual_seed(settings.seed)
    noise = torch.rand((1, 3, height, width), generator=generator)
    centred = settings.dequantisation == "centred"
    return subject.bits_per_pixel(hr, lr, noise - 0.5 if centred else noise)


def _mean(values: Sequence[Fidelity]) -> Fidelity | None:
    if not values:
        return None
    columns = zip(*((v.psnr, v.ssim, v.psnr_y, v.ssim_y) for v in values), strict=True)
    return Fidelity(*(float(np.mean(column)) for column in columns))


def average(rows: Sequence[Row]) -> Row:
    """The mean of every figure over the images; None where an image has none."""

    def mean(values: Sequence[float | None]) -> float | None:
        present = [v for v in values if v is not None]
        return float(np.mean(present)) if len(present) == len(values) else None

    def fidelities(values: Sequence[Fidelity | None]) -> Fidelity | None:
        present = [v for v in values if v is not None]
        return _mean(present) if len(present) == len(values) else None

    restored, bicubic = (
        fidelities([r.restored for r in rows]),
        fidelities([r.bicubic for r in rows]),
    )
    agreement = fidelities([r.consistency for r in rows])
    assert restored is not None
    assert bicubic is not None
    assert agreement is not None
    return Row(
        "average",
        bicubic,
        restored,
        fidelities([r.sampled for r in rows]),
        float(np.mean([r.lr_psnr for r in rows])),
        agreement,
        fidelities([r.sampled_consistency for r in rows]),
        mean([r.diversity for r in rows]),
        mean([r.bits_per_pixel for r in rows]),
        mean([r.vif for r in rows]),
        mean([r.lpips for r in rows]),
        mean([r.sampled_vif for r in rows]),
        mean([r.sampled_lpips for r in rows]),
    )
