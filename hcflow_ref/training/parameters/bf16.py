"""bfloat16 where it is safe: inside coupling networks and feature extractors.

The flow's state, ActNorms, 1×1 convolutions, Haar and all log-determinants stay float32: a coupling
is invertible whatever its network computes, but not when its own sums are rounded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hcflow_ref.network.blocks import FCN, CouplingDenseBlock, FeatureExtractor


def _to_bf16(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Round once, channels last: else each of a block's convolutions would do both by itself."""
    return tuple(x.to(torch.bfloat16, memory_format=torch.channels_last) for x in inputs)


def _to_float32(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.float()


def networks_in_bf16(model: nn.Module, device_type: str) -> None:
    """Run the networks of `model` under bfloat16 autocast from now on; weights stay float32."""
    for module in model.modules():
        if isinstance(module, FCN | CouplingDenseBlock | FeatureExtractor):
            autocast = torch.autocast(device_type, dtype=torch.bfloat16)
            setattr(module, "forward", autocast(module.forward))  # noqa: B010  (one instance's)
            module.register_forward_pre_hook(_to_bf16)
            module.register_forward_hook(_to_float32)
