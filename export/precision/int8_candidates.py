"""Convolutions that may become INT8, with their channels equalised and their ranges measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from calib.encodings import (
    INT8,
    LARGEST,
    LARGEST_SEVEN_BITS,
    Encoding,
    activation_scale,
    quantise_weights,
)
from calib.ranges import METHODS, Histograms, Method
from export.graph import trace
from export.precision import equalisation
from export.precision.emulation import Quantised
from export.precision.equalisation import Group
from export.precision.evaluation import Evaluator, Trial

_RRDB = re.compile(r"(.*?trunk\d+\.\d+)\.")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Conv:
    """A convolution that may become INT8.

    Attributes:
        path: with dots, as in the deploy module.
        block: the unit that returns to float: an RRDB, elsewhere the convolution itself (of a
            coupling network the last convolution costs most, and the others may stay).
        group: number of the group that it shares its input's range with
            (`export.precision.equalisation`).
        work: its multiply-adds over those of all convolutions of the graph.
        largest: magnitude of its INT8 weights (`calib.qdq`).
        weight: as in the graph.
        chained: whether it alone reads what one convolution gives through an activation. There 8
            bits save no bytes in TensorRT-RTX, which quantises in a kernel of its own.
    """

    path: str
    block: str
    group: int
    work: float
    largest: int
    weight: Tensor
    chained: bool


@dataclass(frozen=True)
class Growth:
    """Ranges at a temperature over those at τ = 0: of the median and the worst INT8 input."""

    tau: float
    median: float
    largest: float


@dataclass(frozen=True)
class Prepared:
    """A network whose channels are equalised, and its candidates' INT8 ranges.

    Attributes:
        candidates: its float16 convolutions; for TensorRT-RTX without those that are chained.
        ranges: of each candidate's input, by method and path with dots.
        growth: ranges at temperatures above 0 over those at 0.
        reach: largest magnitude of each channel [C] that was equalised, by name of the value.
        encoding: of values and weights.
    """

    candidates: Sequence[Conv]
    ranges: Mapping[Method, Mapping[str, float]]
    growth: tuple[Growth, ...]
    reach: Mapping[str, Tensor]
    encoding: Encoding = INT8

    def quantised(self, method: Method, blocks: Collection[str]) -> dict[str, Quantised]:
        """The candidates of these blocks in INT8."""
        return {
            conv.path: quantised(conv, self.ranges[method][conv.path], self.encoding)
            for conv in self.candidates
            if conv.block in blocks
        }

    @property
    def work(self) -> dict[str, float]:
        """Each block's share of all convolutions' multiply-adds."""
        work: dict[str, float] = {}
        for conv in self.candidates:
            work[conv.block] = work.get(conv.block, 0.0) + conv.work
        return work


def prepare(
    evaluator: Evaluator,
    calibration: Sequence[Trial],
    progress: Progress,
    encoding: Encoding = INT8,
) -> Prepared:
    """Equalise a network's channels, in place, and measure what its convolutions read.

    Args:
        evaluator: of the float16 graph.
        calibration: used to measure the ranges.
        progress: called with a line before each step.
        encoding: of values and weights.
    """
    channels = shared(evaluator.traced)
    by_tau = _channels(evaluator, channels, calibration, progress)
    reach = {name: torch.stack([x[name] for x in by_tau.values()]).amax(0) for name in channels}
    found, _ = equalised(evaluator.traced, reach)
    candidates = [
        conv
        for conv in convolutions(evaluator.traced, found)
        if encoding is INT8 or not conv.chained
    ]
    histograms = _histograms(evaluator, found, calibration, progress)
    ranges: dict[Method, dict[str, float]] = {}
    for method in METHODS:
        by_group = histograms.ranges(method)
        ranges[method] = {conv.path: by_group[str(conv.group)] for conv in candidates}
    return Prepared(candidates, ranges, growth(by_tau), reach, encoding)


def shared(traced: GraphModule) -> dict[str, int]:
    """Names of the values that the candidates read, and how many channels each has."""
    found = equalisation.groups(traced, _names(traced))
    return {
        value.name: int(value.meta["tensor_meta"].shape[1])
        for group in found
        for value in group.values
    }


def equalised(
    traced: GraphModule, reach: Mapping[str, Tensor]
) -> tuple[list[Group], dict[str, float]]:
    """Equalise the channels of a trace, in place, by their magnitudes.

    Args:
        traced: a float16 trace that was not equalised yet.
        reach: of every value of `shared`, largest magnitude of each channel [C].

    Returns:
        The groups as they are then, and the largest magnitude that each convolution then reads.
    """
    names = _names(traced)
    magnitudes = equalisation.equalise(traced, equalisation.groups(traced, names), reach)
    return equalisation.groups(traced, names), magnitudes


def _names(traced: GraphModule) -> list[str]:
    return [str(node.target) for node in _half_convolutions(traced)]


def convolutions(traced: GraphModule, found: Sequence[Group]) -> list[Conv]:
    """The candidates in the order of the trace: convolutions of networks in float16."""
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    work = {}
    for node in calls:
        shape = node.meta["tensor_meta"].shape
        work[node] = trace.convolution(traced, node).weight.numel() * shape[2] * shape[3]
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
                trace.convolution(traced, node).weight.detach(),
                isinstance(source, Node) and equalisation.is_chain(source),
            )
        )
    return convs


def _half_convolutions(traced: GraphModule) -> list[Node]:
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    return [node for node in calls if trace.convolution(traced, node).weight.dtype == torch.float16]


def _channels(
    evaluator: Evaluator, values: Collection[str], trials: Sequence[Trial], progress: Progress
) -> dict[float, dict[str, Tensor]]:
    """τ → name of a value → largest magnitude of its channels [C]."""
    found: dict[float, dict[str, Tensor]] = {}
    for index, trial in enumerate(trials):
        progress(f"channels, batch {index + 1} of {len(trials)}")
        reach = found.setdefault(trial.tau, {})

        def note(node: Node, value: Tensor, reach: dict[str, Tensor] = reach) -> None:
            if node.name in values:
                here = value.abs().amax((0, 2, 3))
                reach[node.name] = torch.maximum(here, reach.get(node.name, here))

        evaluator.run(trial, note)
    return found


def growth(by_tau: Mapping[float, Mapping[str, Tensor]]) -> tuple[Growth, ...]:
    """Ranges at each temperature above 0 over those at 0."""
    calm = by_tau.get(0.0, {})
    rows = []
    for tau, reach in by_tau.items():
        ratios = [float(x.max() / calm[name].max()) for name, x in reach.items() if name in calm]
        known = [ratio for ratio in ratios if np.isfinite(ratio)]
        if tau > 0 and known:
            rows.append(Growth(tau, float(np.median(known)), max(known)))
    return tuple(rows)


def _histograms(
    evaluator: Evaluator, found: Sequence[Group], trials: Sequence[Trial], progress: Progress
) -> Histograms:
    """Of every group's values, each counted once however many convolutions read it."""
    group_of = {v.name: str(index) for index, group in enumerate(found) for v in group.values}
    histograms = Histograms()

    def note(node: Node, value: Tensor) -> None:
        if node.name in group_of:
            histograms.add(group_of[node.name], value.numpy())

    for index, trial in enumerate(trials):
        progress(f"ranges, batch {index + 1} of {len(trials)}")
        evaluator.run(trial, note)
    return histograms


def quantised(conv: Conv, magnitude: float, encoding: Encoding = INT8) -> Quantised:
    """A candidate in 8 bits whose input reaches this far."""
    weight = conv.weight.numpy()
    scale = float(activation_scale(magnitude, weight.dtype, encoding))
    low = quantise_weights(weight, conv.largest, encoding)
    return Quantised(scale, torch.from_numpy(low.dequantised), encoding)
