"""Perceptual metrics from torchmetrics: VIF, and LPIPS where its backbone can be loaded.

LPIPS uses AlexNet, whose weights torchvision downloads once. VIF needs no weights.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from hcflow_ref.errors import one_line
from hcflow_ref.images.pixels import Pixels
from hcflow_ref.images.tensors import to_tensor

Metric = Callable[[Pixels, Pixels], float | None]
"""H×W×3 uint8 image and truth → value; None where it cannot be computed."""

VIF_SIDE = 41
"""Smallest side of an image in pixels: VIF halves it three times and filters each size."""

UNLOADABLE = (ImportError, OSError, RuntimeError)
"""Raised where the library, its weights or the network is missing, or it needs another PyTorch."""


def not_loaded(image: Pixels, truth: Pixels) -> None:
    """The metric that could not be loaded: it has no value for any image."""


@dataclass(frozen=True)
class PerceptualMetrics:
    """The perceptual metrics that could be loaded.

    Attributes:
        vif: visual information fidelity in the pixel domain, 1 for equal images; from 41×41 pixels.
        lpips: learned perceptual image patch similarity, 0 for equal images.
        missing: a line for each that could not be loaded, with the reason.
    """

    vif: Metric = not_loaded
    lpips: Metric = not_loaded
    missing: tuple[str, ...] = ()


def load() -> PerceptualMetrics:
    """Load what can be loaded; what cannot is named in `missing`, and is no error."""
    try:
        image: Any = importlib.import_module("torchmetrics.functional.image")
    except UNLOADABLE as error:
        return PerceptualMetrics(missing=(f"VIF and LPIPS are not available: {one_line(error)}",))

    def vif(made: Pixels, truth: Pixels) -> float | None:
        if min(truth.shape[:2]) < VIF_SIDE:
            return None
        # VIF assumes noise of variance 2 on images from 0 to 255.
        pair = (255 * to_tensor(made), 255 * to_tensor(truth))
        return float(image.visual_information_fidelity(*pair))

    try:
        return PerceptualMetrics(vif, _lpips())
    except UNLOADABLE as error:
        return PerceptualMetrics(vif, missing=(f"LPIPS is not available: {one_line(error)}",))


def _lpips() -> Metric:
    module: Any = importlib.import_module("torchmetrics.image.lpip")
    network = module.LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)

    @torch.no_grad()
    def lpips(made: Pixels, truth: Pixels) -> float:
        return float(network(to_tensor(made), to_tensor(truth)))

    return lpips
