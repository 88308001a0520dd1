"""One step of training: every phase of the objective, each with its own optimiser step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from hcflow_ref.errors import TrainingError
from hcflow_ref.images import bicubic
from hcflow_ref.network.lr_image import quantise
from hcflow_ref.training.config.settings import TrainConfig
from hcflow_ref.training.data.gray import some_in_gray
from hcflow_ref.training.distributed import Process, broadcast_from_first, in_any_process
from hcflow_ref.training.losses.objectives import PHASES, draw_samples
from hcflow_ref.training.nan_guard import (
    divergence,
    first_bad_gradient,
    first_bad_layer,
    first_singular,
)
from hcflow_ref.training.optimiser import clip, factor, set_learning_rate, total_norm
from hcflow_ref.training.parameters import ema
from hcflow_ref.training.parameters.actnorm_init import initialising
from hcflow_ref.training.parameters.haar_init import main_actnorms
from hcflow_ref.training.run_folder.state import State
from hcflow_ref.training.setup import Losses

BATCH = 100
"""The number of the batch's own random draws, beside those of phases."""


@dataclass(frozen=True)
class Step:
    """A step about to be taken: the state before it, the losses, and its batch."""

    state: State
    losses: Losses
    config: TrainConfig
    process: Process
    hr: Tensor
    lr: Tensor

    def generator(self, phase: int) -> torch.Generator:
        """The random generator of a phase."""
        return _generator(self.config, self.state, self.process, phase)


def _generator(config: TrainConfig, state: State, process: Process, use: int) -> torch.Generator:
    """A generator that follows from seed, step, process and use."""
    seeds = np.random.SeedSequence([config.run.seed, state.step, process.rank, use])
    return torch.Generator().manual_seed(int(seeds.generate_state(1, np.uint64)[0]))


def take_step(
    state: State, losses: Losses, hr: Tensor, config: TrainConfig, process: Process
) -> dict[str, float]:
    """Advance `state` by one step on the batch `hr`, N×3×P×P in [0, 1].

    Returns:
        The weighted losses and the gradients' norms by name.

    Raises:
        TrainingError: a loss, gradient or weight is not finite, or the inverse has exploded; names
            the step and the layer. The state must not be saved then.
    """
    draws = _generator(config, state, process, BATCH)
    hr = some_in_gray(hr.to(process.device), config.data.gray, draws)
    lr = quantise(bicubic.downscale(hr, state.model.config.scale))
    step = Step(state, losses, config, process, hr, lr)
    values: dict[str, float] = {}
    if state.step < config.schedule.actnorm_steps:
        _initialise_actnorms(step)
    try:
        if losses.discriminator is not None:
            values |= _discriminator_step(step)
        if losses.discriminator is None or state.step >= config.loss.discriminator_first:
            for phase in PHASES[config.loss.objective]:
                values |= _flow_step(step, phase)
            ema.update(state.average, state.model, config.schedule.ema, state.step)
    except LinAlgError as error:  # in every process: all have the same weights
        layer = first_singular(state.model)
        raise _stop(step, "inverse", "a 1×1 convolution is singular", layer) from error
    state.step += 1
    return values


def _initialise_actnorms(step: Step) -> None:
    state = step.state
    skip = main_actnorms(state.model) if step.config.network.start == "haar" else set()
    with torch.no_grad(), initialising(state.model, skip):
        state.model(step.hr)
    broadcast_from_first(state.model, step.process)
    if state.step == 0:
        state.average.load_state_dict(state.model.state_dict())


def _flow_step(step: Step, phase: str) -> dict[str, float]:
    state, schedule = step.state, step.config.schedule
    number = 1 + PHASES[step.config.loss.objective].index(phase)

    def compute_losses() -> dict[str, Tensor]:
        generator = step.generator(number)
        losses: dict[str, Tensor] = step.losses.objective(phase, step.hr, step.lr, generator)
        return losses

    optimiser = state.optimisers["flow"]
    set_learning_rate(optimiser, factor(schedule, state.step, state.seconds) * schedule.lr)
    losses = _backward(step, phase, optimiser, state.model, compute_losses)
    norm = clip(state.model, schedule).item()
    _check_gradients(step, phase, norm, state.model)
    optimiser.step()
    return {name: loss.item() for name, loss in losses.items()} | {f"gradient_{phase}": norm}


def _discriminator_step(step: Step) -> dict[str, float]:
    state, module, settings = step.state, step.losses.discriminator, step.config.loss
    assert module is not None
    assert state.discriminator is not None
    optimiser = state.optimisers["discriminator"]
    rate = factor(step.config.schedule, state.step, state.seconds) * settings.discriminator_lr
    set_learning_rate(optimiser, rate)
    made = draw_samples(state.model, step.lr, settings.tau, step.generator(0))
    losses = _backward(step, "discriminator", optimiser, module, lambda: module(step.hr, made))
    norm = total_norm(state.discriminator).item()
    _check_gradients(step, "discriminator", norm, state.discriminator)
    optimiser.step()
    return {name: loss.item() for name, loss in losses.items()}


def _backward(
    step: Step,
    phase: str,
    optimiser: torch.optim.Optimizer,
    module: nn.Module,
    compute_losses: Callable[[], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Compute the losses and their gradients; raises `TrainingError` where they have diverged."""
    optimiser.zero_grad(set_to_none=True)
    losses = compute_losses()
    wrong = divergence(losses)
    if in_any_process(wrong is not None, step.process):
        layer = first_bad_layer(module, compute_losses)
        raise _stop(step, phase, wrong or "a loss of another process has diverged", layer)
    total(losses).backward()  # type: ignore[no-untyped-call]
    return losses


def _check_gradients(step: Step, phase: str, norm: float, module: nn.Module) -> None:
    if in_any_process(not math.isfinite(norm), step.process):
        layer = first_bad_gradient(module)
        raise _stop(step, phase, f"the gradient's norm is {norm}", layer)


def total(losses: dict[str, Tensor]) -> Tensor:
    """The sum of weighted losses."""
    return torch.stack(list(losses.values())).sum()


def _stop(step: Step, phase: str, wrong: str, layer: str | None) -> TrainingError:
    where = f"first seen in layer '{layer}'" if layer else "no single layer shows it"
    return TrainingError(
        f"step {step.state.step}, {phase}: {wrong}; {where}. The last good checkpoint is kept: to "
        "go on, start a run with a lower schedule.lr and another --out, with its "
        "model.safetensors as network.init"
    )
