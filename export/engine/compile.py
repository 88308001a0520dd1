"""ONNX graph → engine: one builder for TensorRT and TensorRT-RTX.

Both have one Python API. It is used directly and not through Polygraphy's loaders, which choose the
library once for a whole process by an environment variable, print a parser's errors instead of
returning them, and take no progress monitor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import onnx
import onnx.printer

from export.engine import compilers, layer_precision, plan
from export.engine.log import Progress, Record, monitor
from export.engine.options import EngineOptions
from export.engine.profile import best_shapes
from export.errors import ExportError
from runtime.backends import tensorrt_engine
from runtime.backends.tensorrt_log import log_of
from runtime.bundle.engines.entry import Profile, Range
from runtime.bundle.manifest import Precision
from runtime.system import atomic, background

if TYPE_CHECKING:
    import tensorrt_rtx_bindings.tensorrt_rtx as api  # TensorRT has the same

T = TypeVar("T")

_TICK_SECONDS = 0.1


@dataclass(frozen=True)
class Compiled:
    """An engine's bytes, what its compiler reported, and its kernels where they are known."""

    data: bytes
    record: Record
    seconds: float
    layers: Mapping[str, int] | None
    program: plan.Program | None


def compile_graph(
    graph: bytes,
    profiles: Sequence[Profile],
    precision: Precision,
    options: EngineOptions,
    progress: Progress = lambda _phase, _share: None,
) -> Compiled:
    """Compile one graph.

    Args:
        graph: ONNX bytes; their types are the precision (strong typing).
        profiles: accepted shapes of every input, the smallest first; a shape runs by the first
            that holds it.
        precision: what the graph was built as: what TensorRT must realise.
        options: what to compile for.
        progress: see `Progress`.

    Raises:
        BackendError: the library is missing.
        ExportError: it refuses the graph or the options, needs a GPU, runs out of memory, or does
            not realise the precision.
        FileError: the timing cache cannot be written.
    """
    compilers.check(options)
    trt = tensorrt_engine.load_library(options.library)
    record, cancelled = Record(), threading.Event()
    log, watch = log_of(trt), monitor(trt, progress, cancelled)

    def build() -> Any:
        with compilers.on_gpu(options.device), log.recording(record.add):
            return builder.build_serialized_network(network, config)

    with compilers.on_gpu(options.device), log.recording(record.add):
        builder: api.Builder = tensorrt_engine.start(
            lambda: trt.Builder(log), options.library, trt, log
        )
        network = builder.create_network(_strongly_typed(trt))
        _parse(trt, network, log, graph)
        config = builder.create_builder_config()
        config.progress_monitor = watch
        _configure(trt, config, options)
        for each in profiles:
            config.add_optimization_profile(_profile(builder, each))
        cache = _read_timing_cache(config, options.timing_cache)
    start = time.monotonic()
    built = _in_thread(build, cancelled)
    seconds = time.monotonic() - start
    if built is None:
        raise _failure(graph, record, profiles, precision, options)
    if options.timing_cache is not None and cache is not None:
        atomic.write(options.timing_cache, bytes(memoryview(cache.serialize())))
    data = bytes(memoryview(built))
    layers = None
    if options.library == "tensorrt":
        with compilers.on_gpu(options.device), log.recording(record.add):
            layers = layer_precision.realised(_inspect(trt, log, data))
        unknown = layer_precision.check(layers, graph, precision, strict=options.strict)
        if unknown is not None:
            record.warnings.append(unknown)
    shapes = best_shapes(onnx.load_from_string(graph), profiles[0])
    program = plan.read(data, options.library, tensorrt_engine.version_of(trt), shapes)
    return Compiled(data, record, seconds, layers, program)


def _strongly_typed(trt: Any) -> int:
    """Network flags: TensorRT 10 needs one for strong typing, 11 and RTX always have it."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parse(trt: Any, network: api.INetworkDefinition, log: Any, graph: bytes) -> None:
    parser: api.OnnxParser = trt.OnnxParser(network, log)
    if parser.parse(graph):
        return
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    if not errors:
        raise ExportError("the library's ONNX parser rejects the graph without a reason")
    error = errors[0]
    raise ExportError(_parser_message(error, graph))


def _parser_message(error: api.ParserError, graph: bytes) -> str:
    """One line: node, operator, the graph's own line, what is wrong, and what to do."""
    reason = " ".join(error.desc().split())
    kind = error.code().name
    if error.node() < 0:
        return f"the library's ONNX parser cannot read the graph ({reason}): build the bundle again"
    nodes = onnx.load_from_string(graph).graph.node
    line = " ".join(onnx.printer.to_text(nodes[error.node()]).split())
    what = {
        "UNSUPPORTED_NODE_DATATYPE": "this library version cannot compute it in that type: build "
        "the graph in another precision",
        "UNSUPPORTED_NODE_DYNAMIC": "it cannot have dynamic sizes there: give one size as --min, "
        "--opt and --max",
    }.get(
        kind,
        "the library does not know this operator or form: upgrade it, or build the bundle again "
        "with this hcflow-deploy",
    )
    return (
        f"node '{error.node_name()}' ({error.node_operator()}, number {error.node()}: {line}) is "
        f"refused by the library's ONNX parser: {kind}: {reason}; {what}"
    )


def _configure(trt: Any, config: api.IBuilderConfig, options: EngineOptions) -> None:
    flags = trt.BuilderFlag
    if options.tf32:
        config.set_flag(flags.TF32)
    else:
        config.clear_flag(flags.TF32)  # on by default
    if options.refittable:
        config.set_flag(flags.REFIT)
    if options.version_compatible:
        config.set_flag(flags.VERSION_COMPATIBLE)
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # layers by name and type
    if options.library == "tensorrt":
        # Activations shrink with the shapes, as the scratch memory that is given for them does.
        config.set_preview_feature(trt.PreviewFeature.RUNTIME_ACTIVATION_RESIZE_10_10, True)
        levels = trt.HardwareCompatibilityLevel
        config.hardware_compatibility_level = {
            "none": levels.NONE,
            "ampere+": levels.AMPERE_PLUS,
            "same-capability": levels.SAME_COMPUTE_CAPABILITY,
        }[options.hardware]
        return
    config.set_flag(flags.REQUIRE_USER_ALLOCATION)  # TensorRT-RTX captures no other engine
    targets = options.targets()
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(compilers.capability(trt, target), index)


def _profile(builder: api.Builder, profile: Profile) -> api.IOptimizationProfile:
    made = builder.create_optimization_profile()
    for name, shapes in profile.items():
        made.set_shape(name, shapes.smallest, shapes.best, shapes.largest)
    return made


def _read_timing_cache(config: api.IBuilderConfig, path: Path | None) -> Any:
    if path is None:
        return None
    try:
        known = path.read_bytes()
    except FileNotFoundError:
        known = b""
    cache = config.create_timing_cache(known)
    if not config.set_timing_cache(cache, False):
        raise ExportError(
            f"'{path}' is a timing cache of another TensorRT version or GPU: give a new file"
        )
    return cache


def _in_thread(work: Callable[[], T], cancelled: threading.Event) -> T:
    """The work's result; an interrupt stops the builder at its next step, and is raised here.

    The builder runs outside Python, where the main thread would not see a signal.
    """
    thread, result = background.start(work)
    try:
        while thread.is_alive():
            thread.join(_TICK_SECONDS)
    except BaseException:
        cancelled.set()
        raise
    return result()


def _failure(
    graph: bytes,
    record: Record,
    profiles: Sequence[Profile],
    precision: Precision,
    options: EngineOptions,
) -> ExportError:
    profile = profiles[-1]
    if options.workspace is not None and options.library == "tensorrt-rtx":
        # It reports a workspace that is too small in many ways; without a limit it has no such way.
        return ExportError(_what_would_fit(graph, profile, precision, options))
    if (asked := record.out_of_memory()) is not None:
        return ExportError(_out_of_memory(asked, profile, options))
    reason = record.errors[-1] if record.errors else "no reason given"
    if "cudaError 35" in reason or "driver version is insufficient" in reason:
        return ExportError(
            f"{options.library} needs a GPU for these options, and no driver responds: install "
            "one, or compile with --engine tensorrt-rtx and an explicit --compute-capability"
        )
    return ExportError(f"{options.library} could not compile the graph: {reason}")


def _out_of_memory(asked: int, profile: Profile, options: EngineOptions) -> str:
    need = f": {asked / 2**20:.0f} MiB could not be allocated" if asked else ""
    way_out = "give a smaller --max or --batch, or free memory on this machine"
    if options.workspace is not None:
        limit = max(2 * options.workspace, 2 * asked) >> 20
        way_out = f"give a smaller --max or --batch, or a larger --workspace, such as {limit}M"
    return f"out of memory while compiling for {_largest(profile)}{need}; {way_out}"


def _what_would_fit(
    graph: bytes, profile: Profile, precision: Precision, options: EngineOptions
) -> str:
    """Out of workspace: what the largest and the smallest shape need, measured without a limit.

    The compiler stops at its first vain request, which is far below what it would need in the end.
    """
    assert options.workspace is not None
    free = replace(options, workspace=None)
    small = {name: Range(r.smallest, r.smallest, r.smallest) for name, r in profile.items()}
    needs = [
        compile_graph(graph, (shapes,), precision, free).record.memory().scratch or 0
        for shapes in (profile, small)
    ]
    allowed = f"--workspace allows {options.workspace / 2**20:.1f} MiB"
    text = (
        f"out of memory while compiling for {_largest(profile)}: it needs "
        f"{needs[0] / 2**20:.1f} MiB of scratch, {allowed}; give --workspace "
        f"{-(-needs[0] >> 20)}M"
    )
    low, high = options.sizes.smallest, options.sizes.largest
    if low is None or high is None or needs[1] >= options.workspace:
        return text
    # Scratch grows with the pixels from what the smallest shape needs; a tenth is kept back.
    pixels = (low[0] * low[1], high[0] * high[1])
    room = (options.workspace - needs[1]) / max(1, needs[0] - needs[1])
    share = ((pixels[0] + 0.9 * room * (pixels[1] - pixels[0])) / pixels[1]) ** 0.5
    height, width = (max(a, int(b * share)) for a, b in zip(low, high, strict=True))
    return f"{text}, or --max {height}x{width}"


def _largest(profile: Profile) -> str:
    name, shapes = next(iter(profile.items()))
    return f"'{name}' of {'×'.join(map(str, shapes.largest))}"


def _inspect(trt: Any, log: Any, data: bytes) -> str:
    runtime: api.Runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = True  # of a version-compatible engine, made just now
    engine: api.ICudaEngine | None = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise ExportError("the engine that TensorRT built does not load here: report this")
    information = engine.create_engine_inspector().get_engine_information(
        trt.LayerInformationFormat.JSON
    )
    return str(information)
