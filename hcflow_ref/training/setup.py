"""The networks, optimisers and losses that a configuration asks for, at step 0."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from hcflow_ref.checkpoint.load import load
from hcflow_ref.errors import CheckpointError, TrainingError
from hcflow_ref.network.config import HCFlowConfig
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN, IRNConfig
from hcflow_ref.training.config.settings import TrainConfig
from hcflow_ref.training.distributed import Place, from_first, wrap
from hcflow_ref.training.losses.discriminator import Discriminator
from hcflow_ref.training.losses.objectives import DiscriminatorLoss, Objective
from hcflow_ref.training.losses.vgg import VGGFeatures, load_features
from hcflow_ref.training.optimiser import adam
from hcflow_ref.training.parameters.bf16 import networks_in_bf16
from hcflow_ref.training.parameters.ema import averaged_copy
from hcflow_ref.training.parameters.haar_init import start_from_haar
from hcflow_ref.training.run_folder.state import State


@dataclass(frozen=True)
class Losses:
    """The losses of a run, wrapped for several processes where there are several."""

    objective: nn.Module
    discriminator: nn.Module | None


def build_network(config: TrainConfig) -> HCFlow | IRN:
    """A new network, or the one of `network.init`, ready to train.

    Raises:
        TrainingError: `network.init` cannot be loaded or is of another architecture.
    """
    architecture = config.network.build()
    if not config.network.init:
        torch.manual_seed(config.run.seed)
        if isinstance(architecture, IRNConfig):
            return IRN(architecture)
        new = HCFlow(architecture)
        if config.network.start == "haar":
            start_from_haar(new)
        return new
    try:
        model = load(config.network.init).network
    except CheckpointError as error:
        raise TrainingError(f"network.init: {error}") from error
    if model.config != architecture:
        raise TrainingError(
            f"network.init: {config.network.init} is {_sizes(model.config)}, the config asks for "
            f"{_sizes(architecture)}"
        )
    return model.requires_grad_(True).train()


def _sizes(architecture: HCFlowConfig | IRNConfig) -> str:
    return str(architecture)


def build(
    config: TrainConfig, place: Place, features: VGGFeatures | None = None, resumed: bool = False
) -> tuple[State, Losses]:
    """State and losses at step 0 on this process's device.

    `features` replaces the feature network that `loss.features` names. A run that is `resumed`, its
    state to be replaced by a checkpoint, no longer needs the weights of `network.init`.
    """
    network = replace(config.network, init="") if resumed else config.network
    model = build_network(replace(config, network=network)).to(place.device)
    from_first(model, place)
    optimisers = {"flow": adam(model.parameters(), config.schedule.lr)}
    average = averaged_copy(model)
    discriminator, judge = None, None
    if config.loss.objective == "gan":
        features = features or load_features(config.loss.features)
        features = features.to(place.device)
        discriminator = Discriminator(config.data.patch, config.loss.discriminator_width)
        discriminator.to(place.device)
        from_first(discriminator, place)
        rate = config.loss.discriminator_lr
        optimisers["discriminator"] = adam(discriminator.parameters(), rate)
        judge = wrap(DiscriminatorLoss(discriminator), place)
    if config.run.bf16:
        networks_in_bf16(model, place.device.type)
    objective = Objective(model, config.loss, features, discriminator)
    losses = Losses(wrap(objective, place), judge)
    return State(0, model, average, optimisers, discriminator), losses
