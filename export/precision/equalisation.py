"""Channel equalisation: channels are scaled to one range by powers of two.

INT8 has one scale for a whole tensor, so a channel of small values keeps few levels beside one of
large values. A channel may be scaled by 2ⁿ where it is made, if the convolutions that read it undo
that in their weights: float arithmetic gives the same values. What a convolution of the same
network makes is scaled in its weights; what comes from outside (the driving channels, a feature) by
one multiplication. It is the cross-layer equalisation of Nagel et al. (2019), for whole
concatenations.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule, Node

from export.graph import trace

MOST_DOUBLINGS = 8
"""Largest |n| within a group: float16 weights stay away from where they lose bits."""

_ACTIVATIONS = (F.relu, F.leaky_relu)

Kind = Literal["hidden", "outside", "fixed"]


@dataclass(frozen=True)
class Reader:
    """A convolution that reads a value, and the first of its input channels that is the value's."""

    conv: Node
    start: int


@dataclass(frozen=True)
class Group:
    """Convolutions whose inputs have values in common, and those values with their readers.

    They share one INT8 scale, so that a value is quantised once however many read it.
    """

    convs: tuple[Node, ...]
    values: Mapping[Node, tuple[Reader, ...]]


def groups(traced: GraphModule, names: Collection[str]) -> list[Group]:
    """The groups of the named convolutions (paths with dots), in the order of the trace."""
    convs: list[Node] = [
        n for n in traced.graph.nodes if n.op == "call_module" and str(n.target) in names
    ]
    readers: dict[Node, list[Reader]] = {}
    for conv in convs:
        for value, start in _values(_node(conv.args[0]), 0):
            readers.setdefault(value, []).append(Reader(conv, start))
    root = {conv: conv for conv in convs}

    def find(conv: Node) -> Node:
        while root[conv] is not conv:
            conv = root[conv]
        return conv

    for found in readers.values():
        for reader in found[1:]:
            root[find(reader.conv)] = find(found[0].conv)
    members: dict[Node, list[Node]] = {}
    for conv in convs:
        members.setdefault(find(conv), []).append(conv)
    return [
        Group(
            tuple(convs),
            {v: tuple(r) for v, r in readers.items() if find(r[0].conv) is first},
        )
        for first, convs in members.items()
    ]


def equalise(
    traced: GraphModule, found: Sequence[Group], largest: Mapping[str, Tensor]
) -> dict[str, float]:
    """Scale the channels of every group; changes weights in place and adds multiplications.

    Args:
        traced: the trace; its convolutions are its own.
        found: what `groups` gave.
        largest: magnitude of each channel [C], by name of the value's node.

    Returns:
        By convolution (path with dots), the magnitude that its input then reaches.
    """
    reached = dict[str, float]()
    for group in found:
        kinds = {value: _kind(traced, value, group) for value in group.values}
        free = [value for value, kind in kinds.items() if kind != "fixed"]
        # The group keeps the range of what cannot be scaled, or else the one that it had.
        fixed = [v for v in group.values if kinds[v] == "fixed"]
        target = max(float(largest[value.name].max()) for value in fixed or free)
        most = target if fixed else 0.0
        for value in free:
            reach = largest[value.name].float()
            doublings = torch.round(torch.log2(target / reach))  # a channel of zeros: infinite
            power = torch.exp2(doublings.clamp(-MOST_DOUBLINGS, MOST_DOUBLINGS))
            power = power.where(reach > 0, torch.ones(()))
            most = max(most, float((reach * power).max()))
            for reader in group.values[value]:
                weight = trace.convolution(traced, reader.conv).weight
                part = weight.data[:, reader.start : reader.start + len(power)]
                part.div_(power[None, :, None, None].to(weight.dtype))
            if kinds[value] == "hidden":
                _scale_maker(traced, value, power)
            else:
                _multiply(traced, value, power, {reader.conv for reader in group.values[value]})
        reached |= {str(conv.target): most for conv in group.convs}
    traced.graph.lint()
    return reached


def _values(value: Node, start: int) -> Iterator[tuple[Node, int]]:
    """What an input is the concatenation of, and at which channel each begins."""
    value = _uncast(value)
    if value.target is torch.cat and any(map(_is_part, _parts(value))):
        for part in _parts(value):
            yield from _values(part, start)
            start += _channels(part)
        return
    yield value, start


def _is_part(value: Node) -> bool:
    """Whether a concatenation of this is made for one network, so that its parts count alone."""
    value = _uncast(value)
    if value.target is torch.cat:
        return any(map(_is_part, _parts(value)))
    return value.target in _ACTIVATIONS or value.target in ("to", operator.mul)


def is_chain(value: Node) -> bool:
    """Whether one convolution makes a value through an activation, and one node reads it."""
    made = value.args[0] if value.target in _ACTIVATIONS and len(value.users) == 1 else None
    return isinstance(made, Node) and made.op == "call_module"


def _kind(traced: GraphModule, value: Node, group: Group) -> Kind:
    convs = set(group.convs)
    if value.target in _ACTIVATIONS and len(_node(value.args[0]).users) == 1:
        made = _node(value.args[0])
        if made.op == "call_module" and all(_feeds(user, convs) for user in value.users):
            return "hidden"
    beside = {
        part for reader in group.values[value] for part, _ in _values(_node(reader.conv.args[0]), 0)
    }
    return "outside" if any(part.target == "to" for part in beside) else "fixed"


def _feeds(user: Node, convs: Collection[Node]) -> bool:
    """Whether all that comes of a value in this user is read by these convolutions."""
    if user in convs:
        return True
    return (user.target is torch.cat or _is_idle(user)) and all(
        _feeds(each, convs) for each in user.users
    )


def _scale_maker(traced: GraphModule, value: Node, power: Tensor) -> None:
    conv = trace.convolution(traced, _node(value.args[0]))
    assert conv.bias is not None
    conv.weight.data.mul_(power[:, None, None, None].to(conv.weight.dtype))
    conv.bias.data.mul_(power.to(conv.bias.dtype))


def _multiply(traced: GraphModule, value: Node, power: Tensor, convs: Collection[Node]) -> None:
    dtype = value.meta["tensor_meta"].dtype
    constant = power[None, :, None, None].to(dtype)
    users = [user for user in value.users if _feeds(user, convs)]
    index = sum(node.op == "get_attr" for node in traced.graph.nodes)
    name = f"equalising{index}"
    traced.register_buffer(name, constant)
    with traced.graph.inserting_after(value):
        held = traced.graph.get_attr(name)
    with traced.graph.inserting_after(held):
        scaled = traced.graph.call_function(operator.mul, (value, held))
    held.meta, scaled.meta = dict(value.meta), dict(value.meta)
    held.meta["tensor_meta"] = value.meta["tensor_meta"]._replace(
        shape=constant.shape, stride=constant.stride()
    )
    for user in users:
        user.replace_input_with(value, scaled)


def _uncast(value: Node) -> Node:
    while _is_idle(value):
        value = _node(value.args[0])
    return value


def _is_idle(value: Node) -> bool:
    """Whether this is a cast to the type that its operand has."""
    if value.target != "to":
        return False
    return trace.dtype(_node(value.args[0])) == trace.dtype(value)


def _parts(cat: Node) -> list[Node]:
    parts = cat.args[0]
    assert isinstance(parts, list | tuple)
    return [_node(part) for part in parts]


def _channels(value: Node) -> int:
    return int(value.meta["tensor_meta"].shape[1])


def _node(value: object) -> Node:
    assert isinstance(value, Node)
    return value
