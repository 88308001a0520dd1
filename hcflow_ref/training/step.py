"""One step of training: every phase of the objective, each with its own optimiser step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from hcflow_ref.errors import TrainingError
from hcflow_ref.images import bicubic
from hcflow_ref.network.lr_image import quantise
from hcflow_ref.training.config.settings import TrainConfig
from hcflow_ref.training.distributed import Place, anywhere, from_first
from hcflow_ref.training.losses.objectives import PHASES, samples
from hcflow_ref.training.nan_guard import (
    first_bad_gradient,
    first_bad_layer,
    first_singular,
    unhealthy,
)
from hcflow_ref.training.optimiser import clip, factor, set_learning_rate, total_norm
from hcflow_ref.training.parameters import ema
from hcflow_ref.training.parameters.actnorm_init import initialising
from hcflow_ref.training.parameters.haar_init import main_actnorms
from hcflow_ref.training.run_folder.state import State
from hcflow_ref.training.setup import Losses


@dataclass(frozen=True)
class Step:
    """A step about to be taken: the state before it, the losses, and its batch."""

    state: State
    losses: Losses
    config: TrainConfig
    place: Place
    hr: Tensor
    lr: Tensor

    def draws(self, phase: int) -> torch.Generator:
        """The generator of a phase's draws: a function of seed, step, process and phase."""
        seeds = np.random.SeedSequence(
            [self.config.run.seed, self.state.step, self.place.rank, phase]
        )
        return torch.Generator().manual_seed(int(seeds.generate_state(1, np.uint64)[0]))


def take_step(
    state: State, losses: Losses, hr: Tensor, config: TrainConfig, place: Place
) -> dict[str, float]:
    """Advance `state` by a step on the batch `hr`; the weighted losses by name.

    Raises:
        TrainingError: a loss, gradient or weight is not finite, or the inverse has exploded; names
            the step and the layer. The state is then not worth saving.
    """
    hr = hr.to(place.device)
    lr = quantise(bicubic.downscale(hr, state.model.config.scale))
    step = Step(state, losses, config, place, hr, lr)
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
    except LinAlgError as error:  # in every process: they have the same weights
        layer = first_singular(state.model)
        raise _stop(state.step, "inverse", "a 1×1 convolution is singular", layer) from error
    state.step += 1
    return values


def _initialise_actnorms(step: Step) -> None:
    state = step.state
    leave = main_actnorms(state.model) if step.config.network.start == "haar" else set()
    with torch.no_grad(), initialising(state.model, leave):
        state.model(step.hr)
    from_first(state.model, step.place)
    if state.step == 0:
        state.average.load_state_dict(state.model.state_dict())


def _flow_step(step: Step, phase: str) -> dict[str, float]:
    state, schedule = step.state, step.config.schedule
    number = 1 + PHASES[step.config.loss.objective].index(phase)

    def run() -> dict[str, Tensor]:
        result: dict[str, Tensor] = step.losses.objective(
            phase, step.hr, step.lr, step.draws(number)
        )
        return result

    optimiser = state.optimisers["flow"]
    set_learning_rate(optimiser, factor(schedule, state.step) * schedule.lr)
    optimiser.zero_grad(set_to_none=True)
    terms = run()
    wrong = unhealthy(terms)
    if anywhere(wrong is not None, step.place):
        layer = first_bad_layer(state.model, run)
        raise _stop(state.step, phase, wrong or "a loss of another process", layer)
    total(terms).backward()  # type: ignore[no-untyped-call]
    norm = clip(state.model, schedule).item()
    if anywhere(not math.isfinite(norm), step.place):
        layer = first_bad_gradient(state.model)
        raise _stop(state.step, phase, f"the gradient's norm is {norm}", layer)
    optimiser.step()
    return {name: term.item() for name, term in terms.items()} | {f"gradient_{phase}": norm}


def _discriminator_step(step: Step) -> dict[str, float]:
    state, judge, loss = step.state, step.losses.discriminator, step.config.loss
    assert judge is not None
    assert state.discriminator is not None
    optimiser = state.optimisers["discriminator"]
    rate = factor(step.config.schedule, state.step) * loss.discriminator_lr
    set_learning_rate(optimiser, rate)
    optimiser.zero_grad(set_to_none=True)
    made = samples(state.model, step.lr, loss.tau, step.draws(0))
    terms: dict[str, Tensor] = judge(step.hr, made)
    wrong = unhealthy(terms)
    if anywhere(wrong is not None, step.place):
        layer = first_bad_layer(judge, lambda: judge(step.hr, made))
        raise _stop(state.step, "discriminator", wrong or "a loss of another process", layer)
    total(terms).backward()  # type: ignore[no-untyped-call]
    norm = total_norm(state.discriminator).item()
    if anywhere(not math.isfinite(norm), step.place):
        layer = first_bad_gradient(state.discriminator)
        raise _stop(state.step, "discriminator", f"the gradient's norm is {norm}", layer)
    optimiser.step()
    return {name: term.item() for name, term in terms.items()}


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum of weighted losses."""
    return torch.stack(list(terms.values())).sum()


def _stop(step: int, phase: str, wrong: str, layer: str | None) -> TrainingError:
    where = f"first seen in layer '{layer}'" if layer else "no single layer shows it"
    return TrainingError(
        f"step {step}, {phase}: {wrong}; {where}. The last good checkpoint is kept; resume with a "
        "lower schedule.lr in another --out, from its model.safetensors as network.init"
    )
