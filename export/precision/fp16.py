"""Which networks stay float32: those whose values on real data, or weights, exceed 1e4."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from export.errors import ExportError
from export.graph import trace
from export.precision.evaluation import Arrays, Evaluator, Trial

LARGEST_HALF = 1e4
"""Magnitude beyond which a tensor is kept out of float16, whose largest number is 65504."""


def beyond_float16(
    lowered: GraphModule, evaluator: Evaluator, trials: Sequence[Trial]
) -> tuple[dict[str, tuple[str, float]], list[Arrays]]:
    """Networks whose values on real data, or weights, exceed 1e4, with the worst tensor of each.

    Args:
        lowered: the trace with every network in float16.
        evaluator: holds the same graph in fp32.
        trials: the real data.

    Returns:
        Path of the network as `lower` takes it → (tensor, its largest magnitude); and the fp32
        graph's outputs for each trial.

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
            weight = trace.convolution(evaluator.exact, node).weight
            largest = max(largest, float(weight.abs().max()))
        # Written so that NaN counts as beyond every limit.
        if not largest <= LARGEST_HALF and not largest <= worst.get(network, ("", 0.0))[1]:
            worst[network] = path, largest

    outputs = [evaluator.run(trial, note, exact=True) for trial in trials]
    if networks and worst.keys() == networks:
        name, largest = max(worst.values(), key=lambda item: item[1])
        raise ExportError(
            f"every network of this model exceeds {LARGEST_HALF:g} ('{name}' reaches "
            f"{largest:.3g}), so none can be float16: leave --fp16 and --int8 out"
        )
    return worst, outputs


def _dtype(node: Node) -> torch.dtype | None:
    return getattr(node.meta.get("tensor_meta"), "dtype", None)


def _network(path: str) -> str | None:
    """The module that `lower` keeps out of float16 for this path."""
    match = re.match(r"(.*?coupling|level\d+\.cond(?!\.steps)|operations\.\d+)(\.|$)", path)
    return match[1] if match else None
