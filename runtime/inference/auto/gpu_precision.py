"""Precision `auto` on a GPU: fp16 within its budget, FP8 where the compiled program gains by it.

Nothing here depends on a measurement of time: none was made on a GPU. fp16 multiplies at no less
than fp32's rate on every GPU that has an engine, and moves half of the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from runtime.backends import ON_GPU, targets_of
from runtime.bundle.engines.entry import LIBRARIES, Engine
from runtime.bundle.graph_entry import Graph
from runtime.bundle.graph_kinds import preferred
from runtime.bundle.manifest import CONTRACT, Manifest, Precision
from runtime.bundle.reader import Bundle
from runtime.inference.auto.gpu_engines import engines_of

LEAST_FP8 = 0.85
"""Share of the convolutions' operations that an FP8 engine must have in FP8."""

MOST_BYTES = 0.9
"""An FP8 engine must move at most so much an operation of what the fp16 engine moves."""

Engines = Callable[[Graph], Sequence[Engine]]

_Kind = tuple[str, bool]  # direction, and whether a graph has latents


def choose(manifest: Manifest, backend: str, io: str | None, engines: Engines) -> Precision:
    """The precision in which a GPU backend runs a bundle, as C++ chooses it.

    fp16 where every fp32 graph has one in fp16 within its budget, of the backend's own; for
    TensorRT and TensorRT-RTX also an engine of it, unless there is none of that graph in any
    precision. FP8 likewise, where its engines are known to gain by it. INT8 moves no fewer bytes
    there than fp16, and is never chosen (docs/precision.md, 3).

    Args:
        manifest: the bundle's.
        backend: one of `runtime.backends.ON_GPU`.
        io: type of images at the graph's boundary; None is float32.
        engines: of a graph.
    """
    assert backend in ON_GPU
    exact, half, fp8 = (_within_budget(manifest, backend, io, p) for p in ("fp32", "fp16", "fp8"))
    if not exact or not exact.keys() <= half.keys():
        return "fp32"
    if backend not in LIBRARIES:
        return "fp16"
    compiled = [k for k in exact if any(engines(g[k]) for g in (exact, half, fp8) if k in g)]
    if not compiled:
        return "fp32"
    if exact.keys() <= fp8.keys() and all(
        _gains(engines(fp8[k]), engines(half[k])) for k in compiled
    ):
        return "fp8"
    return "fp16" if all(engines(half[k]) for k in compiled) else "fp32"


def choose_here(bundle: Bundle, backend: str, io: str | None, device: int | None) -> Precision:
    """`choose` by the engines that fit the GPU of that number; None is the first."""
    library = next((each for each in LIBRARIES if each == backend), None)
    engines = engines_of(library, bundle, device)[0] if library else _none
    return choose(bundle.manifest, backend, io, engines)


def to_compile(manifest: Manifest, backend: str, io: str | None) -> Precision:
    """The precision that `choose` takes once it is compiled, in whatever others there are engines.

    FP8 is never compiled for `auto`: only engines show whether it gains.

    Args:
        manifest: the bundle's.
        backend: `tensorrt` or `tensorrt-rtx`.
        io: as for `choose`.
    """
    exact, half = (_within_budget(manifest, backend, io, p) for p in ("fp32", "fp16"))
    return "fp16" if exact and exact.keys() <= half.keys() else "fp32"


def _none(_: Graph) -> Sequence[Engine]:
    return ()


def _within_budget(
    manifest: Manifest, backend: str, io: str | None, precision: Precision
) -> Mapping[_Kind, Graph]:
    """The graphs of a precision that the backend takes and that are within their budget."""
    known = (g for g in manifest.graphs if g.contract == CONTRACT)
    return {
        (graph.direction, graph.latents): graph
        for graph in preferred(known, targets_of(backend))
        if graph.precision == precision and graph.io == (io or "float32") and graph.within_budget
    }


def _gains(low: Sequence[Engine], half: Sequence[Engine]) -> bool:
    """Whether the programs of FP8 engines are known to be in FP8 and to move fewer bytes."""
    known = [moved for moved in map(_bytes_per_operation, half) if moved]
    if not low or not known:
        return False
    for engine in low:
        moved = _bytes_per_operation(engine)
        if moved is None or moved > MOST_BYTES * min(known) or _fp8_share(engine) < LEAST_FP8:
            return False
    return True


def _bytes_per_operation(engine: Engine) -> float | None:
    """Of activations, an operation of convolutions: engines' windows may differ in size."""
    program = engine.program
    if program is None or program.bytes is None or not program.operations:
        return None
    operations = sum(program.operations.values())
    return program.bytes / operations if operations else None


def _fp8_share(engine: Engine) -> float:
    """Of the convolutions' operations."""
    assert engine.program is not None
    operations = engine.program.operations or {}
    return operations.get("fp8", 0) / sum(operations.values())
