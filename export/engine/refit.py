"""New weights of the same architecture → into an existing engine, without compiling again.

Nodes and initialisers carry stable names, so that two graphs of one architecture differ in the
values of their floating-point initialisers and in nothing else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto

from export.engine.bundle_engines import Made, add_to_bundle, asked_for
from export.errors import ExportError
from export.forms.rewrite import FORMS, rewrite
from runtime.backends.cuda.device import Device
from runtime.backends.tensorrt_engine import load_library, this_machine
from runtime.backends.tensorrt_log import log_of
from runtime.bundle.engines import cache, fit
from runtime.bundle.engines.entry import Engine, Library
from runtime.bundle.engines.fit import Machine
from runtime.bundle.manifest import Direction, Graph, Precision
from runtime.bundle.reader import Bundle
from runtime.errors import BackendError

if TYPE_CHECKING:
    import tensorrt_rtx_bindings.tensorrt_rtx as api  # TensorRT has the same

_WEIGHTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8)


def refit_bundle(
    bundle: Bundle,
    source: Bundle,
    library: Library,
    *,
    directions: Sequence[Direction] = ("inverse", "forward"),
    precisions: Sequence[Precision] | None = None,
    into_bundle: bool = False,
    device: int = 0,
) -> list[Made]:
    """Make engines of a bundle's graphs out of those of another bundle of the same architecture.

    Args:
        bundle: whose weights.
        source: whose engines; they were compiled with `--refit`, and stay as they are.
        library: of the engines.
        directions: which graphs.
        precisions: which of their precisions; None means all.
        into_bundle: keep the engines in the bundle instead of the user's cache.
        device: number of the GPU to refit on, as CUDA counts.

    Raises:
        ExportError: no GPU, no such graph, no refittable engine, or another architecture.
        BackendError: an engine does not fit this machine, or is damaged.
        BundleError: a graph is damaged.
    """
    graphs = asked_for(bundle, directions, precisions, library)
    if not graphs:
        raise ExportError(
            f"bundle '{bundle.manifest.name}' has none of these graphs: see hcflow info"
        )
    try:
        gpu = Device.open(device)
    except BackendError as error:
        raise ExportError(
            f"--refit-from needs a GPU: {error}. Without one compile the graphs again: "
            f"{fit.command(library, str(bundle.folder))}"
        ) from error
    trt = load_library(library)
    machine = this_machine(library, gpu)
    built = []
    for graph in graphs:
        kind = (graph.direction, graph.precision, graph.latents, graph.io)
        before = source.graph(*kind, targets=(graph.target,))
        data = bundle.read_graph(graph)
        check_same(source.read_graph(before), data, graph.title)
        old, path = _refittable(source, before, machine)
        start = time.monotonic()
        with gpu.current():
            made = refit(trt, cache.read(old, path), _in_form(data, old, path), str(path))
        engine = _entry(old, graph, made, time.monotonic() - start)
        built.append((Made(engine, Path(), ()), made))
    if into_bundle:
        return add_to_bundle(bundle, built)
    return [replace(made, path=cache.write(made.engine, data)) for made, data in built]


def refit(trt: Any, engine: bytes, graph: bytes, where: str) -> bytes:
    """An engine with the weights of a graph; it can be refitted again.

    Raises:
        ExportError: the library does not load the engine, or refuses the weights.
    """
    log = log_of(trt)
    runtime: api.Runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = True  # of a version-compatible engine; its owner was checked
    loaded: api.ICudaEngine | None = log.call(runtime.deserialize_cuda_engine, engine)
    if loaded is None:
        raise ExportError(f"engine '{where}' does not load: {log.reason()}; compile it again")
    refitter: api.Refitter = trt.Refitter(loaded, log)
    parser: api.OnnxParserRefitter = trt.OnnxParserRefitter(refitter, log)
    if not log.call(parser.refit_from_bytes, graph):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        reason = " ".join(errors[0].split()) if errors else log.reason()
        raise ExportError(
            f"engine '{where}' does not take the weights of the graph: {reason}; compile it again"
        )
    if missing := refitter.get_missing_weights():
        raise ExportError(
            f"engine '{where}' needs weights that the graph does not have, such as "
            f"{missing[0]}: compile it again"
        )
    if not log.call(refitter.refit_cuda_engine):
        raise ExportError(f"engine '{where}' was not refitted: {log.reason()}; compile it again")
    config = loaded.create_serialization_config()
    config.set_flag(trt.SerializationFlag.INCLUDE_REFIT)
    return bytes(memoryview(loaded.serialize_with_config(config)))


def check_same(before: bytes, after: bytes, title: str) -> None:
    """Raise `ExportError`, naming the first difference, unless only weights differ."""
    old, new = onnx.load_from_string(before).graph, onnx.load_from_string(after).graph
    for first, second in zip(_facts(old), _facts(new), strict=False):
        if first != second:
            raise ExportError(
                f"{title}: '{second[0]}' is {second[1]}, and {first[1]} in the engine's own graph: "
                "another architecture; compile it"
            )
    if len(old.node) != len(new.node) or len(old.initializer) != len(new.initializer):
        raise ExportError(
            f"{title}: {len(new.node)} nodes, and {len(old.node)} in the engine's own graph: "
            "another architecture; compile it"
        )


def _facts(graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    """(name, what it is) of everything that has to be equal."""
    for node in graph.node:
        yield node.name, " ".join(onnx.printer.to_text(node).split())
    for tensor in sorted(graph.initializer, key=lambda tensor: tensor.name):
        kind = TensorProto.DataType.Name(tensor.data_type)
        shape = f"{kind.lower()} {list(tensor.dims)}"
        if tensor.data_type not in _WEIGHTS:  # sizes and axes are part of the architecture
            shape += f" {onnx.numpy_helper.to_array(tensor).tolist()}"
        yield tensor.name, shape


def _refittable(source: Bundle, graph: Graph, machine: Machine) -> tuple[Engine, Path]:
    place = str(source.folder)
    found = cache.of_graph(graph.sha256, source.folder)
    able = [(engine, path) for engine, path in found if engine.refittable]
    if not able:
        raise ExportError(
            f"bundle '{source.manifest.name}' has no refittable engine of its {graph.direction} "
            f"{graph.precision} graph: make one with "
            f"{fit.command(machine.library, place)} --refit"
        )
    return fit.fitting(able, machine, place)[0]


def _entry(old: Engine, graph: Graph, data: bytes, seconds: float) -> Engine:
    digest = hashlib.sha256(data).hexdigest()
    return replace(
        old,
        file=f"{graph.sha256[:12]}.{old.library}-{old.version}.{digest[:12]}.engine",
        sha256=digest,
        bytes=len(data),
        graph=graph.sha256,
        build_seconds=round(seconds, 3),
    )


def _in_form(graph: bytes, engine: Engine, path: Path) -> bytes:
    """The graph in the engine's form, whose weights have other shapes than the bundle's."""
    if engine.form not in FORMS:
        raise ExportError(
            f"engine '{path}' has dense blocks in a form that this hcflow-deploy does not know, "
            f"'{engine.form}': compile it again"
        )
    made: bytes = rewrite(onnx.load_from_string(graph), engine.form).SerializeToString()
    return made
