"""Translates our parameter names to those of official checkpoints (docs/network.md, 7)."""

from __future__ import annotations

import re

import torch
from torch import Size, Tensor

from hcflow_ref.network.config import HCFlowConfig
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.layers import HAAR


def first_layer(config: HCFlowConfig, level: int) -> int:
    """Index of a level's squeeze in `flow.layers`, which counts squeeze, steps and split."""
    return sum(hyper.steps + 2 for hyper in config.levels[:level])


def official_name(name: str, config: HCFlowConfig) -> str:
    """`levels.0.steps.3.net.conv1.weight` → `flow.layers.4.affine.f.conv1.weight`."""
    _, level, part, rest = name.split(".", 3)
    if part == "steps":
        index, rest = rest.split(".", 1)
        layer = first_layer(config, int(level)) + 1 + int(index)
        return f"flow.layers.{layer}.{rest.replace('net.', 'affine.f.')}"
    rest = rest.removeprefix("features.").replace(".net.", ".affine.f.")
    rest = re.sub(r"^steps\.", "additional_flow_steps.", rest)
    rest = re.sub(r"^prior\.", "f.", rest)
    rest = re.sub(r"^trunk(\d)\.", r"RRDB_trunk\1.", rest).replace(".rdb", ".RDB")
    return f"flow.level{level}_condFlow.{rest}"


def haar_filters(config: HCFlowConfig) -> dict[str, Tensor]:
    """The ±1 filters that an official rescaling checkpoint stores, repeated per channel."""
    if config.task != "rescaling":
        return {}
    return {
        f"flow.layers.{first_layer(config, j)}.haar_weights": HAAR.float()
        .unsqueeze(1)
        .repeat(3 * 2**j, 1, 1, 1)
        for j in range(len(config.levels))
    }


def official_shapes(config: HCFlowConfig) -> dict[str, Size]:
    """Every key of an official checkpoint of this configuration, with its shape."""
    with torch.device("meta"):
        parameters = HCFlow(config).state_dict()
    shapes = {official_name(name, config): p.shape for name, p in parameters.items()}
    return shapes | {key: filters.shape for key, filters in haar_filters(config).items()}


def to_official(model: HCFlow) -> dict[str, Tensor]:
    """The model's weights under official names, Haar filters included."""
    weights = {official_name(name, model.config): p for name, p in model.state_dict().items()}
    return weights | haar_filters(model.config)


def load_official(model: HCFlow, weights: dict[str, Tensor]) -> None:
    """Copy weights under official names into the model."""
    names = model.state_dict().keys()
    model.load_state_dict({name: weights[official_name(name, model.config)] for name in names})
