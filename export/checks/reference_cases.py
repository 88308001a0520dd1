"""The cases a graph is checked on: a photograph and odd sizes, with the reference's outputs.

The same cases become a bundle's test vectors, so that `hcflow verify` repeats the check anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from export.folded.fold import GraphSpec
from export.graph.contract import boundary
from hcflow_ref.images.bicubic import resize
from hcflow_ref.images.photographs import photograph
from hcflow_ref.images.tensors import to_tensor
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from hcflow_ref.network.lr_image import quantise
from runtime.bundle.manifest import Direction
from runtime.latents import draw

PHOTOGRAPH = "astronaut"
CROP = (slice(48, 112), slice(176, 272))
"""The astronaut's face, 64×96: a real photograph that float64 can afford."""

ODD_SIZES = ((1, 1), (3, 5))
"""LR heights and widths beside the photograph's."""


@dataclass(frozen=True)
class Case:
    """One run of one direction: inputs as the graph takes them, outputs of the float64 reference.

    Attributes:
        name: `astronaut`, or the LR size.
        tau: temperature of the latents; 0 for a forward case.
        inputs: float32, under the contract's names.
        outputs: float64, under the contract's names.
    """

    name: str
    direction: Direction
    tau: float
    inputs: Mapping[str, NDArray[np.float32]]
    outputs: Mapping[str, NDArray[np.float64]]


def images(scale: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and HR images, 1×3×sH×sW float32."""
    hr = to_tensor(photograph(PHOTOGRAPH)[CROP])
    yield PHOTOGRAPH, hr
    for height, width in ODD_SIZES:
        size = (height * scale, width * scale)
        yield f"{height}x{width}", resize(hr.double(), *size).clamp(0, 1).float()


def cases(model: HCFlow | IRN, direction: Direction, taus: tuple[float, ...]) -> Iterator[Case]:
    """The cases of one direction; an inverse has every temperature of `taus`.

    Args:
        model: the reference in float64; it gives the outputs.
        direction: which graph is meant.
        taus: temperatures of the inverse.
    """
    config = model.config
    names = list(boundary(config, GraphSpec(direction))[1])
    for name, hr in images(config.scale):
        if direction == "forward":
            with torch.no_grad():
                lr, latents, logp = model(hr.double())
            outputs = dict(zip(names, (lr, *latents, logp), strict=False))
            yield Case(name, direction, 0.0, {"hr": hr.numpy()}, _arrays(outputs))
            continue
        lr = quantise(resize(hr.double(), *(side // config.scale for side in hr.shape[2:])))
        for tau in taus:
            zs = draw(config.latent_shapes(*lr.shape[2:]), tau)
            inputs = {"lr": lr.float().numpy()} | {f"z{j + 1}": z for j, z in enumerate(zs)}
            with torch.no_grad():
                exact = [torch.from_numpy(x).double() for x in inputs.values()]
                hr_out = model.inverse(exact[0], exact[1:])
            yield Case(name, direction, tau, inputs, _arrays({"hr": hr_out}))


def _arrays(outputs: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float64]]:
    return {name: value.numpy() for name, value in outputs.items()}
