"""Deploy modules of an IRN, one per direction; names are the reference's (`operations.1.F.conv5`).

Folded: the Haar squeeze of a level into a 2×2 convolution of stride 2 (forward) or a 1×1 before
depth-to-space (inverse), the ½ of `2 · sigmoid(h) − 1 = tanh(h / 2)` and the signs of an inverse
into last convolutions. HCFlow's contract (docs/graph-contract.md), with one latent, at LR size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.folded import algebra
from export.folded.algebra import Kernel
from export.folded.couplings import STATE, LowPrecision
from export.folded.networks import DeployDenseBlock, conv
from hcflow_ref.network.blocks import DenseBlock
from hcflow_ref.network.irn import IRN, LR_CHANNELS, HaarSqueeze, IRNBlock
from runtime.bundle.manifest import Direction


class DeployIRNBlock(LowPrecision):
    """The coupling between the first 3 channels and the rest, in one direction.

    Forward `v1 + f(v2)`, then `v2 · exp(tanh(h(v1))) + g(v1)`; the inverse, whose networks give
    `−f`, `−g` and `−h`, `(v2 + g(v1)) · exp(tanh(h(v1)))`, then `v1 + f(v2)`.
    """

    def __init__(self, block: IRNBlock, direction: Direction) -> None:
        super().__init__()
        self.inverse = direction == "inverse"
        sign = -1.0 if self.inverse else 1.0
        self.F = _dense(block.F, sign)
        self.G = _dense(block.G, sign)
        self.H = _dense(block.H, sign / 2)

    def networks(self) -> Sequence[nn.Module]:
        """See `LowPrecision`."""
        return self.F, self.G, self.H

    def forward(self, v1: Tensor, v2: Tensor | None) -> tuple[Tensor, Tensor]:
        """`v1`, `v2` → the coupled two; an inverse takes `None` for a latent that is all zero."""
        if self.inverse:
            shift, scale = self._shift_and_scale(v1)
            v2 = (shift if v2 is None else v2 + shift) * scale
            return v1 + self._first(v2), v2
        assert v2 is not None
        v1 = v1 + self._first(v2)
        shift, scale = self._shift_and_scale(v1)
        return v1, v2 * scale + shift

    def _first(self, v2: Tensor) -> Tensor:
        shift: Tensor = self.F(v2.to(self.dtype))
        return shift.to(STATE)

    def _shift_and_scale(self, v1: Tensor) -> tuple[Tensor, Tensor]:
        v1 = v1.to(self.dtype)
        return self.G(v1).to(STATE), torch.exp(torch.tanh(self.H(v1).to(STATE)))


def _dense(net: DenseBlock, gain: float) -> DeployDenseBlock:
    last = algebra.plain(net.conv5)
    return DeployDenseBlock(net, Kernel(gain * last.weight, gain * last.bias))


class DeployIRN(nn.Module):
    """The base of both directions: `operations`, numbered as in the reference."""

    def __init__(self, model: IRN, direction: Direction) -> None:
        super().__init__()
        self.config = model.config
        self.operations = nn.ModuleList(
            DeployIRNBlock(op, direction) if isinstance(op, IRNBlock) else _squeeze(op, direction)
            for op in model.operations
        )


def _squeeze(squeeze: nn.Module, direction: Direction) -> nn.Conv2d:
    assert isinstance(squeeze, HaarSqueeze)
    affine = algebra.haar(len(squeeze.haar_weights) // 4)
    if direction == "forward":
        return conv(algebra.stride2(affine), stride=2)
    return conv(algebra.pointwise(affine.inverse()))


class IRNInverse(DeployIRN):
    """`lr`, `z1` → `hr`, unclipped; built without latents (τ = 0), `lr` → `hr`."""

    def __init__(self, model: IRN, with_latents: bool = True) -> None:
        super().__init__(model, "inverse")
        self.with_latents = with_latents

    def forward(self, lr: Tensor, latents: tuple[Tensor, ...] = ()) -> Tensor:
        """N×3×H×W and the latent → N×3×sH×sW."""
        v1, v2 = lr, latents[0] if self.with_latents else None
        for op in reversed(self.operations):
            if isinstance(op, DeployIRNBlock):
                v1, v2 = op(v1, v2)
                continue
            assert isinstance(op, nn.Conv2d)
            assert v2 is not None  # every level has a block
            v1, v2 = F.pixel_shuffle(op(torch.cat([v1, v2], 1)), 2), None
            if rest := op.out_channels // 4 - LR_CHANNELS:
                v1, v2 = torch.split(v1, [LR_CHANNELS, rest], 1)
        return v1


class IRNForward(DeployIRN):
    """`hr` → `lr`, `z1`; nothing clipped or rounded."""

    def __init__(self, model: IRN) -> None:
        super().__init__(model, "forward")

    def forward(self, hr: Tensor) -> tuple[Tensor, ...]:
        """N×3×sH×sW → `lr` N×3×H×W and the latent."""
        v1, v2 = hr, None
        for op in self.operations:
            if isinstance(op, DeployIRNBlock):
                v1, v2 = op(v1, v2)
                continue
            assert isinstance(op, nn.Conv2d)
            v = op(v1 if v2 is None else torch.cat([v1, v2], 1))
            v1, v2 = torch.split(v, [LR_CHANNELS, op.out_channels - LR_CHANNELS], 1)
        assert v2 is not None  # there is a level
        return v1, v2
