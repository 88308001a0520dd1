"""Adam, the learning-rate schedule and gradient clipping (docs/network.md, 6)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hcflow_ref.training.config.settings import ScheduleSettings

BETAS = (0.9, 0.99)


def adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
    """Adam with the paper's betas; one call for all parameters takes a quarter of the time."""
    return torch.optim.Adam(parameters, lr=lr, betas=BETAS, fused=True)


def progress(schedule: ScheduleSettings, step: int, seconds: float = 0.0) -> float:
    """How far the schedule is after so many steps and seconds of training; 1 is its end."""
    in_time = seconds / (60 * schedule.minutes) if schedule.minutes else 0.0
    return max(step / schedule.steps, in_time)


def factor(schedule: ScheduleSettings, step: int, seconds: float = 0.0) -> float:
    """The factor on the learning rate at `step`, counted from 0, after `seconds` of training."""
    done = min(1.0, progress(schedule, step, seconds))
    warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    if schedule.cosine:
        return float(warm * 0.5 * (1 + math.cos(math.pi * done)))
    return float(warm * 0.5 ** sum(done >= at for at in schedule.halve_at))


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of every parameter."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def total_norm(model: nn.Module) -> Tensor:
    """The 2-norm of all gradients together."""
    return torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])


def clip(model: nn.Module, schedule: ScheduleSettings) -> Tensor:
    """Clip gradients by value, then by norm.

    Returns:
        Their norm before clipping, as clipping by value would hide an infinity. Where it is not
        finite the gradients are not clipped.
    """
    parameters = [p for p in model.parameters() if p.grad is not None]
    norm = total_norm(model)
    if torch.isfinite(norm):
        torch.nn.utils.clip_grad_value_(parameters, schedule.clip_value)
        torch.nn.utils.clip_grad_norm_(parameters, schedule.clip_norm)
    return norm
