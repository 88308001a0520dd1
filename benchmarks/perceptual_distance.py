"""PSNR and perceptual distance of SR models: `python -m benchmarks.perceptual_distance sr_x4`.

The four photographs from their 8-bit bicubic LR images, at τ = 0 and one sample at `--tau`. The
distance is the mean difference of EfficientNet-Lite0's features (`[perceptual]`), 0 for equal
images. HCFlow++ is trained for it, so it favours HCFlow++. LPIPS needs weights that no package
brings; `hcflow evaluate` reports it where they are.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.degraded_inputs import reference_models
from hcflow.measure.evaluated import ReferenceModel
from hcflow_ref.evaluation.metrics import bicubic_downscale, bicubic_upscale, consistency, fidelity
from hcflow_ref.images.photographs import photographs
from hcflow_ref.images.pixels import Pixels
from hcflow_ref.images.tensors import to_tensor
from hcflow_ref.training.losses.efficientnet import EfficientNetFeatures, load_efficientnet

Upscale = Callable[[Pixels], Pixels]


@torch.no_grad()
def distance(features: EfficientNetFeatures, made: Pixels, truth: Pixels) -> float:
    """Mean difference of the features, of as many rows and columns as 16 divides."""
    height, width = (side // 16 * 16 for side in truth.shape[:2])
    a, b = (features(to_tensor(image[:height, :width])) for image in (made, truth))
    difference: Tensor = (a - b).abs().mean()
    return difference.item()


def rows(
    models: dict[str, ReferenceModel], scale: int, tau: float
) -> Iterator[tuple[str, Upscale]]:
    """What is compared: bicubic, and each model at τ = 0 and at another temperature, seed 0."""
    yield "bicubic", lambda lr: bicubic_upscale(lr, scale)
    for name, model in models.items():
        for each in (0.0, tau):
            yield f"`{name}`, τ = {each:g}", functools.partial(_upscaled, model, each)


def _upscaled(model: ReferenceModel, tau: float, lr: Pixels) -> Pixels:
    (made,) = model.upscale(lr, tau, seed=0, samples=1)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="shipped models or checkpoints, of one scale")
    parser.add_argument("--tau", type=float, default=0.9)
    options = parser.parse_args()
    features = load_efficientnet()
    models, scale = reference_models(options.models)
    print("| | PSNR | consistency | distance |\n|---|---|---|---|")
    for name, upscale in rows(models, scale, options.tau):
        found = []
        for truth in photographs(scale).values():
            lr = bicubic_downscale(truth, scale)
            made = upscale(lr)
            kept = consistency(made, lr, scale).psnr
            found.append((fidelity(made, truth, scale).psnr, kept, distance(features, made, truth)))
        mean = np.mean(found, axis=0)
        print(f"| {name} | {mean[0]:.2f} | {mean[1]:.1f} | {mean[2]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
