"""Seeded weights that behave like a trained network's, for full-size tests without a checkpoint.

A new network is the identity and would prove nothing. Here 1×1 matrices are orthogonal, last
convolutions are not zero, ActNorms are not the identity, and activations stay in the range of a
trained network.
"""

from __future__ import annotations

import math
from typing import overload

import torch
from torch import Tensor, nn

from hcflow_ref.network.blocks import RRDB, NormedConv, ScaledConv
from hcflow_ref.network.config import HCFlowConfig
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN, IRNConfig
from hcflow_ref.network.layers import ActNorm, InvertibleConv1x1


@overload
def synthetic(config: HCFlowConfig, seed: int = 0) -> HCFlow: ...


@overload
def synthetic(config: IRNConfig, seed: int = 0) -> IRN: ...


def synthetic(config: HCFlowConfig | IRNConfig, seed: int = 0) -> HCFlow | IRN:
    """A network of this configuration with seeded weights, float32, in eval mode."""
    generator = torch.Generator().manual_seed(seed)

    def normal(weight: Tensor, std: float) -> None:
        weight.copy_(std * torch.randn(weight.shape, generator=generator))

    def uniform(weight: Tensor, bound: float) -> None:
        weight.copy_(bound * (2 * torch.rand(weight.shape, generator=generator) - 1))

    model = _unset(config)
    residual = {
        conv for block in model.modules() if isinstance(block, RRDB) for conv in block.modules()
    }
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, ActNorm):
                uniform(module.bias, 0.1)
                uniform(module.logs, 0.05)
            elif isinstance(module, InvertibleConv1x1):
                normal(module.weight, 1.0)
                module.weight.copy_(torch.linalg.qr(module.weight).Q)
            elif isinstance(module, ScaledConv):
                normal(module.weight, 0.04 / math.sqrt(module.weight[0].numel()))
                normal(module.bias, 0.02)
                uniform(module.logs, 0.05)
            elif isinstance(module, NormedConv):
                normal(module.weight, 1.4 / math.sqrt(module.weight[0].numel()))
            elif isinstance(module, nn.Conv2d):
                gain = 0.7 if module in residual else 0.5
                normal(module.weight, gain / math.sqrt(module.weight[0].numel()))
                assert module.bias is not None
                normal(module.bias, 0.02)
    return model.eval().requires_grad_(False)


def _unset(config: HCFlowConfig | IRNConfig) -> HCFlow | IRN:
    if isinstance(config, IRNConfig):
        return IRN(config)  # with values: it keeps its Haar filters
    with torch.device("meta"):
        model = HCFlow(config)
    return model.to_empty(device="cpu")
