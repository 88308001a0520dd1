"""Builds the networks, optimisers and losses of a configuration, at step 0."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from hcflow_ref.checkpoint.load import load
from hcflow_ref.errors import CheckpointError, TrainingError
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN, IRNConfig
from hcflow_ref.training.config.settings import TrainConfig
from hcflow_ref.training.data.degradation import Degradation
from hcflow_ref.training.distributed import Process, average_gradients, broadcast_from_first
from hcflow_ref.training.losses.discriminator import Discriminator
from hcflow_ref.training.losses.features import load_features
from hcflow_ref.training.losses.objectives import DiscriminatorLoss, Objective
from hcflow_ref.training.optimiser import adam
from hcflow_ref.training.parameters.bf16 import networks_in_bf16
from hcflow_ref.training.parameters.ema import averaged_copy
from hcflow_ref.training.parameters.haar_init import initialise_from_haar
from hcflow_ref.training.run_folder.state import State


@dataclass(frozen=True)
class Losses:
    """The losses of a run; with several processes their gradients are averaged."""

    objective: nn.Module
    discriminator: nn.Module | None


def build_network(config: TrainConfig) -> HCFlow | IRN:
    """A new network, or the one in `network.init`, ready to train.

    Raises:
        TrainingError: `network.init` cannot be loaded or has another architecture.
    """
    architecture = config.network.build()
    if not config.network.init:
        torch.manual_seed(config.run.seed)
        if isinstance(architecture, IRNConfig):
            return IRN(architecture)
        new = HCFlow(architecture)
        if config.network.start == "haar":
            initialise_from_haar(new)
        return new
    try:
        model = load(config.network.init).network
    except CheckpointError as error:
        raise TrainingError(f"network.init: {error}") from error
    if model.config != architecture:
        raise TrainingError(
            f"network.init: {config.network.init} is {model.config}, the config asks for "
            f"{architecture}"
        )
    return model.requires_grad_(True).train()


def build(
    config: TrainConfig,
    process: Process,
    features: nn.Module | None = None,
    resumed: bool = False,
) -> tuple[State, Losses]:
    """State and losses at step 0 on this process's device.

    Args:
        config: the run.
        process: this process.
        features: feature network to use instead of the one that `loss.features` names.
        resumed: whether a checkpoint will replace the state; `network.init` is not read then.

    Raises:
        TrainingError: `network.init` or `loss.features` cannot be used.
    """
    network = replace(config.network, init="") if resumed else config.network
    model = build_network(replace(config, network=network)).to(process.device)
    if config.run.bf16:
        # In which bfloat16 convolutions compute; in another layout they transpose.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    broadcast_from_first(model, process)
    optimisers = {"flow": adam(model.parameters(), config.schedule.lr)}
    average = averaged_copy(model)
    discriminator, discriminator_loss = None, None
    if config.loss.objective == "gan":
        features = features or load_features(config.loss.features)
        features = features.to(process.device)
        discriminator = Discriminator(config.data.patch, config.loss.discriminator_width)
        discriminator.to(process.device)
        broadcast_from_first(discriminator, process)
        rate = config.loss.discriminator_lr
        optimisers["discriminator"] = adam(discriminator.parameters(), rate)
        discriminator_loss = average_gradients(DiscriminatorLoss(discriminator), process)
    if config.run.bf16:
        networks_in_bf16(model, process.device.type)
    data = config.data
    degrades = data.blur or data.jpeg_quality
    degradation = Degradation(data.blur, data.jpeg_quality) if degrades else None
    objective = Objective(model, config.loss, features, discriminator, degradation)
    losses = Losses(average_gradients(objective, process), discriminator_loss)
    return State(0, model, average, optimisers, discriminator), losses
