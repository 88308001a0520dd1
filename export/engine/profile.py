"""Sizes of LR images → the shapes of every input that an engine must accept."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from export.errors import ExportError
from runtime.bundle.engines.entry import Profile, Range, Shape
from runtime.bundle.manifest import Graph

Size = tuple[int, int]
"""Height and width in LR pixels."""

DEFAULT_SMALLEST: Size = (8, 8)
DEFAULT_BEST: Size = (64, 64)
DEFAULT_LARGEST: Size = (256, 256)

MOST_ELEMENTS = 2**31 - 1
"""Most elements of one tensor that TensorRT takes."""

_DYNAMIC = re.compile(r"(?:(\d+)\*)?([NHW])")


@dataclass(frozen=True)
class Sizes:
    """LR images an engine accepts; None is chosen by `for_graph` or `profiles_for`.

    Attributes:
        smallest, best, largest: LR sizes; `best` is what the engine is tuned for.
        batch: maximum batch size; 1 is always accepted.
    """

    smallest: Size | None = None
    best: Size | None = None
    largest: Size | None = None
    batch: int = 1

    def __post_init__(self) -> None:
        """Raise `ExportError` for sizes that are not in order."""
        named = (("--min", self.smallest), ("--opt", self.best), ("--max", self.largest))
        given = [(option, size) for option, size in named if size is not None]
        if all(_ordered(low, high) for (_, low), (_, high) in itertools.pairwise(given)):
            return
        sizes = ", ".join(f"{option} {text(size)}" for option, size in given)
        raise ExportError(
            f"{sizes} are not in order: both sides of each must be at most those of the next"
        )

    def profiles_for(self, graph: Graph) -> tuple[Sizes, ...]:
        """Sizes of every profile of an engine, the smallest first.

        One for each of the graph's size classes, tuned for its whole window and open to every
        smaller one; one in all where the graph has no recorded grid, or `best` or `largest` is
        given.
        """
        if self.best is not None or self.largest is not None or not graph.window_classes:
            return (self.for_graph(graph),)
        least = self.smallest or DEFAULT_SMALLEST
        windows = [(side, side) for side in graph.window_classes]
        if self.smallest is not None:
            windows = [window for window in windows if _ordered(least, window)]
        made = [Sizes(_smaller(least, each), each, each, self.batch) for each in windows]
        return tuple(made) or (self.for_graph(graph),)

    def for_graph(self, graph: Graph) -> Sizes:
        """Every size of one profile: a tiled graph runs at its tile's window, others at many."""
        window = None if graph.window is None else (graph.window, graph.window)
        largest = self.largest or _larger(window or DEFAULT_LARGEST, self.best or self.smallest)
        usual = window if window and _ordered(window, largest) else DEFAULT_BEST
        best = self.best or _smaller(_larger(usual, self.smallest), largest)
        smallest = self.smallest or _smaller(DEFAULT_SMALLEST, best)
        return Sizes(smallest, best, largest, self.batch)


def parse(option: str, value: str) -> Size:
    """`HxW` in LR pixels.

    Raises:
        ExportError: anything else.
    """
    found = re.fullmatch(r"([1-9]\d{0,5})[x×X]([1-9]\d{0,5})", value.strip())
    if found is None:
        raise ExportError(f"{option} {value}: it must be HEIGHTxWIDTH in LR pixels, such as 128x96")
    return int(found[1]), int(found[2])


def text(size: Size) -> str:
    """`HxW`, as `parse` reads it."""
    return f"{size[0]}x{size[1]}"


def profile(graph: onnx.ModelProto, sizes: Sizes) -> Profile:
    """Ranges of a graph's inputs, by the names of its dynamic dimensions (`N`, `H`, `4*W`).

    Args:
        graph: follows the graph contract.
        sizes: with every size given.

    Raises:
        ExportError: an input's dimension has another name, or a tensor would be too large.
    """
    assert sizes.smallest
    assert sizes.best
    assert sizes.largest
    scales = [(1, *sizes.smallest), (sizes.batch, *sizes.best), (sizes.batch, *sizes.largest)]
    ranges = {}
    for value in graph.graph.input:
        shapes = [_shape(value, dict(zip("NHW", scale, strict=True))) for scale in scales]
        ranges[value.name] = Range(*shapes)
    for value in graph.graph.output:
        _shape(value, dict(zip("NHW", scales[2], strict=True)))
    return ranges


def best_shapes(graph: onnx.ModelProto, ranges: Profile) -> dict[str, Shape]:
    """Shapes of every input and output where each input has the shape it is tuned for.

    Args:
        graph: follows the graph contract.
        ranges: of its inputs.

    Raises:
        ExportError: a dimension has a name that the contract does not know.
    """
    sides: dict[str, int] = {}
    for value in graph.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        for dimension, size in zip(dimensions, ranges[value.name].best, strict=True):
            if (found := _DYNAMIC.fullmatch(dimension.dim_param)) is not None:
                sides[found[2]] = size // int(found[1] or 1)
    values = (*graph.graph.input, *graph.graph.output)
    return {value.name: _shape(value, sides) for value in values}


def _shape(value: onnx.ValueInfoProto, sides: Mapping[str, int]) -> Shape:
    shape = []
    for dimension in value.type.tensor_type.shape.dim:
        found = _DYNAMIC.fullmatch(dimension.dim_param)
        if not dimension.dim_param:
            shape.append(dimension.dim_value)
        elif found:
            shape.append(int(found[1] or 1) * sides[found[2]])
        else:
            raise ExportError(
                f"'{value.name}' has a dimension '{dimension.dim_param}', which the graph contract "
                "does not know: build the bundle again"
            )
    if math.prod(shape) > MOST_ELEMENTS:
        raise ExportError(
            f"'{value.name}' would be {'×'.join(map(str, shape))}, more than the 2³¹ − 1 elements "
            "that TensorRT takes: give a smaller --max or --batch"
        )
    return tuple(shape)


def _ordered(first: Size, second: Size) -> bool:
    return first[0] <= second[0] and first[1] <= second[1]


def _smaller(first: Size, second: Size) -> Size:
    return min(first[0], second[0]), min(first[1], second[1])


def _larger(first: Size, second: Size | None) -> Size:
    return first if second is None else (max(first[0], second[0]), max(first[1], second[1]))
