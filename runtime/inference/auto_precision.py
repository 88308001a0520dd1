"""Precision `auto`: the one that this processor runs fastest within the budgets."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from runtime.bundle.manifest import Manifest, Precision
from runtime.inference.grid import Grid

_INT8 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
"""Linux's names of instructions for dot products of bytes; without one INT8 is no faster."""

COST: Mapping[Precision, float] = {"int8": 0.42, "fp16": 1.0, "fp32": 1.0}
"""Time of a pixel / its time in fp32, in OpenVINO on a processor with dot products of bytes: the
largest that was measured (docs/precision.md, 3)."""


def prefers_int8(backend: str, cpu_flags: Collection[str]) -> bool:
    """Whether a backend (by its own name, not `auto`) runs INT8 faster than fp32 here."""
    return backend == "openvino" and not _INT8.isdisjoint(cpu_flags)


def precisions(
    manifest: Manifest, backend: str, cpu_flags: Collection[str], io: str | None = None
) -> tuple[Precision, ...]:
    """The precisions that `auto` may choose on a backend, the cheapest pixel first.

    INT8 and fp32 on OpenVINO, where the processor has dot products of bytes and every fp32 graph
    has an INT8 one within its budget; else fp32 alone. On a CPU, ONNX Runtime takes longer for INT8
    than for fp32 (docs/precision.md), and fp16 graphs are computed in float32. The gain of INT8 on
    a GPU has not been measured.

    Args:
        manifest: the bundle's.
        backend: by its own name, not `auto`.
        cpu_flags: `machine.cpu_flags()`.
        io: type of images at the graph's boundary; None is float32.
    """
    if not prefers_int8(backend, cpu_flags):
        return ("fp32",)
    exact, low = (
        {
            (graph.direction, graph.latents)
            for graph in manifest.graphs
            if graph.precision == precision
            and graph.io == (io or "float32")
            and (precision == "fp32" or graph.within_budget)
        }
        for precision in ("fp32", "int8")
    )
    return ("int8", "fp32") if exact and exact <= low else ("fp32",)


def cheapest(grids: Mapping[Precision, Grid]) -> Precision:
    """The precision that computes an image in the least time: pixels of all windows × `COST`.

    An INT8 graph needs larger overlaps, and smaller tiles for the same memory, so on many tiles it
    may compute more pixels than their lower cost saves. One without a certified overlap runs
    images whole, whatever memory that takes: it is left out where fp32 tiles the image. Of two
    equal costs the later precision is chosen.
    """

    def cost(precision: Precision) -> float:
        grid = grids[precision]
        rows, columns = grid.window
        return COST[precision] * grid.rows * grid.columns * rows * columns

    exact = grids.get("fp32")
    cut = exact is not None and exact.rows * exact.columns > 1
    fitting = [p for p, grid in grids.items() if not cut or grid.rows * grid.columns > 1]
    return min(reversed(fitting), key=cost)
