"""A precision below fp32: what is kept out of it, what is INT8, and what it costs on photographs.

Everything here is measured on the network itself, rounded after every operator
(`export.rounding`), because CPU runtimes hide what float16 does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from calib import sensitivity
from calib.images import Crops
from calib.placement import (
    LARGEST,
    LARGEST_SEVEN_BITS,
    activation_scale,
    quantise_weights,
)
from calib.ranges import METHODS, Histograms, Method
from calib.sensitivity import Choice
from export import trace
from export.errors import BudgetError, ExportError
from export.precision_trials import Judge, Trial
from export.rounding import Quantised
from hcflow_ref.photographs import PHOTOGRAPHS, photograph
from runtime.manifest import Loss

LARGEST_HALF = 1e4
"""Magnitude beyond which a tensor is kept out of float16, whose largest number is 65504."""

PHOTOGRAPH_SIDE = 192
"""HR side of the crop, at the centre of each photograph, that a build reports on."""

MOST_LOSS_DB = {"fp16": 0.02, "int8": 0.10}
"""Of PSNR against the ground truth (DESIGN, section 6)."""

_RRDB = re.compile(r"(.*?trunk\d+\.\d+)\.")

QUICK_EVERY = 3
"""One in so many crops of the hold-out measures a block alone; every other choice uses all."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Conv:
    """A convolution that may become INT8.

    Attributes:
        path: with dots, as in the deploy module.
        block: what goes back to float together: an RRDB, elsewhere the convolution itself (of a
            coupling network the last convolution costs most, and the others may stay).
        work: its multiply-adds over those of all convolutions of the graph.
        largest: magnitude of its INT8 weights (`calib.placement`).
        weight: as in the graph.
    """

    path: str
    block: str
    work: float
    largest: int
    weight: Tensor


@dataclass(frozen=True)
class Int8:
    """What `choose_int8` chose: ranges by convolution name with slashes, and why."""

    ranges: Mapping[str, float]
    largest: Mapping[str, int]
    method: Method
    method_losses: Mapping[Method, float]
    choice: Choice
    quantised: Mapping[str, Quantised] = field(repr=False)


def convolutions(traced: GraphModule) -> list[Conv]:
    """The float16 convolutions of a trace: those of coupling networks and feature extractors."""
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    work = {}
    for node in calls:
        conv = _conv(traced, node)
        shape = node.meta["tensor_meta"].shape
        work[node] = conv.weight.numel() * shape[2] * shape[3]
    total = sum(work.values())
    found = []
    for node in calls:
        conv = _conv(traced, node)
        if conv.weight.dtype != torch.float16:
            continue
        path = str(node.target)
        match = _RRDB.match(path)
        source = node.args[0]
        joined = isinstance(source, Node) and source.target is torch.cat
        found.append(
            Conv(
                path,
                match[1] if match else path,
                work[node] / total,
                LARGEST if joined else LARGEST_SEVEN_BITS,
                conv.weight.detach(),
            )
        )
    return found


def _conv(traced: GraphModule, node: Node) -> nn.Conv2d:
    conv = traced.get_submodule(str(node.target))
    assert isinstance(conv, nn.Conv2d)
    return conv


def out_of_half(
    lowered: GraphModule, judge: Judge, trials: Sequence[Trial]
) -> dict[str, tuple[str, float]]:
    """Networks whose values on real data, or weights, pass 1e4, with the worst tensor of each.

    Args:
        lowered: the trace with every network in float16.
        judge: holds the same graph in fp32.
        trials: the real data.

    Returns:
        Path of the network as `lower` takes it → (tensor, its largest magnitude).

    Raises:
        ExportError: no network would be left in float16.
    """
    half = {n.name for n in lowered.graph.nodes if _dtype(n) == torch.float16}
    worst: dict[str, tuple[str, float]] = {}
    networks: set[str] = set()

    def note(node: Node, value: Tensor) -> None:
        if node.name not in half:
            return
        scope = trace.scope(node).replace("/", ".")
        path = str(node.target) if node.op == "call_module" else scope
        network = _network(path)
        if network is None:  # an upsampled feature, noted where it was made
            return
        networks.add(network)
        largest = float(value.abs().max())
        if node.op == "call_module":
            largest = max(largest, float(_conv(judge.exact, node).weight.abs().max()))
        # Written so that NaN counts as beyond every limit.
        if not largest <= LARGEST_HALF and not largest <= worst.get(network, ("", 0.0))[1]:
            worst[network] = path, largest

    for trial in trials:
        judge.exact_image(trial, note)
    if networks and worst.keys() == networks:
        name, largest = max(worst.values(), key=lambda item: item[1])
        raise ExportError(
            f"every network of this model passes {LARGEST_HALF:g} ('{name}' reaches "
            f"{largest:.3g}), so that nothing can be float16: leave --fp16 and --int8 out"
        )
    return worst


def _dtype(node: Node) -> torch.dtype | None:
    return getattr(node.meta.get("tensor_meta"), "dtype", None)


def _network(path: str) -> str | None:
    """The module that `lower` keeps out of float16 for this path."""
    match = re.match(r"(.*?coupling|level\d+\.cond(?!\.steps)|operations\.\d+)(\.|$)", path)
    return match[1] if match else None


def photograph_trials(
    scale: int,
) -> list[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
    """A crop of each evaluation photograph, [1, 3, side, side] in [0, 1]: they only report."""
    found = []
    side = PHOTOGRAPH_SIDE // scale * scale
    for name in PHOTOGRAPHS:
        image = photograph(name)
        top, left = ((size - side) // 2 for size in image.shape[:2])
        crop = image[top : top + side, left : left + side].transpose(2, 0, 1)[None]
        found.append((name, np.ascontiguousarray(crop, np.float32) / np.float32(255)))
    return found


def losses(
    judge: Judge,
    trials: Sequence[tuple[str, Trial]],
    quantised: Mapping[str, Quantised] | None = None,
) -> tuple[Loss, ...]:
    """What the precision costs on each named trial."""
    rows = []
    for name, trial in trials:
        exact, low = judge.exact_image(trial), judge.image(trial, quantised)
        between = judge.psnr(low, exact)[0]
        before, after = (judge.psnr(image, trial.truth)[0] for image in (exact, low))
        rows.append(Loss(name, trial.tau, None if between == np.inf else between, before - after))
    return tuple(rows)


def choose_int8(
    judge: Judge,
    calibration: Sequence[Trial],
    hold_out: Trial,
    budget_db: float,
    progress: Progress,
) -> Int8:
    """Choose ranges and blocks for INT8 by what they cost on the hold-out.

    Raises:
        BudgetError: the budget holds only with less than 85 % of the multiply-adds in INT8.
    """
    candidates = convolutions(judge.traced)
    histograms = Histograms()
    wanted = {conv.path for conv in candidates}

    for index, trial in enumerate(calibration):
        progress(f"calibrating on batch {index + 1} of {len(calibration)}")
        sources: dict[str, list[str]] = {}
        for node in judge.traced.graph.nodes:
            if node.op == "call_module" and str(node.target) in wanted:
                sources.setdefault(node.args[0].name, []).append(str(node.target))

        def note(node: Node, value: Tensor, sources: dict[str, list[str]] = sources) -> None:
            for path in sources.get(node.name, ()):
                histograms.add(path, value.numpy())

        judge.image(trial, observe=note)
    loss = _loss_on(judge, hold_out)
    quick = _noise_on(judge, hold_out.every(QUICK_EVERY))

    tables, method_losses = {}, {}
    for method in METHODS:
        progress(f"{method} ranges")
        tables[method] = _tables(candidates, histograms.ranges(method))
        method_losses[method] = loss(tables[method])
    best = min(METHODS, key=lambda method: method_losses[method])
    work: dict[str, float] = {}
    for conv in candidates:
        work[conv.block] = work.get(conv.block, 0.0) + conv.work

    def of_blocks(blocks: frozenset[str]) -> dict[str, Quantised]:
        return {c.path: tables[best][c.path] for c in candidates if c.block in blocks}

    choice = sensitivity.choose(
        work,
        lambda block: quick(of_blocks(frozenset((block,)))),
        lambda blocks: loss(of_blocks(blocks)),
        budget_db,
        progress,
    )
    if choice.share < sensitivity.LEAST_SHARE or not choice.loss_db <= budget_db:
        raise BudgetError(_missed(choice, budget_db))
    chosen = of_blocks(frozenset(block.name for block in choice.blocks if block.int8))
    ranges = histograms.ranges(best)
    return Int8(
        ranges={path.replace(".", "/"): ranges[path] for path in chosen},
        largest={c.path.replace(".", "/"): c.largest for c in candidates},
        method=best,
        method_losses=method_losses,
        choice=choice,
        quantised=chosen,
    )


def _loss_on(judge: Judge, trial: Trial) -> Callable[[Mapping[str, Quantised]], float]:
    """INT8 convolutions → mean fall of PSNR against the photographs of a trial, in dB."""
    exact = judge.psnr(judge.exact_image(trial), trial.truth)

    def loss(tables: Mapping[str, Quantised]) -> float:
        found = judge.psnr(judge.image(trial, tables), trial.truth)
        return float(np.mean(np.subtract(exact, found)))

    return loss


def _noise_on(judge: Judge, trial: Trial) -> Callable[[Mapping[str, Quantised]], float]:
    """INT8 convolutions → fall of PSNR, in dB, that their error makes if it adds as noise does.

    One block's measured fall is too small to rank by: its error falls in with the network's own by
    chance, now better, now worse. Its power does not.
    """
    exact = judge.exact_image(trial)
    axes = (1, 2, 3)
    before = np.mean(np.square(exact - trial.truth), axes)

    def noise(tables: Mapping[str, Quantised]) -> float:
        error = np.mean(np.square(judge.image(trial, tables) - exact), axes)
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


def _tables(candidates: Sequence[Conv], ranges: Mapping[str, float]) -> dict[str, Quantised]:
    made = {}
    for conv in candidates:
        weight = conv.weight.numpy()
        scale = float(activation_scale(ranges[conv.path], weight.dtype))
        low = quantise_weights(weight, conv.largest)
        made[conv.path] = Quantised(scale, torch.from_numpy(low.dequantised))
    return made


def calibration_trials(
    make: Callable[[np.ndarray[tuple[int, ...], np.dtype[np.float32]], float], Trial],
    crops: Crops,
    taus: Sequence[float],
) -> list[Trial]:
    """The calibration crops at every temperature in use, four crops a batch."""
    batches = range(0, len(crops.calibrate), 4)
    return [make(crops.calibrate[i : i + 4], tau) for tau in taus for i in batches]
