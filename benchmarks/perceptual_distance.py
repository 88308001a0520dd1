"""PSNR and perceptual distance of SR ×4 models: `python -m benchmarks.perceptual_distance sr_x4`.

The four photographs from their 8-bit bicubic LR images, at τ = 0 and one sample at `--tau`. The
distance is the mean difference of EfficientNet-Lite0's features (`[perceptual]`), 0 for equal
images. HCFlow++ is trained for it, so it favours HCFlow++. LPIPS needs weights that no package
brings; `hcflow evaluate` reports it where they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import names, weights
from hcflow_ref.evaluation.metrics import (
    bicubic_downscale,
    bicubic_upscale,
    consistency,
    crop_border,
    psnr,
)
from hcflow_ref.images.photographs import photographs
from hcflow_ref.images.pixels import Pixels
from hcflow_ref.images.tensors import to_image, to_tensor
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.training.losses.efficientnet import EfficientNetFeatures, load_efficientnet
from hcflow_ref.training.losses.objectives import draw_latents

Upscale = Callable[[Pixels], Pixels]


def at(model: HCFlow, tau: float) -> Upscale:
    """An upscale at a temperature, always with the same seed."""

    @torch.no_grad()
    def upscale(lr: Pixels) -> Pixels:
        given = to_tensor(lr)
        latents = draw_latents(model, given, tau, torch.Generator().manual_seed(0))
        return to_image(model.inverse(given, latents))

    return upscale


@torch.no_grad()
def distance(features: EfficientNetFeatures, made: Pixels, truth: Pixels) -> float:
    """Mean difference of the features, of as many rows and columns as 16 divides."""
    height, width = (side // 16 * 16 for side in truth.shape[:2])
    a, b = (features(to_tensor(image[:height, :width])) for image in (made, truth))
    difference: Tensor = (a - b).abs().mean()
    return difference.item()


def rows(names_or_files: list[str], tau: float) -> Iterator[tuple[str, Upscale]]:
    """What is compared: bicubic and each model at two temperatures."""
    models = {n: load(weights(n) if n in names() else n).model for n in names_or_files}
    (scale,) = {model.config.scale for model in models.values()}
    yield "bicubic", lambda lr: bicubic_upscale(lr, scale)
    for name, model in models.items():
        yield f"`{name}`, τ = 0", at(model, 0.0)
        yield f"`{name}`, τ = {tau:g}", at(model, tau)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="shipped models or checkpoints of scale 4")
    parser.add_argument("--tau", type=float, default=0.9)
    options = parser.parse_args()
    features, scale = load_efficientnet(), 4
    print("| | PSNR | consistency | distance |\n|---|---|---|---|")
    for name, upscale in rows(options.models, options.tau):
        found = []
        for truth in photographs(scale).values():
            lr = bicubic_downscale(truth, scale)
            made = upscale(lr)
            inner = psnr(crop_border(made, scale), crop_border(truth, scale))
            kept = consistency(made, lr, scale).psnr
            found.append((inner, kept, distance(features, made, truth)))
        mean = np.mean(found, axis=0)
        print(f"| {name} | {mean[0]:.2f} | {mean[1]:.1f} | {mean[2]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
