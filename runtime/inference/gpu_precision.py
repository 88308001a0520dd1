"""Precision `auto` on a GPU: fp16 within its budget, FP8 where the compiled program gains by it.

Nothing here depends on a measurement of time: none was made on a GPU. fp16 multiplies at no less
than fp32's rate on every GPU that has an engine, and moves half of the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from runtime.backends import ON_GPU, targets_of
from runtime.bundle import engine_cache
from runtime.bundle.engine_entry import LIBRARIES, Engine
from runtime.bundle.graph_entry import Graph
from runtime.bundle.graph_kinds import preferred
from runtime.bundle.manifest import Manifest, Precision
from runtime.errors import BackendError

LEAST_FP8 = 0.85
"""Share of the convolutions' operations that an FP8 engine must have in FP8."""

MOST_BYTES = 0.9
"""An FP8 engine must move at most so much of what the fp16 engine moves."""

Engines = Callable[[Graph], Sequence[Engine]]


def engines_of(backend: str, folder: Path) -> Engines:
    """The engines of a bundle's graphs that a backend could run; none where they cannot be read."""

    def find(graph: Graph) -> list[Engine]:
        try:
            found = engine_cache.of_graph(graph.sha256, folder)
        except BackendError:  # told when an engine is opened
            return []
        return [engine for engine, _ in found if engine.library == backend]

    return find


def choose(manifest: Manifest, backend: str, io: str | None, engines: Engines) -> Precision:
    """The precision in which a GPU backend runs a bundle.

    Every fp32 graph must have one in that precision within its budget, of the backend's own; for
    TensorRT and TensorRT-RTX also an engine. INT8 moves no fewer bytes there than fp16, and is
    never chosen (docs/precision.md, 3).

    Args:
        manifest: the bundle's.
        backend: one of `runtime.backends.ON_GPU`.
        io: type of images at the graph's boundary; None is float32.
        engines: of a graph.
    """
    assert backend in ON_GPU
    graphs = preferred(manifest.graphs, targets_of(backend))
    by_precision: dict[Precision, dict[tuple[str, bool], Graph]] = {}
    for graph in graphs:
        if graph.io == (io or "float32") and graph.within_budget:
            kinds = by_precision.setdefault(graph.precision, {})
            kinds[graph.direction, graph.latents] = graph
    wanted = by_precision.get("fp32", {}).keys()
    half, fp8 = by_precision.get("fp16", {}), by_precision.get("fp8", {})
    if not wanted or not wanted <= half.keys():
        return "fp32"
    if backend not in LIBRARIES:
        return "fp16"
    if wanted <= fp8.keys() and all(_gains(engines(fp8[k]), engines(half[k])) for k in wanted):
        return "fp8"
    return "fp16" if all(engines(half[kind]) for kind in wanted) else "fp32"


def _gains(low: Sequence[Engine], half: Sequence[Engine]) -> bool:
    """Whether the programs of FP8 engines are known to be in FP8 and to move fewer bytes."""
    moved = [each.program.bytes for each in half if each.program and each.program.bytes]
    if not low or not moved:
        return False
    for engine in low:
        program = engine.program
        if program is None or program.bytes is None or program.operations is None:
            return False
        in_fp8 = program.operations.get("fp8", 0)
        if in_fp8 < LEAST_FP8 * sum(program.operations.values()):
            return False
        if program.bytes > MOST_BYTES * min(moved):
            return False
    return True
