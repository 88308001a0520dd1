"""Memory that a run needs, estimated before it starts."""

from __future__ import annotations

from runtime.bundle.manifest import Graph
from runtime.errors import SizeError
from runtime.system import machine

OVERHEAD = 2.0
"""Peak memory of a run / live activations: measured 1.47 to 1.95 with ONNX Runtime 1.32, whose
arena grows by doubling, on the rescaling network at 64² to 400² LR pixels. Windows of one size
reuse the arena: it does not grow with their number."""


def needed(graph: Graph, lr_pixels: int) -> int:
    """Bytes that a run of this graph needs for an LR image of so many pixels."""
    return int(graph.bytes_per_lr_pixel * lr_pixels * OVERHEAD)


def check(graph: Graph, lr_height: int, lr_width: int) -> None:
    """Raise `SizeError` if a run needs more memory than is free; unknown memory passes."""
    need, have = needed(graph, lr_height * lr_width), machine.available_memory()
    if have is not None and need > have:
        raise too_little(lr_height, lr_width, need, have)


def too_little(lr_height: int, lr_width: int, need: int, have: int) -> SizeError:
    """The error of a run that does not fit."""
    return SizeError(
        f"a low-resolution size of {lr_width}×{lr_height} needs about {need / 1e9:.1f} GB of "
        f"memory and {have / 1e9:.1f} GB are free: give a smaller image or crop it"
    )


def check_result(values: int, itemsize: int) -> None:
    """Raise `SizeError` if results of so many values, all held at once, do not fit into memory.

    Args:
        values: in all: samples × images × height × width × channels.
        itemsize: bytes of a value.
    """
    need, have = values * itemsize, machine.available_memory()
    if have is not None and need > have:
        raise SizeError(
            f"the results need {need / 1e9:.1f} GB of memory and {have / 1e9:.1f} GB are free: "
            "give a smaller image, or fewer at a time"
        )
