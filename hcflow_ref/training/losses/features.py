"""The feature network of the perceptual loss that `loss.features` names."""

from __future__ import annotations

from torch import nn

from hcflow_ref.training.losses import efficientnet, vgg


def load_features(name: str) -> nn.Module:
    """RGB N×3×H×W in [0, 1] → features, frozen.

    Args:
        name: `efficientnet-lite0`, or a file of VGG19's weights; empty: torchvision's VGG19.

    Raises:
        TrainingError: the weights are not there, or not of that network.
    """
    return efficientnet.load_efficientnet() if name == efficientnet.NAME else vgg.load_vgg(name)
