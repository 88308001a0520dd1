"""Perceptual metrics: VIF, which needs no weights, and LPIPS where its backbone can be loaded.

Both are torchmetrics'. LPIPS is of AlexNet, whose weights torchvision fetches once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from hcflow_ref.errors import one_line
from hcflow_ref.evaluation.metrics import Image
from hcflow_ref.images.tensors import to_tensor

Metric = Callable[[Image, Image], float | None]
"""H×W×3 uint8 image and truth → figure; None where there is none to be had."""

VIF_SIDE = 41
"""Its coarsest of four scales needs as many pixels a side."""

UNLOADABLE = (ImportError, OSError, RuntimeError)
"""No library, no weights and no network, or a library built for another PyTorch."""


def left_out(image: Image, truth: Image) -> None:
    """The metric that could not be loaded."""


@dataclass(frozen=True)
class Perception:
    """The metrics that can be computed here.

    Attributes:
        vif: visual information fidelity in the pixel domain, 1 for equal images; of 41×41 and up.
        lpips: learned perceptual image patch similarity, 0 for equal images.
        missing: a line for each that is left out, which says why.
    """

    vif: Metric = left_out
    lpips: Metric = left_out
    missing: tuple[str, ...] = ()


def load() -> Perception:
    """What can be loaded; nothing that cannot is an error."""
    try:
        image: Any = importlib.import_module("torchmetrics.functional.image")
    except UNLOADABLE as error:
        return Perception(missing=(f"VIF and LPIPS are left out: {one_line(error)}",))

    def vif(made: Image, truth: Image) -> float | None:
        if min(truth.shape[:2]) < VIF_SIDE:
            return None
        # Its noise of variance 2 is one of images from 0 to 255.
        pair = (255 * to_tensor(made), 255 * to_tensor(truth))
        return float(image.visual_information_fidelity(*pair))

    try:
        return Perception(vif, _lpips())
    except UNLOADABLE as error:
        return Perception(vif, missing=(f"LPIPS is left out: {one_line(error)}",))


def _lpips() -> Metric:
    module: Any = importlib.import_module("torchmetrics.image.lpip")
    network = module.LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)

    @torch.no_grad()
    def lpips(made: Image, truth: Image) -> float:
        return float(network(to_tensor(made), to_tensor(truth)))

    return lpips
