"""VGG19 features before the ReLU of conv5_4, with weights from a file or from torchvision."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from hcflow_ref.checkpoint import safetensors_file
from hcflow_ref.errors import TrainingError, one_line

VGG19_TO_CONV5_4 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0) + (
    512,
) * 4
"""Output channels of VGG19's 3×3 convolutions (Simonyan and Zisserman, 2015), 0 a max-pooling."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class VGGFeatures(nn.Module):
    """RGB N×3×H×W in [0, 1] → the last convolution's output, before its ReLU.

    Parameter names are torchvision's (`features.{i}.weight`), so that its files load as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: Sequence[int] = VGG19_TO_CONV5_4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs in channels:
            if outputs == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        self.features = nn.Sequential(*layers[:-1])
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).reshape(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The features of the image."""
        features: Tensor = self.features((image - self.mean) / self.std)
        return features


def load_vgg(path: str, channels: Sequence[int] = VGG19_TO_CONV5_4) -> VGGFeatures:
    """The feature network with the weights of a file, or torchvision's for an empty path; frozen.

    Raises:
        TrainingError: no file is named and torchvision has no weights on this machine, or the file
            is not VGG19's.
    """
    weights = _read(path) if path else _torchvision_weights()
    network = VGGFeatures(channels)
    wanted = network.state_dict()
    for key, value in wanted.items():
        if key not in weights or weights[key].shape != value.shape:
            found = list(weights[key].shape) if key in weights else "nothing"
            raise TrainingError(
                f"{path}: key '{key}' is {found}, expected {list(value.shape)} for VGG19; "
                "loss.features takes a state_dict with torchvision's names"
            )
        if not torch.isfinite(weights[key]).all():
            raise TrainingError(f"{path}: key '{key}' contains NaN or infinity")
    network.load_state_dict({key: weights[key] for key in wanted})
    return network.eval().requires_grad_(False)


def _read(path: str) -> dict[str, Tensor]:
    try:
        if Path(path).suffix == ".safetensors":
            return safetensors_file.load(Path(path).read_bytes())
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any way there is
        raise TrainingError(f"{path}: cannot read VGG19 weights ({one_line(error)})") from error
    if not isinstance(loaded, dict):
        raise TrainingError(
            f"{path}: contains a {type(loaded).__name__}, expected a state_dict of VGG19"
        )
    return {key: value for key, value in loaded.items() if isinstance(value, Tensor)}


def _torchvision_weights() -> dict[str, Tensor]:
    try:
        models = importlib.import_module("torchvision.models")

        weights: dict[str, Tensor] = models.VGG19_Weights.IMAGENET1K_V1.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: built for another PyTorch
        raise TrainingError(
            f"no VGG19 weights on this machine ({error}); name a file with a state_dict of "
            "torchvision's vgg19 in loss.features"
        ) from error
    return weights
