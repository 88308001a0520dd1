"""A precision below fp32: what is kept out of it, and what it costs on photographs.

Everything here is measured on the network itself, rounded after every operator
(`export.precision.emulation`), because CPU runtimes hide what float16 does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from export.errors import ExportError
from export.graph import trace
from export.precision.emulation import Quantised
from export.precision.evaluation import Judge, Trial
from hcflow_ref.images.photographs import PHOTOGRAPHS, photograph
from runtime.bundle.manifest import Loss

LARGEST_HALF = 1e4
"""Magnitude beyond which a tensor is kept out of float16, whose largest number is 65504."""

PHOTOGRAPH_SIDE = 192
"""HR side of the crop, at the centre of each photograph, that a build reports on."""

MOST_LOSS_DB = {"fp16": 0.02, "int8": 0.10}
"""Of PSNR against the ground truth (docs/bundle.md, 2)."""

Progress = Callable[[str], None]


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
            largest = max(largest, float(trace.convolution(judge.exact, node).weight.abs().max()))
        # Written so that NaN counts as beyond every limit.
        if not largest <= LARGEST_HALF and not largest <= worst.get(network, ("", 0.0))[1]:
            worst[network] = path, largest

    for trial in trials:
        judge.watch(trial, note, exact=True)
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
        worst = float(np.abs(low - exact).max())
        to_fp32 = None if between == np.inf else between
        rows.append(Loss(name, trial.tau, to_fp32, before - after, worst))
    return tuple(rows)
