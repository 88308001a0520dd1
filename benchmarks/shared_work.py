"""What share of an inverse graph depends on the LR image alone: what draws could share.

    python -m benchmarks.shared_work

A convolution is shared if no latent reaches it. K draws then cost shared + K · (1 − shared) of
one, where the shared part is computed once; the table shows that cost for eight draws.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from dataclasses import dataclass

import onnx

from benchmarks.harness import our_inverse
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.synthetic_weights import synthetic

SIDE = 40
DRAWS = 8
NETWORKS = {"rescale_x4": "rescaling ×4", "sr_x4": "general SR ×4", "sr_x8": "face SR ×8"}


@dataclass(frozen=True)
class Part:
    """Multiply-adds of one level: of its convolutions, and of those that no latent reaches."""

    total: float = 0.0
    shared: float = 0.0


def parts(model: HCFlow, side: int = SIDE) -> dict[str, Part]:
    """A network's inverse graph by level, the finest (`level0`) first.

    Args:
        model: the network, whose inverse is exported in float32.
        side: side of the square LR image; shares hardly depend on it.
    """
    shapes = {"lr": (1, 3, side, side)} | {
        f"z{level}": (1, *shape[-3:])
        for level, shape in enumerate(model.config.latent_shapes(side, side), start=1)
    }
    graph = onnx.load_from_string(our_inverse(model)).graph
    for value in graph.input:
        dimensions = value.type.tensor_type.shape.dim
        for dimension, size in zip(dimensions, shapes[value.name], strict=True):
            dimension.dim_value = size
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph), data_prop=True)
    known = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for group in (inferred.graph.value_info, inferred.graph.output)
        for value in group
    }
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    drawn = {name for name in shapes if name != "lr"}  # what a latent reaches
    found: dict[str, Part] = defaultdict(Part)
    for node in graph.node:  # in topological order
        reached = not drawn.isdisjoint(node.input)
        if reached:
            drawn.update(node.output)
        if node.op_type != "Conv":
            continue
        work = math.prod(known[node.output[0]]) * math.prod(weights[node.input[1]][1:])
        level = node.name.split("/")[0]
        old = found[level]
        found[level] = Part(old.total + work, old.shared + (0 if reached else work))
    return dict(sorted(found.items()))


def table() -> str:
    """Networks down; levels, shared parts and the cost of eight draws across, in Markdown."""
    lines = [
        "| network | work by level, finest first | of it shared | shared of all "
        f"| {DRAWS} draws / one |",
        "|---|---|---|---|---|",
    ]
    for name, title in NETWORKS.items():
        found = parts(synthetic(OFFICIAL[name])).values()
        total = sum(part.total for part in found)
        shared = sum(part.shared for part in found) / total
        by_level = ", ".join(f"{part.total / total:.1%}" for part in found)
        of_it = ", ".join(f"{part.shared / part.total:.1%}" for part in found)
        cost = shared + DRAWS * (1 - shared)
        lines.append(f"| {title} | {by_level} | {of_it} | {shared:.1%} | {cost:.2f} |")
    return "\n".join(lines)


def main() -> int:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
