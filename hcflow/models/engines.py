"""Engines that fit this machine, made when they are missing: what `--compile` asks for."""

from __future__ import annotations

import logging
from typing import Literal

from runtime.backends import targets_of
from runtime.backends.cuda.device import Device, gpu_missing
from runtime.bundle.engines import cache, fit
from runtime.bundle.engines.entry import LIBRARIES
from runtime.bundle.engines.fit import Machine
from runtime.bundle.graph_kinds import preferred
from runtime.bundle.manifest import Graph, Precision
from runtime.bundle.reader import Bundle
from runtime.inference.auto import gpu_precision

_logger = logging.getLogger(__name__)


def ensure(
    bundle: Bundle,
    backend: str,
    precision: Precision | Literal["auto"],
    io: str | None = None,
    device: int | None = None,
) -> list[Graph]:
    """Compile the graphs of a precision that have no fitting engine, into the user's cache.

    Args:
        bundle: whose graphs.
        backend: `auto`, `tensorrt` or `tensorrt-rtx`; of others nothing is compiled.
        precision: of the graphs; `auto` is fp16 within its budget, else fp32, as `auto` then takes
            (`gpu_precision.to_compile`).
        io: type of images at the boundary of the graphs that decide `auto`; None is float32.
        device: number of the GPU, as CUDA counts; None is the first.

    Returns:
        The graphs that were compiled. Where no GPU answers none is, and the log says why.

    Raises:
        ExportError: no compiler is installed, or a graph cannot be compiled.
        BackendError, BundleError: an engine of the bundle, or a graph, cannot be read.
    """
    if backend not in ("auto", *LIBRARIES):
        return []
    ordinal = device or 0
    missing = gpu_missing(ordinal)
    if missing is not None:
        _logger.warning("no engine is compiled: %s", missing)
        return []
    from export.engine import compilers
    from export.engine.bundle_engines import compile_bundle
    from export.engine.options import EngineOptions
    from runtime.backends.tensorrt_engine import this_machine

    library = compilers.resolve(backend, ordinal)
    machine = this_machine(library, Device.open(ordinal))
    if precision == "auto":
        precision = gpu_precision.to_compile(bundle.manifest, library, io)
    found = preferred(bundle.manifest.graphs, targets_of(library))
    graphs = [graph for graph in found if graph.precision == precision]
    stale = [graph for graph in graphs if not _fits(bundle, graph, machine)]
    options = EngineOptions(library, compute_capabilities=_targets(machine), device=ordinal)
    for direction in dict.fromkeys(graph.direction for graph in stale):
        _logger.info("compiling the %s graph with %s", direction, library)
        compile_bundle(bundle, options, directions=(direction,), precisions=(precision,))
    return stale


def _targets(machine: Machine) -> tuple[str, ...]:
    """The GPU that answers: TensorRT-RTX has to be told, TensorRT compiles for no other."""
    return (machine.compute_capability,) if machine.library == "tensorrt-rtx" else ()


def _fits(bundle: Bundle, graph: Graph, machine: Machine) -> bool:
    found = cache.of_graph(graph.sha256, bundle.folder)
    return any(fit.misfit(engine, machine) is None for engine, _ in found)
