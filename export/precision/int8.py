"""Which convolutions of a network are INT8, and with which ranges: chosen by what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calib import sensitivity
from calib.encodings import FP8, INT8, Encoding
from calib.images import Crops
from calib.ranges import METHODS, Method
from calib.sensitivity import Choice
from export.errors import BudgetError
from export.precision.emulation import Quantised
from export.precision.evaluation import Evaluator, Trial
from export.precision.int8_candidates import Growth, Progress, prepare

SENSITIVITY_SIDE = 16
"""LR side of what is cut out of each held-out crop to measure a block alone."""

BATCH = 4
"""Calibration crops that are run at once."""

LossOf = Callable[[Mapping[str, Quantised]], float]


@dataclass(frozen=True)
class Int8:
    """What `choose` chose: ranges by convolution name with slashes, and why.

    `channels` are the magnitudes that channels were equalised by, by name of a traced value;
    `taus` the temperatures that ranges were measured at; `encoding` is of values and weights.
    """

    ranges: Mapping[str, float]
    largest: Mapping[str, int]
    method: Method
    method_losses: Mapping[Method, float]
    choice: Choice
    growth: tuple[Growth, ...]
    taus: tuple[float, ...]
    channels: Mapping[str, Sequence[float]] = field(repr=False)
    quantised: Mapping[str, Quantised] = field(repr=False)
    encoding: Encoding = INT8


def choose(
    evaluator: Evaluator,
    calibration: Sequence[Trial],
    hold_out: Trial,
    quick: Trial,
    budget_db: float,
    progress: Progress,
    encoding: Encoding = INT8,
) -> Int8:
    """Choose ranges and blocks for INT8 by what they cost on the hold-out.

    Args:
        evaluator: of the float16 graph, whose trace is equalised in place.
        calibration: used to measure the ranges.
        hold_out: used to make every choice.
        quick: a part of it, used to measure each block alone.
        budget_db: largest mean fall of PSNR against the photographs.
        progress: called with a line before each step.
        encoding: of values and weights. FP8 has as many steps near 0 as anywhere, so it clips
            nothing: its ranges are the largest magnitudes.

    Raises:
        BudgetError: less than 85 % of the multiply-adds can be INT8, or fewer than that within the
            budget.
    """
    prepared = prepare(evaluator, calibration, progress, encoding)
    word = "FP8" if encoding is FP8 else "INT8"
    work = prepared.work
    if (most := sum(work.values())) < sensitivity.LEAST_SHARE:
        raise BudgetError(
            f"this network cannot be quantised to {word}: only {most:.0%} of its multiply-adds are "
            f"in float16 convolutions, which alone can be INT8; at least "
            f"{sensitivity.LEAST_SHARE:.0%} are required, whatever the budget. Leave "
            f"--{word.lower()} out. Nothing was written"
        )
    loss = loss_on(evaluator, hold_out)
    method_losses = {}
    methods: tuple[Method, ...] = ("minmax",) if encoding is FP8 else METHODS
    for method in methods:
        method_losses[method] = loss(prepared.quantised(method, work))
        progress(f"{method} ranges, everything in {word}: {method_losses[method]:.3f} dB")
    best = min(methods, key=lambda method: method_losses[method])
    noise = _noise_on(evaluator, quick)
    choice = sensitivity.choose(
        work,
        lambda block: noise(prepared.quantised(best, (block,))),
        lambda blocks: loss(prepared.quantised(best, blocks)),
        method_losses[best],
        budget_db,
        progress,
    )
    if choice.share < sensitivity.LEAST_SHARE or not choice.loss_db <= budget_db:
        raise BudgetError(_missed(choice, budget_db, word))
    chosen = prepared.quantised(best, [block.name for block in choice.blocks if block.int8])
    return Int8(
        ranges={path.replace(".", "/"): prepared.ranges[best][path] for path in chosen},
        largest={conv.path.replace(".", "/"): conv.largest for conv in prepared.candidates},
        method=best,
        method_losses=method_losses,
        choice=choice,
        growth=prepared.growth,
        taus=tuple(dict.fromkeys(trial.tau for trial in calibration)),
        channels={name: reach.tolist() for name, reach in prepared.reach.items()},
        quantised=chosen,
        encoding=encoding,
    )


def calibration_trials(
    make: Callable[[NDArray[np.float32], float], Trial], crops: Crops, taus: Sequence[float]
) -> list[Trial]:
    """The calibration crops at every temperature in use."""
    batches = range(0, len(crops.calibrate), BATCH)
    return [make(crops.calibrate[i : i + BATCH], tau) for tau in taus for i in batches]


def middle(images: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """The middle of crops [N, 3, H, W], enough to measure a block alone."""
    side = min(SENSITIVITY_SIDE * scale, *images.shape[2:])
    top, left = ((size - side) // 2 for size in images.shape[2:])
    return np.ascontiguousarray(images[:, :, top : top + side, left : left + side])


def loss_on(evaluator: Evaluator, trial: Trial) -> LossOf:
    """INT8 convolutions → mean fall of PSNR against the photographs of a trial, in dB."""
    exact = evaluator.psnr(evaluator.exact_image(trial), trial.truth)

    def loss(tables: Mapping[str, Quantised]) -> float:
        found = evaluator.psnr(evaluator.image(trial, tables), trial.truth)
        return float(np.mean(np.subtract(exact, found)))

    return loss


def _noise_on(evaluator: Evaluator, trial: Trial) -> LossOf:
    """INT8 convolutions → fall of PSNR, in dB, that their error makes if it adds as noise does.

    One block's measured fall is too small to rank by: its error and the network's own may cancel or
    add up by chance. Its power does not.
    """
    run = evaluator.replay(trial)
    exact = run({})
    axes = (1, 2, 3)
    before = np.mean(np.square(exact - trial.truth), axes)

    def noise(tables: Mapping[str, Quantised]) -> float:
        error = np.mean(np.square(run(tables) - exact), axes)
        return float(np.mean(10 * np.log10(1 + error / np.maximum(before, 1e-12))))

    return noise


def _missed(choice: Choice, budget_db: float, word: str) -> str:
    worst = ", ".join(choice.reverted[:5])
    return (
        f"this network cannot be quantised to {word} within the budget of {budget_db:g} dB: the "
        f"hold-out loses {choice.all_int8_loss_db:.3f} dB with all candidates in {word}, and "
        f"{choice.loss_db:.3f} dB with {choice.share:.0%} of the multiply-adds in {word}; at least "
        f"{sensitivity.LEAST_SHARE:.0%} are required. The worst blocks are {worst}; raise "
        f"--{word.lower()}-budget or give more photographs like yours. Nothing was written"
    )
