"""Precision `auto` on a processor: the one that it runs fastest within the budgets."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from runtime.bundle.manifest import Manifest, Precision
from runtime.inference.grid import Grid

INT8_COST: tuple[tuple[frozenset[str], float], ...] = (
    (frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}), 0.42),
    (frozenset({"avx512f"}), 0.90),
    (frozenset({"avx2"}), 0.65),
)
"""Time of a pixel in INT8 / in fp32 in OpenVINO, by Linux's names of instructions: of the first row
that the processor has one of. The first row is dot products of bytes. The figures are the largest
measured (docs/speed.md); a processor that is in no row has not been measured."""

MOST_COST = 0.8
"""INT8 costs some quality: it is taken only where a pixel takes at most so much of fp32's time."""


def int8_cost(cpu_flags: Collection[str]) -> float | None:
    """Time of a pixel in INT8 / in fp32 on a processor; None where it has not been measured."""
    return next((cost for flags, cost in INT8_COST if not flags.isdisjoint(cpu_flags)), None)


def prefers_int8(backend: str, cpu_flags: Collection[str]) -> bool:
    """Whether a backend (by its own name, not `auto`) runs INT8 faster than fp32 here."""
    cost = int8_cost(cpu_flags)
    return backend == "openvino" and cost is not None and cost <= MOST_COST


def precisions(
    manifest: Manifest, backend: str, cpu_flags: Collection[str], io: str | None = None
) -> tuple[Precision, ...]:
    """The precisions that `auto` may choose on a backend, the cheapest pixel first.

    INT8 and fp32 on OpenVINO, where INT8 was measured to be faster on such a processor and every
    fp32 graph has an INT8 one within its budget; else fp32 alone. On a CPU, ONNX Runtime takes
    longer for INT8 than for fp32 (docs/precision.md), and fp16 graphs are computed in float32.
    `gpu_precision` chooses for GPUs.

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


def cheapest(grids: Mapping[Precision, Grid], int8_cost: float) -> Precision:
    """The precision that computes an image in the least time: pixels of all windows × their cost.

    An INT8 graph may need larger overlaps, and smaller tiles for the same memory, so on many tiles
    it may compute more pixels than their lower cost saves. One without a certified overlap runs
    images whole, whatever memory that takes: it is left out where fp32 tiles the image. Of two
    equal costs the later precision is chosen.

    Args:
        grids: of the image, by precision.
        int8_cost: time of a pixel in INT8 / in any other precision.
    """

    def cost(precision: Precision) -> float:
        grid = grids[precision]
        rows, columns = grid.window
        pixel = int8_cost if precision == "int8" else 1.0
        return pixel * grid.rows * grid.columns * rows * columns

    exact = grids.get("fp32")
    cut = exact is not None and exact.rows * exact.columns > 1
    fitting = [p for p, grid in grids.items() if not cut or grid.rows * grid.columns > 1]
    return min(reversed(fitting), key=cost)
