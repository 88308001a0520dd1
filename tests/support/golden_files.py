"""The golden files: weights, inputs and the official implementation's outputs."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "golden"
NETWORKS = ("sr_x4", "sr_x8", "rescale_x4")


def weights(network: str) -> Path:
    return FOLDER / f"{network}_small.safetensors"


def arrays(network: str) -> dict[str, Tensor]:
    with np.load(FOLDER / f"{network}_small_io.npz") as archive:
        return {name: torch.from_numpy(value) for name, value in archive.items()}


def latents(io: dict[str, Tensor], prefix: str = "z") -> list[Tensor]:
    return [io[f"{prefix}{j}"] for j in range(1, 9) if f"{prefix}{j}" in io]
