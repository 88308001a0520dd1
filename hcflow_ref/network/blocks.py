"""The convolutional networks inside a flow: coupling networks and the RRDB feature extractor.

docs/network.md, 3 and 4. None of them is invertible, and none needs to be.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hcflow_ref.network.layers import ActNorm

LEAKY_SLOPE = 0.2
RESIDUAL_SCALE = 0.2


def conv3x3(inputs: int, outputs: int, *, bias: bool = True) -> nn.Conv2d:
    """A 3×3 convolution, stride 1, zero padding 1."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


class NormedConv(nn.Module):
    """Convolution without bias, then ActNorm, whose log-det does not count in the flow."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.05 * torch.randn(outputs, inputs, kernel, kernel))
        self.actnorm = ActNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.actnorm(F.conv2d(x, self.weight, padding=self.weight.shape[2] // 2))
        return normed


class ScaledConv(nn.Module):
    """3×3 convolution whose output is multiplied by `exp(3 · logs)`; starts at zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.logs = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=1) * torch.exp(3 * self.logs)


class FCN(nn.Module):
    """conv 3×3 → ActNorm → ReLU → conv 1×1 → ActNorm → ReLU → scaled conv 3×3."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = NormedConv(inputs, hidden, 3)
        self.conv2 = NormedConv(hidden, hidden, 1)
        self.conv3 = ScaledConv(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        out: Tensor = self.conv3(x)
        return out


class DenseBlock(nn.Module):
    """Five 3×3 convolutions, each on the input and all earlier outputs; LeakyReLU 0.2 after 4."""

    def __init__(self, inputs: int, outputs: int, growth: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, growth)
        self.conv2 = conv3x3(inputs + growth, growth)
        self.conv3 = conv3x3(inputs + 2 * growth, growth)
        self.conv4 = conv3x3(inputs + 3 * growth, growth)
        self.conv5 = conv3x3(inputs + 4 * growth, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = torch.cat([x, F.leaky_relu(conv(x), LEAKY_SLOPE)], 1)
        out: Tensor = self.conv5(x)
        return out


class CouplingDenseBlock(DenseBlock):
    """A dense block whose last convolution starts at zero, so that its coupling is the identity."""

    def __init__(self, inputs: int, outputs: int, growth: int) -> None:
        super().__init__(inputs, outputs, growth)
        nn.init.zeros_(self.conv5.weight)
        assert self.conv5.bias is not None
        nn.init.zeros_(self.conv5.bias)


class ResidualDenseBlock(DenseBlock):
    """`0.2 · dense(x) + x`."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__(features, features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return RESIDUAL_SCALE * super().forward(x) + x


class RRDB(nn.Module):
    """Three residual dense blocks in a residual: `0.2 · rdb3(rdb2(rdb1(x))) + x`."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(features, growth)
        self.rdb2 = ResidualDenseBlock(features, growth)
        self.rdb3 = ResidualDenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return RESIDUAL_SCALE * out + x


class FeatureExtractor(nn.Module):
    """Condition → feature `u`: `[t0, t1]` with `both_trunks` (SR), `t1` alone without (rescaling).

    `t0 = trunk0(first)`, `t1 = trunk_conv1(trunk1(t0)) + first`, `first = conv_first(condition)`.
    """

    def __init__(
        self, inputs: int, features: int, growth: int, blocks: tuple[int, int], both_trunks: bool
    ) -> None:
        super().__init__()
        self.both_trunks = both_trunks
        self.conv_first = conv3x3(inputs, features)
        self.trunk0 = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks[0])))
        self.trunk1 = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks[1])))
        self.trunk_conv1 = conv3x3(features, features)

    def forward(self, condition: Tensor) -> Tensor:
        first = self.conv_first(condition)
        t0 = self.trunk0(first)
        t1: Tensor = self.trunk_conv1(self.trunk1(t0)) + first
        return torch.cat([t0, t1], 1) if self.both_trunks else t1
