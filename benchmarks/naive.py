"""The naive export that ours is measured against.

`linalg_inv` has no ONNX form, so a straight export of the reference does not work at all. This is
the least that makes it work: the reference traced as it stands, with only the matrix inverses
computed beforehand.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.layers import InvertibleConv1x1


class PrecomputedInverse(nn.Module):
    """An invertible 1×1 convolution whose inverse matrix is a constant."""

    def __init__(self, conv: InvertibleConv1x1) -> None:
        super().__init__()
        inverse = torch.linalg.inv(conv.weight.detach().double()).float()
        self.register_buffer("matrix", inverse[:, :, None, None])

    def inverse(self, v: Tensor) -> Tensor:
        """The product with the inverse matrix."""
        return F.conv2d(v, self.matrix)  # type: ignore[arg-type]


class NaiveInverse(nn.Module):
    """The reference's inverse under the contract's names, matrices inverted beforehand."""

    def __init__(self, model: HCFlow) -> None:
        super().__init__()
        self.model = model
        _replace_convolutions(model, PrecomputedInverse)

    def forward(self, lr: Tensor, *latents: Tensor) -> Tensor:
        """As the contract's inverse graph."""
        return self.model.inverse(lr, latents)


class WithoutLogDet(nn.Module):
    """An invertible 1×1 convolution whose log-determinant, which has no ONNX form, is left out."""

    def __init__(self, conv: InvertibleConv1x1) -> None:
        super().__init__()
        self.register_buffer("matrix", conv.weight.detach()[:, :, None, None])

    def forward(self, v: Tensor) -> Tensor:
        """The product with the matrix."""
        return F.conv2d(v, self.matrix)  # type: ignore[arg-type]

    def log_det(self, v: Tensor) -> Tensor:
        """Zero: nothing that is exported reads it."""
        return v.new_zeros(())


class NaiveForward(nn.Module):
    """The reference's LR image alone; the exporter leaves out what only latents need."""

    def __init__(self, model: HCFlow) -> None:
        super().__init__()
        self.model = model
        _replace_convolutions(model, WithoutLogDet)

    def forward(self, hr: Tensor) -> Tensor:
        """As `lr` of the contract's forward graph."""
        lr: Tensor = self.model(hr).lr
        return lr


def _replace_convolutions(
    model: HCFlow, replacement: Callable[[InvertibleConv1x1], nn.Module]
) -> None:
    """Put another module in the place of every invertible 1×1 convolution."""
    for module in model.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, InvertibleConv1x1):
                setattr(module, name, replacement(child))


def naive_inverse(model: HCFlow) -> bytes:
    """ONNX bytes of the naive export of the inverse; changes `model`, so give it a copy."""
    module = NaiveInverse(model).eval()
    shapes = model.config.latent_shapes(6, 7)
    inputs = (torch.rand(2, 3, 6, 7), *(torch.randn(2, *shape) for shape in shapes))
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.onnx.export(
        module,
        inputs,
        dynamo=True,
        input_names=["lr", *(f"z{j + 1}" for j in range(len(shapes)))],
        output_names=["hr"],
        dynamic_shapes=(free, (free,) * len(shapes)),
        verbose=False,
    )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def naive_forward(model: HCFlow) -> bytes:
    """ONNX bytes of the naive export of the LR image; changes `model`, so give it a copy."""
    scale = model.config.scale
    sides = {axis: scale * torch.export.Dim(f"s{axis}", max=4096) for axis in (2, 3)}
    program = torch.onnx.export(
        NaiveForward(model).eval(),
        (torch.rand(2, 3, 6 * scale, 7 * scale),),
        dynamo=True,
        input_names=["hr"],
        output_names=["lr"],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC, **sides},),
        verbose=False,
    )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())
