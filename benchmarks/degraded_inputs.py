"""Models on degraded LR images: `python -m benchmarks.degraded_inputs sr_x4 [NAME_OR_FILE …]`.

The four photographs are blurred, downscaled with MATLAB's bicubic and compressed as JPEG (Wang et
al., "Real-ESRGAN", ICCVW 2021, first order, without noise), and upscaled at τ = 0. Prints a
Markdown table of the mean PSNR on RGB in dB against the photographs, beside bicubic's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from hcflow.measure.evaluated import ReferenceModel
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import names, weights
from hcflow_ref.evaluation.metrics import bicubic_upscale, fidelity
from hcflow_ref.images.photographs import photographs
from hcflow_ref.images.tensors import to_image, to_tensor
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from hcflow_ref.training.data.degradation import degraded

CASES = ((0.0, 0), (0.0, 90), (0.0, 75), (0.0, 50), (0.0, 30), (1.0, 0), (2.0, 0), (1.0, 75))
"""Standard deviation of the blur in HR pixels, and JPEG's quality; 0 is none."""


def network_of(name_or_file: str) -> HCFlow | IRN:
    """The network of a shipped model or a checkpoint."""
    return load(weights(name_or_file) if name_or_file in names() else name_or_file).model


def reference_models(names_or_files: Sequence[str]) -> tuple[dict[str, ReferenceModel], int]:
    """The networks of shipped models and checkpoints by what they were called; their one scale."""
    models = {each: ReferenceModel(network_of(each)) for each in names_or_files}
    (scale,) = {model.scale for model in models.values()}
    return models, scale


def mean_psnr(model: ReferenceModel | None, scale: int, blur: float, quality: int) -> float:
    """Over the photographs at τ = 0; of bicubic without a model."""
    found = []
    for truth in photographs(scale).values():
        lr = to_image(degraded(to_tensor(truth), scale, blur, quality))
        made = bicubic_upscale(lr, scale) if model is None else model.upscale(lr, 0.0, 0, 1)[0]
        found.append(fidelity(made, truth, scale).psnr)
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="shipped models or checkpoints, of one scale")
    models, scale = reference_models(parser.parse_args().models)
    print("| blur σ | JPEG | bicubic | " + " | ".join(f"`{name}`" for name in models) + " |")
    print("|---|---|---|" + "---|" * len(models))
    for blur, quality in CASES:
        row = [mean_psnr(model, scale, blur, quality) for model in (None, *models.values())]
        cells = " | ".join(f"{value:.2f}" for value in row)
        print(f"| {blur or 'none'} | {quality or 'none'} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
