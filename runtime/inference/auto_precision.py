"""Which of a bundle's precisions a processor runs fastest, within what was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from runtime.bundle.manifest import Manifest, Precision
from runtime.inference.grid import Grid

_INT8 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
"""Linux's names of the dot products of bytes; without one INT8 is no faster than float32."""

COST: Mapping[Precision, float] = {"int8": 0.42, "fp16": 1.0, "fp32": 1.0}
"""Time of a pixel / its time in fp32, in OpenVINO on a processor that multiplies bytes: the largest
that was ever measured (docs/precision.md, 3)."""


def prefers_int8(backend: str, cpu_flags: Collection[str]) -> bool:
    """Whether a backend (by its own name, not `auto`) computes INT8 faster than fp32 here."""
    return backend == "openvino" and not _INT8.isdisjoint(cpu_flags)


def precisions(
    manifest: Manifest, backend: str, cpu_flags: Collection[str], io: str | None = None
) -> tuple[Precision, ...]:
    """The precisions that `auto` may take in a backend, the cheapest pixel first.

    INT8 and fp32 where OpenVINO runs them, the processor multiplies bytes and an INT8 graph that
    kept its budget stands beside every fp32 one; else fp32 alone. ONNX Runtime takes longer
    for INT8 on a CPU than for fp32 (docs/precision.md), and what a GPU gains by it is unmeasured. A
    processor computes fp16 graphs in float32, so they win no time there.

    Args:
        manifest: the bundle's.
        backend: by its own name, not `auto`.
        cpu_flags: `machine.cpu_flags()`.
        io: what images are at the boundary; None is float32.
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
    may compute more pixels than their lower price wins back. One for which no overlap holds runs
    images whole, whatever memory that takes: it is left out where fp32 cuts. Of two equal ones the
    later is taken.
    """

    def cost(precision: Precision) -> float:
        grid = grids[precision]
        rows, columns = grid.window
        return COST[precision] * grid.rows * grid.columns * rows * columns

    exact = grids.get("fp32")
    cut = exact is not None and exact.rows * exact.columns > 1
    fitting = [p for p, grid in grids.items() if not cut or grid.rows * grid.columns > 1]
    return min(reversed(fitting), key=cost)
