"""Deploy modules of the convolutional networks: coupling networks and feature extractors.

Plain convolutions with folded weights. Their dtype is the precision of the build; what enters and
leaves them is cast by `export.folded.couplings`, so that the flow state around them stays float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.folded import algebra
from export.folded.algebra import Kernel
from hcflow_ref.network.blocks import (
    FCN,
    LEAKY_SLOPE,
    RESIDUAL_SCALE,
    RRDB,
    DenseBlock,
    FeatureExtractor,
)


def conv(kernel: Kernel, stride: int = 1) -> nn.Conv2d:
    """A frozen convolution that takes a folded kernel, rounded once to float32."""
    outputs, inputs, size, _ = kernel.weight.shape
    padding = size // 2 if stride == 1 else 0
    layer = nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, device="meta")
    layer.weight = nn.Parameter(kernel.weight.float(), requires_grad=False)
    layer.bias = nn.Parameter(kernel.bias.float(), requires_grad=False)
    return layer


class DeployFCN(nn.Module):
    """Three convolutions with ReLU between them; `last` is the folded third."""

    def __init__(self, net: FCN, last: Kernel) -> None:
        super().__init__()
        self.conv1 = conv(algebra.normed(net.conv1))
        self.conv2 = conv(algebra.normed(net.conv2))
        self.conv3 = conv(last)

    def forward(self, x: Tensor) -> Tensor:
        """N×I×H×W → N×O×H×W."""
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        out: Tensor = self.conv3(x)
        return out


class DeployDenseBlock(nn.Module):
    """Five densely connected convolutions.

    Args:
        net: the reference's.
        last: the folded fifth.
        scale: [I], of an input that is held as `x` and means `scale · x`.
    """

    def __init__(self, net: DenseBlock, last: Kernel, scale: Tensor | None = None) -> None:
        super().__init__()

        def reading(kernel: Kernel) -> nn.Conv2d:
            return conv(kernel if scale is None else algebra.reading(kernel, scale))

        self.conv1 = reading(algebra.plain(net.conv1))
        self.conv2 = reading(algebra.plain(net.conv2))
        self.conv3 = reading(algebra.plain(net.conv3))
        self.conv4 = reading(algebra.plain(net.conv4))
        self.conv5 = reading(last)

    def forward(self, x: Tensor) -> Tensor:
        """N×I×H×W → N×O×H×W."""
        # Each concatenation is of the parts: of one another, TensorRT-RTX would keep `x` inside
        # the last one's buffer, twice its size, for as long as a residual needs it.
        parts, joined = [x], x
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            parts.append(F.leaky_relu(layer(joined), LEAKY_SLOPE))
            joined = torch.cat(parts, 1)
        out: Tensor = self.conv5(joined)
        return out


class DeployRRDB(nn.Module):
    """Three residual dense blocks in a residual; each block's 0.2 is in its fifth convolution."""

    def __init__(self, block: RRDB) -> None:
        super().__init__()
        for name, rdb in block.named_children():
            assert isinstance(rdb, DenseBlock)
            last = algebra.residual(algebra.plain(rdb.conv5))
            self.add_module(name, DeployDenseBlock(rdb, last))

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C×H×W."""
        out = x
        for rdb in self.children():
            out = rdb(out) + out
        return RESIDUAL_SCALE * out + x


class DeployFeatures(nn.Module):
    """Condition → feature `u` (docs/network.md, 4), N×I×H×W → N×U×H×W."""

    def __init__(self, features: FeatureExtractor) -> None:
        super().__init__()
        self.both_trunks = features.both_trunks
        self.conv_first = conv(algebra.plain(features.conv_first))
        self.trunk0 = _trunk(features.trunk0)
        self.trunk1 = _trunk(features.trunk1)
        self.trunk_conv1 = conv(algebra.plain(features.trunk_conv1))

    def forward(self, condition: Tensor) -> Tensor:
        """N×I×H×W → N×U×H×W."""
        first = self.conv_first(condition)
        t0 = self.trunk0(first)
        t1: Tensor = self.trunk_conv1(self.trunk1(t0)) + first
        return torch.cat([t0, t1], 1) if self.both_trunks else t1


def _trunk(trunk: nn.Sequential) -> nn.Sequential:
    blocks = [block for block in trunk if isinstance(block, RRDB)]
    return nn.Sequential(*(DeployRRDB(block) for block in blocks))
