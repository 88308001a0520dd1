"""Which convolutions of a network are INT8, and with which ranges: chosen by what it costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from calib import sensitivity
from calib.images import Crops
from calib.placement import LARGEST, LARGEST_SEVEN_BITS, activation_scale, quantise_weights
from calib.ranges import METHODS, Histograms, Method
from calib.sensitivity import Choice
from export import equalise
from export.equalise import Group
from export.errors import BudgetError
from export.precision_trials import Judge, Trial
from export.rounding import Quantised

_RRDB = re.compile(r"(.*?trunk\d+\.\d+)\.")

SENSITIVITY_SIDE = 16
"""LR side of what is cut out of each held-out crop to measure a block alone."""

BATCH = 4
"""Calibration crops that are run at once."""

Progress = Callable[[str], None]
LossOf = Callable[[Mapping[str, Quantised]], float]


@dataclass(frozen=True)
class Conv:
    """A convolution that may become INT8.

    Attributes:
        path: with dots, as in the deploy module.
        block: what goes back to float together: an RRDB, elsewhere the convolution itself (of a
            coupling network the last convolution costs most, and the others may stay).
        group: number of the group that it shares its input's range with (`export.equalise`).
        work: its multiply-adds over those of all convolutions of the graph.
        largest: magnitude of its INT8 weights (`calib.placement`).
        weight: as in the graph.
    """

    path: str
    block: str
    group: int
    work: float
    largest: int
    weight: Tensor


@dataclass(frozen=True)
class Int8:
    """What `choose` chose: ranges by convolution name with slashes, and why."""

    ranges: Mapping[str, float]
    largest: Mapping[str, int]
    method: Method
    method_losses: Mapping[Method, float]
    choice: Choice
    quantised: Mapping[str, Quantised] = field(repr=False)


def choose(
    judge: Judge,
    calibration: Sequence[Trial],
    hold_out: Trial,
    quick: Trial,
    budget_db: float,
    progress: Progress,
) -> Int8:
    """Equalise a network's channels, and choose ranges and blocks by their cost on the hold-out.

    Args:
        judge: of the float16 graph, whose trace is equalised in place.
        calibration: what ranges are measured on.
        hold_out: what every choice is made on.
        quick: a part of it, for what is measured of every block.
        budget_db: largest mean fall of PSNR against the photographs.
        progress: told what goes on.

    Raises:
        BudgetError: the budget holds only with less than 85 % of the multiply-adds in INT8.
    """
    names = [str(node.target) for node in _half_convolutions(judge.traced)]
    found = equalise.groups(judge.traced, names)
    values = {value.name for group in found for value in group.values}
    reach: dict[str, Tensor] = {}

    def note_channels(node: Node, value: Tensor) -> None:
        if node.name in values:
            here = value.abs().amax((0, 2, 3))
            reach[node.name] = torch.maximum(here, reach.get(node.name, here))

    _watch(judge, calibration, note_channels, lambda line: progress(f"channels, {line}"))
    equalise.equalise(judge.traced, found, reach)
    found = equalise.groups(judge.traced, names)  # what they read now
    candidates = convolutions(judge.traced, found)
    histograms = _histograms(judge, found, calibration, progress)

    loss = _loss_on(judge, hold_out)
    tables, method_losses = {}, {}
    for method in METHODS:
        tables[method] = _tables(candidates, _by_path(candidates, histograms.ranges(method)))
        method_losses[method] = loss(tables[method])
        progress(f"{method} ranges, everything in INT8: {method_losses[method]:.3f} dB")
    best = min(METHODS, key=lambda method: method_losses[method])

    work: dict[str, float] = {}
    for conv in candidates:
        work[conv.block] = work.get(conv.block, 0.0) + conv.work

    def of_blocks(blocks: Collection[str]) -> dict[str, Quantised]:
        return {c.path: tables[best][c.path] for c in candidates if c.block in blocks}

    noise = _noise_on(judge, quick)
    choice = sensitivity.choose(
        work,
        lambda block: noise(of_blocks((block,))),
        lambda blocks: loss(of_blocks(blocks)),
        method_losses[best],
        budget_db,
        progress,
    )
    if choice.share < sensitivity.LEAST_SHARE or not choice.loss_db <= budget_db:
        raise BudgetError(_missed(choice, budget_db))
    chosen = of_blocks([block.name for block in choice.blocks if block.int8])
    ranges = _by_path(candidates, histograms.ranges(best))
    return Int8(
        ranges={path.replace(".", "/"): ranges[path] for path in chosen},
        largest={c.path.replace(".", "/"): c.largest for c in candidates},
        method=best,
        method_losses=method_losses,
        choice=choice,
        quantised=chosen,
    )


def convolutions(traced: GraphModule, found: Sequence[Group]) -> list[Conv]:
    """The candidates in the order of the trace: convolutions of networks in float16."""
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    work = {}
    for node in calls:
        shape = node.meta["tensor_meta"].shape
        work[node] = _conv(traced, node).weight.numel() * shape[2] * shape[3]
    total = sum(work.values())
    number = {conv: index for index, group in enumerate(found) for conv in group.convs}
    convs = []
    for node in _half_convolutions(traced):
        path = str(node.target)
        match = _RRDB.match(path)
        source = node.args[0]
        joined = isinstance(source, Node) and source.target is torch.cat
        convs.append(
            Conv(
                path,
                match[1] if match else path,
                number[node],
                work[node] / total,
                LARGEST if joined else LARGEST_SEVEN_BITS,
                _conv(traced, node).weight.detach(),
            )
        )
    return convs


def _half_convolutions(traced: GraphModule) -> list[Node]:
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    return [node for node in calls if _conv(traced, node).weight.dtype == torch.float16]


def _conv(traced: GraphModule, node: Node) -> nn.Conv2d:
    conv = traced.get_submodule(str(node.target))
    assert isinstance(conv, nn.Conv2d)
    return conv


def calibration_trials(
    make: Callable[[NDArray[np.float32], float], Trial], crops: Crops, taus: Sequence[float]
) -> list[Trial]:
    """The calibration crops at every temperature in use."""
    batches = range(0, len(crops.calibrate), BATCH)
    return [make(crops.calibrate[i : i + BATCH], tau) for tau in taus for i in batches]


def middle(images: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """Of crops [N, 3, H, W], what is enough to measure a block alone."""
    side = min(SENSITIVITY_SIDE * scale, *images.shape[2:])
    top, left = ((size - side) // 2 for size in images.shape[2:])
    return np.ascontiguousarray(images[:, :, top : top + side, left : left + side])


def _watch(
    judge: Judge,
    trials: Sequence[Trial],
    note: Callable[[Node, Tensor], None],
    progress: Progress,
) -> None:
    for index, trial in enumerate(trials):
        progress(f"batch {index + 1} of {len(trials)}")
        judge.watch(trial, note)


def _histograms(
    judge: Judge, found: Sequence[Group], trials: Sequence[Trial], progress: Progress
) -> Histograms:
    """Of every group's values, each counted once however many convolutions read it."""
    group_of = {v.name: str(index) for index, group in enumerate(found) for v in group.values}
    histograms = Histograms()

    def note(node: Node, value: Tensor) -> None:
        if node.name in group_of:
            histograms.add(group_of[node.name], value.numpy())

    _watch(judge, trials, note, lambda line: progress(f"ranges, {line}"))
    return histograms


def _by_path(candidates: Sequence[Conv], ranges: Mapping[str, float]) -> dict[str, float]:
    return {conv.path: ranges[str(conv.group)] for conv in candidates}


def _tables(candidates: Sequence[Conv], ranges: Mapping[str, float]) -> dict[str, Quantised]:
    made = {}
    for conv in candidates:
        weight = conv.weight.numpy()
        scale = float(activation_scale(ranges[conv.path], weight.dtype))
        low = quantise_weights(weight, conv.largest)
        made[conv.path] = Quantised(scale, torch.from_numpy(low.dequantised))
    return made


def _loss_on(judge: Judge, trial: Trial) -> LossOf:
    """INT8 convolutions → mean fall of PSNR against the photographs of a trial, in dB."""
    exact = judge.psnr(judge.exact_image(trial), trial.truth)

    def loss(tables: Mapping[str, Quantised]) -> float:
        found = judge.psnr(judge.image(trial, tables), trial.truth)
        return float(np.mean(np.subtract(exact, found)))

    return loss


def _noise_on(judge: Judge, trial: Trial) -> LossOf:
    """INT8 convolutions → fall of PSNR, in dB, that their error makes if it adds as noise does.

    One block's measured fall is too small to rank by: its error falls in with the network's own by
    chance, now better, now worse. Its power does not.
    """
    run = judge.again(trial)
    exact = run({})
    axes = (1, 2, 3)
    before = np.mean(np.square(exact - trial.truth), axes)

    def noise(tables: Mapping[str, Quantised]) -> float:
        error = np.mean(np.square(run(tables) - exact), axes)
        return float(np.mean(10 * np.log10(1 + error / np.maximum(before, 1e-12))))

    return noise


def _missed(choice: Choice, budget_db: float) -> str:
    worst = ", ".join(choice.reverted[:5])
    return (
        f"INT8 does not keep to {budget_db:g} dB: with all candidates in INT8 the hold-out loses "
        f"{choice.all_int8_loss_db:.3f} dB; {choice.loss_db:.3f} dB is reached with "
        f"{choice.share:.0%} of the multiply-adds in INT8, at least "
        f"{sensitivity.LEAST_SHARE:.0%} are asked for. The worst blocks are {worst}; raise "
        "--int8-budget or give more photographs like the ones you serve. Nothing was written"
    )
