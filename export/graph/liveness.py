"""Peak memory of a graph's activations; a value lives until it is last read."""

from __future__ import annotations

import copy

from torch.fx import GraphModule, Node


def bytes_per_lr_pixel(traced: GraphModule, side: int = 8) -> int:
    """Most bytes that are alive at once in execution order, per LR pixel.

    Args:
        traced: a trace whose values were noted at an LR of `side` × `side`.
        side: that side.
    """
    nodes = list(traced.graph.nodes)
    last_use: dict[Node, int] = {}
    for index, node in enumerate(nodes):
        last_use |= dict.fromkeys(node.all_input_nodes, index)
    dies: dict[int, list[Node]] = {}
    for node, index in last_use.items():
        dies.setdefault(index, []).append(node)
    alive = peak = 0
    for index, node in enumerate(nodes):
        if node.op == "output":
            break
        alive += _bytes(node)
        peak = max(peak, alive)
        alive -= sum(_bytes(dead) for dead in dies.get(index, ()))
    return -(-peak // side**2)


def first_output_alone(traced: GraphModule) -> GraphModule:
    """A trace that gives its first output, without what the others alone need."""
    alone = GraphModule(traced, copy.deepcopy(traced.graph))
    output = next(iter(reversed(alone.graph.nodes)))
    values = output.args[0]
    output.args = (values[0] if isinstance(values, tuple | list) else values,)
    alone.graph.eliminate_dead_code()
    return alone


def _bytes(node: Node) -> int:
    """Size of a value; a split's parts are counted with their first use, the tuple not at all."""
    meta = node.meta.get("tensor_meta")
    if meta is None or (isinstance(meta, tuple) and not hasattr(meta, "dtype")):
        return 0
    return int(meta.shape.numel() * meta.dtype.itemsize)
