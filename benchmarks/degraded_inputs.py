"""Models on degraded LR images: `python -m benchmarks.degraded_inputs sr_x4 [NAME_OR_FILE …]`.

The four photographs are blurred, downscaled with MATLAB's bicubic and compressed as JPEG (Wang et
al., "Real-ESRGAN", ICCVW 2021, first order, without noise), and upscaled at τ = 0. Prints a
Markdown table of the mean PSNR on RGB in dB against the photographs, beside bicubic's.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import names, weights
from hcflow_ref.evaluation.metrics import bicubic_upscale, crop_border, psnr
from hcflow_ref.images.photographs import photographs
from hcflow_ref.images.pixels import Pixels
from hcflow_ref.images.tensors import to_image, to_tensor
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.training.data.degradation import degraded

CASES = ((0.0, 0), (0.0, 90), (0.0, 75), (0.0, 50), (0.0, 30), (1.0, 0), (2.0, 0), (1.0, 75))
"""Standard deviation of the blur in HR pixels, and JPEG's quality; 0 is none."""


def upscaled(model: HCFlow, lr: Pixels) -> Pixels:
    """The image at τ = 0."""
    given = to_tensor(lr)
    with torch.no_grad():
        return to_image(model.inverse(given, model.zero_latents(given)))


def mean_psnr(model: HCFlow | None, scale: int, blur: float, quality: int) -> float:
    """Over the photographs; of bicubic without a model."""
    found = []
    for truth in photographs(scale).values():
        lr = to_image(degraded(to_tensor(truth), scale, blur, quality))
        made = bicubic_upscale(lr, scale) if model is None else upscaled(model, lr)
        found.append(psnr(crop_border(made, scale), crop_border(truth, scale)))
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="shipped models or checkpoints, of one scale")
    given = parser.parse_args().models
    models = {n: load(weights(n) if n in names() else n).model for n in given}
    (scale,) = {model.config.scale for model in models.values()}
    print("| blur σ | JPEG | bicubic | " + " | ".join(f"`{name}`" for name in models) + " |")
    print("|---|---|---|" + "---|" * len(models))
    for blur, quality in CASES:
        row = [mean_psnr(model, scale, blur, quality) for model in (None, *models.values())]
        cells = " | ".join(f"{value:.2f}" for value in row)
        print(f"| {blur or 'none'} | {quality or 'none'} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
