"""Where bfloat16 is safe in a flow: `python -m benchmarks.bf16 [NAME …]` prints a Markdown table.

A photograph's crop goes through the forward flow and back, with its own latents and an LR image
that is not rounded. More and more of the arithmetic is in bfloat16: the networks, as with
`run.bf16`, then also the 1×1 convolutions, then every layer's output.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.weights import table
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import names, weights
from hcflow_ref.evaluation.metrics import psnr
from hcflow_ref.images.photographs import photograph
from hcflow_ref.images.tensors import to_tensor
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN, IRNBlock
from hcflow_ref.network.layers import ActNorm, InvertibleConv1x1
from hcflow_ref.network.steps import AffineStep, ThreeChannelStep
from hcflow_ref.training.parameters.bf16 import networks_in_bf16

CASES: dict[str, tuple[type[nn.Module], ...]] = {
    "nothing": (),
    "networks": (),
    "and 1×1 convolutions": (InvertibleConv1x1,),
    "and ActNorms": (InvertibleConv1x1, ActNorm),
    "and couplings": (InvertibleConv1x1, ActNorm, AffineStep, ThreeChannelStep, IRNBlock),
}


def _rounding(method: Callable[..., Any]) -> Callable[..., Any]:
    def rounded(*inputs: Any) -> Any:
        output = method(*inputs)
        if isinstance(output, Tensor):
            return output.bfloat16().float()
        return (output[0].bfloat16().float(), *output[1:])

    return rounded


@contextmanager
def rounding(kinds: tuple[type[nn.Module], ...]) -> Iterator[None]:
    """Round the outputs of these layers, forward and inverse, to bfloat16."""
    methods = [
        (kind, name, getattr(kind, name)) for kind in kinds for name in ("forward", "inverse")
    ]
    try:
        for kind, name, method in methods:
            setattr(kind, name, _rounding(method))
        yield
    finally:
        for kind, name, method in methods:
            setattr(kind, name, method)


@torch.inference_mode()
def round_trip(model: HCFlow | IRN, image: Tensor) -> float:
    """PSNR in dB of an image that went forward and back, against the original."""
    encoding = model(image)
    flow = model.inverse(encoding.lr, encoding.latents)
    return psnr(255 * flow.double().numpy(), 255 * image.double().numpy())


def main() -> None:
    """Print the table."""
    chosen = sys.argv[1:] or names()
    crop = np.ascontiguousarray(photograph("astronaut")[64:192, 160:288])
    rows = []
    for case, kinds in CASES.items():
        cells = [case]
        for name in chosen:
            model = load(weights(name)).network
            if case != "nothing":
                networks_in_bf16(model, "cpu")
            with rounding(kinds):
                cells.append(f"{round_trip(model, to_tensor(crop)):.1f}")
        rows.append(cells)
    print(table(["in bfloat16", *(f"`{name}`" for name in chosen)], rows))


if __name__ == "__main__":
    main()
