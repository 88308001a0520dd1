"""Which engine fits which machine and shape, what options mean, what a report of layers says."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from export.engine import bundle_engines, compilers, layer_precision, nvidia_commands
from export.engine import compile as engine_compile
from export.engine.compile import Compiled
from export.engine.log import Record, logger, monitor
from export.engine.options import EngineOptions, parse_bytes
from export.engine.profile import Sizes, parse, profile
from export.errors import ExportError
from hcflow.cli.engine_options import EngineArguments
from runtime.bundle import engine_cache
from runtime.bundle.engine_entry import Engine, Machine, Memory, Range, choose, misfit, of_manifest
from runtime.bundle.json_reader import Field
from runtime.bundle.reader import Bundle
from runtime.errors import BackendError, BundleError, FileError
from tests.support.bundles import write_bundle
from tests.support.engine_graphs import onnx_bytes, ranges

RTX = Machine("tensorrt-rtx", "1.7.1.116", "8.9")
ENGINE = Engine(
    file="inverse.fp16.tensorrt-rtx.abc.engine",
    sha256="1" * 64,
    bytes=3,
    graph="2" * 64,
    direction="inverse",
    precision="fp16",
    latents=False,
    library="tensorrt-rtx",
    version="1.7.1.116",
    compute_capabilities=("8.6", "8.9", "12.0"),
    profiles=({"lr": Range((1, 3, 8, 8), (1, 3, 16, 16), (2, 3, 32, 32))},),
    tf32=False,
    version_compatible=False,
    hardware="none",
    refittable=False,
    optimization_level=None,
    build_seconds=1.5,
    memory=Memory(1, 2, 3),
    layers={"fp16": 4},
)


def test_a_sidecar_read_again_is_the_same() -> None:
    assert Engine.from_field(Field(ENGINE.to_mapping(), "x")) == ENGINE
    assert Engine.from_json(json.dumps(ENGINE.to_mapping()), "x") == ENGINE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file", "../../etc/passwd"),
        ("sha256", "1"),
        ("bytes", 0),
        ("library", "onnx"),
        ("version", "latest"),
        ("version", 5000 * "1"),
        ("compute_capabilities", ["sm89"]),
        ("profiles", [{"lr": {"smallest": [0], "best": [1], "largest": [1]}}]),
        ("memory", {"scratch": -1}),
        ("layers", {"fp16": -1}),
    ],
)
def test_a_sidecar_with_a_value_that_makes_no_sense_is_refused(key: str, value: object) -> None:
    with pytest.raises(BundleError, match=rf"\$\.{key}"):
        Engine.from_field(Field(ENGINE.to_mapping() | {key: value}, "the sidecar"))


@pytest.mark.parametrize(
    ("engine", "machine", "reason"),
    [
        (ENGINE, RTX, None),
        (ENGINE, replace(RTX, compute_capability="12.1"), None),  # newer of the same major
        (ENGINE, replace(RTX, compute_capability="8.7"), "8.6, 8.9, 12.0, this GPU has 8.7"),
        (ENGINE, replace(RTX, version="1.7.2"), "1.7.1.116, not 1.7.2"),
        (ENGINE, replace(RTX, library="tensorrt"), "a TensorRT-RTX engine, not TensorRT"),
        (
            replace(ENGINE, library="tensorrt", version_compatible=True, version="11.0"),
            Machine("tensorrt", "11.1", "8.9"),
            None,
        ),
        (
            replace(ENGINE, library="tensorrt", version_compatible=True, version="10.14.1.48"),
            Machine("tensorrt", "10.14.1", "8.9"),
            None,
        ),
        (
            replace(ENGINE, library="tensorrt", version_compatible=True, version="11.1"),
            Machine("tensorrt", "11.0", "8.9"),
            "11.1, not 11.0",
        ),
        (
            replace(ENGINE, library="tensorrt", version="11.1", hardware="ampere+"),
            Machine("tensorrt", "11.1", "9.0"),
            None,
        ),
        (
            replace(ENGINE, library="tensorrt", version="11.1"),
            Machine("tensorrt", "11.1", "9.0"),
            "this GPU has 9.0",
        ),
    ],
)
def test_an_engine_fits_its_version_and_gpus_alone(
    engine: Engine, machine: Machine, reason: str | None
) -> None:
    found = misfit(engine, machine)
    assert found is None if reason is None else reason in str(found)


def test_choosing_takes_the_first_that_fits_and_else_says_why_and_what_to_run() -> None:
    old = replace(ENGINE, version="1.6")
    assert choose([old, ENGINE], ENGINE.graph, RTX, "b") == ENGINE
    wanted = "1.6, not 1.7.1.116; compile one: hcflow compile 'b'"
    with pytest.raises(BackendError, match=re.escape(wanted)):
        choose([old], ENGINE.graph, RTX, "b")
    with pytest.raises(BackendError, match="no TensorRT-RTX engine of this graph"):
        choose([ENGINE], "3" * 64, RTX, "b")


def test_a_profile_holds_what_lies_between_its_ends() -> None:
    assert ENGINE.holds({"lr": (2, 3, 8, 32)}) == 0
    assert ENGINE.holds({"lr": (3, 3, 8, 8)}) is None
    assert ENGINE.holds({"lr": (1, 3, 8)}) is None
    assert ENGINE.holds({"hr": (1, 3, 8, 8)}) is None


def test_shapes_follow_from_lr_sizes_by_the_names_of_the_dimensions() -> None:
    inverse = ranges(onnx_bytes("sr_x8", "inverse", "fp32"))
    assert inverse["lr"] == Range((1, 3, 8, 8), (1, 3, 16, 16), (1, 3, 32, 32))
    assert inverse["z1"].best == (1, 6, 64, 64)
    forward = ranges(onnx_bytes("sr_x8", "forward", "fp32"), Sizes((1, 2), (3, 4), (5, 6), 7))
    assert forward["hr"] == Range((1, 3, 8, 16), (7, 3, 24, 32), (7, 3, 40, 48))


def test_sizes_left_out_follow_the_tile_or_the_sizes_given(tmp_path: Path) -> None:
    graph = Bundle.open(write_bundle(tmp_path / "b")).manifest.graphs[0]
    tiled = replace(graph, tile=96, overlap=16)
    assert Sizes().for_graph(tiled) == Sizes((8, 8), (128, 128), (128, 128))
    assert Sizes().for_graph(graph) == Sizes((8, 8), (64, 64), (256, 256))
    assert Sizes(largest=(4, 300)).for_graph(graph) == Sizes((4, 8), (4, 64), (4, 300))
    assert Sizes(smallest=(300, 300)).for_graph(graph).largest == (300, 300)
    large = Sizes(smallest=(300, 300)).for_graph(tiled)  # beyond the tile's window
    assert (large.best, large.largest) == ((300, 300), (300, 300))


def test_sizes_out_of_order_are_refused_without_a_graph() -> None:
    with pytest.raises(ExportError, match="--min 9x9, --max 8x16 are not in order"):
        Sizes(smallest=(9, 9), largest=(8, 16))
    with pytest.raises(ExportError, match="not in order"):
        Sizes(best=(300, 300), largest=(128, 128))


def test_what_is_no_size_is_refused() -> None:
    assert parse("--max", "128x96") == (128, 96)
    for text in ("128", "0x5", "ax5", "-1x5", "12x"):
        with pytest.raises(ExportError, match="--max"):
            parse("--max", text)
    assert parse_bytes("--workspace", "1.5G") == 3 << 29
    for text in ("much", "0", "-1M"):
        with pytest.raises(ExportError, match="--workspace"):
            parse_bytes("--workspace", text)


def test_a_tensor_beyond_the_librarys_limit_is_refused_before_compiling() -> None:
    import onnx  # noqa: PLC0415

    model = onnx.load_from_string(onnx_bytes("rescale_x4", "inverse", "fp32"))
    with pytest.raises(ExportError, match="2³¹ − 1"):
        profile(model, Sizes((8, 8), (8, 8), (40000, 40000)))


@pytest.mark.parametrize(
    ("library", "changes", "text"),
    [
        ("tensorrt", {"compute_capabilities": ("8.9",)}, "for the GPU it runs on"),
        ("tensorrt-rtx", {"timing_cache": Path("x")}, "--timing-cache is for TensorRT"),
        ("tensorrt-rtx", {"version_compatible": True}, "--version-compatible is for TensorRT"),
        ("tensorrt-rtx", {"hardware": "ampere+"}, "list the GPUs"),
        ("tensorrt-rtx", {"compute_capabilities": ("sm89",)}, "such as 8.9"),
    ],
)
def test_what_a_library_cannot_do_is_said_with_what_it_can(
    library: str, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(ExportError, match=text):
        EngineOptions(library, **changes)  # type: ignore[arg-type]


def test_tensorrt_without_a_gpu_names_the_compiler_that_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_compile.compilers, "load", lambda library: None)
    data = onnx_bytes("rescale_x4", "inverse", "fp32")
    with pytest.raises(ExportError, match=r"needs a GPU.*--engine tensorrt-rtx"):
        engine_compile.compile_graph(data, ranges(data), "fp32", EngineOptions("tensorrt"))


def test_what_cannot_be_compiled_here_is_said_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = type("ComputeCapability", (), {"SM80": 80, "SM89": 89, "SM120": 120})
    library = type("Module", (), {"__version__": "1.7", "ComputeCapability": known})
    monkeypatch.setattr(compilers, "load", lambda _: library)
    compilers.check(EngineOptions("tensorrt-rtx", compute_capabilities=("8.9", "12.0")))
    with pytest.raises(
        ExportError, match=r"8\.8: TensorRT-RTX 1\.7 compiles for 8\.0, 8\.9, 12\.0"
    ):
        compilers.check(EngineOptions("tensorrt-rtx", compute_capabilities=("8.0", "8.8")))
    with pytest.raises(ExportError, match="needs a GPU"):
        compilers.check(EngineOptions("tensorrt-rtx", refittable=True))
    monkeypatch.setattr("runtime.backends.cuda_device.gpu_missing", lambda: None)
    missing = tmp_path / "nowhere" / "timings"
    with pytest.raises(FileError, match="does not exist"):
        compilers.check(EngineOptions("tensorrt", timing_cache=missing))


def test_a_library_that_is_not_there_says_what_to_install() -> None:
    with pytest.raises(ExportError, match=r"tensorrt cannot be imported .*: pip install"):
        engine_compile.compilers.load("tensorrt")


def conv(tactic: str = "", form: str = "") -> dict[str, object]:
    inputs = [{"Name": "x", "Format/Datatype": form}]
    return {"Name": "c", "LayerType": "CaskConvolution", "TacticName": tactic, "Inputs": inputs}


REPORT = {
    "Layers": [
        conv("sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize64x64"),
        conv("sm86_xmma_fprop_implicit_gemm_i8i8_i8i32_f32_nchw_vect_c_32"),
        conv("ampere_scudnn_128x64_relu_small_nn_v1", "Row major linear FP32"),
        conv("", "Channel major FP16 format where channel % 8 == 0"),
        {"Name": "copy", "LayerType": "Reformat", "TacticName": "", "Inputs": []},
    ]
}


def test_the_inspectors_report_tells_what_every_convolution_runs_in() -> None:
    assert layer_precision.realised(json.dumps(REPORT)) == {"fp16": 2, "int8": 1, "fp32": 1}
    with pytest.raises(ExportError, match="layer names only"):
        layer_precision.realised(json.dumps({"Layers": ["conv1", "conv2"]}))
    with pytest.raises(ExportError, match="cannot be read"):
        layer_precision.realised("not json")


def convolutions(half: int = 0, int8: int = 0, single: int = 0) -> bytes:
    """A graph of so many convolutions with weights of each type."""
    from onnx import TensorProto, helper  # noqa: PLC0415

    kinds = (("f16", TensorProto.FLOAT16), ("i8", TensorProto.INT8), ("f32", TensorProto.FLOAT))
    weights = [helper.make_tensor(name, kind, [1, 1, 1, 1], [1]) for name, kind in kinds]
    nodes = [helper.make_node("DequantizeLinear", ["i8", "scale", "zero"], ["dequantised"])]
    for name, count in (("f16", half), ("dequantised", int8), ("f32", single)):
        nodes += [helper.make_node("Conv", ["x", name], [f"{name}/{i}"]) for i in range(count)]
    graph = helper.make_graph(nodes, "convolutions", [], [], weights)
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


def test_a_precision_that_was_not_realised_fails_the_build() -> None:
    layer_precision.check({"fp32": 50}, convolutions(single=50), "fp32")
    half = convolutions(half=100)
    layer_precision.check({"fp16": 90, "fp32": 10}, half, "fp16")
    for layers in ({"fp32": 50}, {"tf32": 50}, {"fp16": 80, "fp32": 20}, {}):
        with pytest.raises(ExportError, match=r"fp16 was requested and not used.* 100 conv"):
            layer_precision.check(layers, half, "fp16")
    with pytest.raises(ExportError, match="int8 was requested and not used"):
        layer_precision.check({"fp16": 50}, convolutions(int8=50), "int8")


def test_convolutions_that_a_graph_keeps_in_float_count_for_nothing() -> None:
    deep = convolutions(half=90, single=60)
    layer_precision.check({"fp16": 90, "fp32": 60}, deep, "fp16")
    mixed = convolutions(half=20, int8=90, single=60)
    layer_precision.check({"int8": 90, "fp16": 20, "fp32": 60}, mixed, "int8")
    with pytest.raises(ExportError, match=r"has 90 convolutions in it, the engine 105 in fp16"):
        layer_precision.check({"int8": 5, "fp16": 105, "fp32": 0}, mixed, "int8")
    with pytest.raises(ExportError, match="has 0 convolutions in it"):
        layer_precision.check({"fp32": 50}, convolutions(single=50), "fp16")


def test_progress_of_nested_phases_is_one_share_that_never_falls() -> None:
    trt = type("Trt", (), {"IProgressMonitor": type("Base", (), {"__init__": lambda self: None})})
    seen: list[float] = []
    cancelled = threading.Event()
    watch = monitor(trt, lambda _phase, share: seen.append(share), cancelled)
    watch.phase_start("build", None, 2)
    watch.phase_start("optimise", "build", 4)
    assert watch.step_complete("optimise", 1)
    watch.phase_finish("optimise")
    watch.step_complete("build", 0)
    watch.phase_start("late", "build", 10)
    assert seen == [0, 0, 0.25, 0.5, 0.5]
    cancelled.set()
    assert not watch.step_complete("late", 0)


def test_the_log_gives_memory_and_tells_out_of_memory_from_other_errors() -> None:
    record = Record()
    record.add("INFO", "Max Scratch Memory: 100 bytes")
    record.add("INFO", "Max Scratch Memory: 300 bytes")
    record.add("INFO", "Total Weights Memory: 7 bytes")
    record.add("INFO", "Total Activation Memory: 9 bytes")
    assert record.memory() == Memory(300, 7, 9)
    assert record.out_of_memory() is None
    record.add("ERROR", "Error Code 10: Could not find any implementation for node conv1")
    assert record.out_of_memory() is None  # an operator without a kernel is something else
    record.add("WARNING", "Skipping tactic 0x1 due to insufficient memory on requested size of 512")
    assert record.out_of_memory() == 512


def test_the_commands_of_nvidias_tools_say_the_same() -> None:
    shapes = {"lr": Range((1, 3, 8, 8), (1, 3, 16, 16), (2, 3, 32, 32))}
    options = EngineOptions("tensorrt", workspace=1 << 30, refittable=True)
    line = nvidia_commands.trtexec("a b.onnx", "e", shapes, options)
    assert line.startswith("trtexec '--onnx=a b.onnx' --saveEngine=e --stronglyTyped")
    assert "--noTF32" in line
    assert "--maxShapes=lr:2x3x32x32" in line
    assert "--memPoolSize=workspace:1024M" in line
    rtx = EngineOptions("tensorrt-rtx", compute_capabilities=("8.9", "12.0"))
    assert "--computeCapabilities=89,120" in nvidia_commands.trtexec("a", "e", shapes, rtx)
    assert nvidia_commands.polygraphy("a", "e", shapes, rtx).startswith(
        "POLYGRAPHY_USE_TENSORRT_RTX=1 polygraphy convert a --convert-to trt -o e"
    )


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A compiler that makes something at once, and the graphs it was given."""
    calls: list[str] = []

    def fake(data: bytes, shapes: object, precision: str, *_: object) -> Compiled:
        calls.append(hashlib.sha256(data).hexdigest())
        return Compiled(b"engine of " + data[:8], Record(), 0.1, None)

    library = type("Module", (), {"__version__": "1.7.1.116"})
    monkeypatch.setattr(bundle_engines, "compile_graph", fake)
    monkeypatch.setattr(bundle_engines, "profile", lambda *_: dict(ENGINE.profiles[0]))
    monkeypatch.setattr(bundle_engines.engine_library, "load", lambda _: library)
    return calls


OPTIONS = EngineOptions("tensorrt-rtx")


def test_engines_for_oneself_go_to_the_cache_and_are_found_there_the_next_time(
    compiler: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    bundle = Bundle.open(write_bundle(tmp_path / "b"))
    first = bundle_engines.compile_bundle(bundle, OPTIONS)
    assert [made.cached for made in first] == [False, False]
    again = bundle_engines.compile_bundle(bundle, OPTIONS)
    assert [made.cached for made in again] == [True, True]
    assert len(compiler) == 2
    assert all(made.path.parent == tmp_path / "cache" / "engines" for made in again)
    bundle_engines.compile_bundle(bundle, replace(OPTIONS, tf32=True))  # asks for something else
    assert len(compiler) == 4
    first[0].path.write_bytes(b"damaged")
    bundle_engines.compile_bundle(bundle, OPTIONS, directions=("inverse",))
    assert len(compiler) == 5
    assert engine_cache.find(bundle.manifest.graphs[0].sha256)


def test_engines_asked_for_by_a_build_lie_in_the_bundle_and_replace_older_ones(
    compiler: list[str], tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path / "b")
    bundle_engines.compile_bundle(Bundle.open(folder), OPTIONS, into_bundle=True)
    manifest = Bundle.open(folder).manifest
    listed = of_manifest(manifest, "b")
    assert {e.direction for e in listed} == {"inverse", "forward"}
    assert all((folder / e.file).read_bytes().startswith(b"engine of") for e in listed)
    bundle_engines.compile_bundle(Bundle.open(folder), OPTIONS, into_bundle=True)
    assert of_manifest(Bundle.open(folder).manifest, "b") == listed
    assert len(list(folder.glob("*.engine"))) == 2


def test_again_compiles_again_for_the_bundle_too(
    compiler: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    bundle = Bundle.open(write_bundle(tmp_path / "b"))
    bundle_engines.compile_bundle(bundle, OPTIONS)
    bundle_engines.compile_bundle(bundle, OPTIONS, into_bundle=True)
    assert len(compiler) == 2
    bundle_engines.compile_bundle(bundle, OPTIONS, into_bundle=True, again=True)
    assert len(compiler) == 4


def test_an_engine_of_a_graph_that_a_build_replaced_meanwhile_is_left_out(
    compiler: list[str], tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path / "b")
    bundle = Bundle.open(folder)
    kept, gone = bundle.manifest.graphs
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(gone.sha256, "0" * 64))
    bundle_engines.compile_bundle(bundle, OPTIONS, into_bundle=True)
    assert [e.graph for e in of_manifest(Bundle.open(folder).manifest, "b")] == [kept.sha256]


def test_a_compilation_that_dies_leaves_the_bundle_as_it_was(
    compiler: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bundle(tmp_path / "b")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    right = bundle_engines.atomic.write

    def full(path: Path, data: bytes) -> None:
        if path.name == "manifest.json":
            raise OSError(28, "No space left on device")
        right(path, data)

    monkeypatch.setattr(bundle_engines.atomic, "write", full)
    with pytest.raises(OSError, match="No space"):
        bundle_engines.compile_bundle(Bundle.open(folder), OPTIONS, into_bundle=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_bundle_without_such_a_graph_says_so(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "b", directions=["inverse"]))
    with pytest.raises(ExportError, match="no forward graph"):
        bundle_engines.compile_bundle(bundle, OPTIONS, directions=("forward",))


def test_auto_takes_the_compiler_that_works_here() -> None:
    pytest.importorskip("tensorrt_rtx")
    gathered = EngineArguments().resolve("auto")
    assert gathered.library == "tensorrt-rtx"


def test_every_name_of_the_library_that_the_code_uses_is_in_the_real_one() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    names = {
        "ILogger": ["INTERNAL_ERROR", "ERROR", "WARNING", "VERBOSE", "log"],
        "IProgressMonitor": ["phase_start", "step_complete", "phase_finish"],
        "IProfiler": ["report_layer_time"],
        "Builder": [
            *("create_network", "create_builder_config", "create_optimization_profile"),
            "build_serialized_network",
        ],
        "OnnxParser": ["parse", "num_errors", "get_error"],
        "ParserError": ["code", "desc", "node", "node_name", "node_operator"],
        "IBuilderConfig": [
            *("progress_monitor", "set_flag", "clear_flag", "set_memory_pool_limit"),
            *("builder_optimization_level", "profiling_verbosity", "num_compute_capabilities"),
            *("hardware_compatibility_level", "set_compute_capability", "add_optimization_profile"),
            *("create_timing_cache", "set_timing_cache"),
        ],
        "ITimingCache": ["serialize"],
        "IOptimizationProfile": ["set_shape"],
        "NetworkDefinitionCreationFlag": ["STRONGLY_TYPED"],
        "BuilderFlag": ["TF32", "REFIT", "VERSION_COMPATIBLE"],
        "MemoryPoolType": ["WORKSPACE"],
        "ProfilingVerbosity": ["DETAILED"],
        "HardwareCompatibilityLevel": ["NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"],
        "ComputeCapability": ["SM75", "SM80", "SM86", "SM89", "SM120"],
        "ErrorCode": ["UNSUPPORTED_NODE_DATATYPE", "UNSUPPORTED_NODE_DYNAMIC"],
        "LayerInformationFormat": ["JSON"],
        "EngineInspector": ["get_engine_information"],
        "Runtime": [
            *("deserialize_cuda_engine", "get_engine_validity", "engine_host_code_allowed"),
        ],
        "ICudaEngine": [
            *("num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype"),
            *("create_execution_context", "create_runtime_config", "create_engine_inspector"),
            *("create_serialization_config", "serialize_with_config"),
        ],
        "IRuntimeConfig": [
            *("create_runtime_cache", "set_runtime_cache", "cuda_graph_strategy"),
            "set_execution_context_allocation_strategy",
            "dynamic_shapes_kernel_specialization_strategy",
        ],
        "IRuntimeCache": ["deserialize", "serialize"],
        "IExecutionContext": [
            *("active_optimization_profile", "set_optimization_profile_async", "set_input_shape"),
            *("get_tensor_shape", "update_device_memory_size_for_shapes", "set_device_memory"),
            *("set_tensor_address", "execute_async_v3", "is_stream_capturable", "profiler"),
        ],
        "ExecutionContextAllocationStrategy": ["USER_MANAGED"],
        "DynamicShapesKernelSpecializationStrategy": ["EAGER"],
        "CudaGraphStrategy": ["DISABLED"],
        "EngineValidity": ["INVALID"],
        "EngineInvalidityDiagnostics": [
            *("VERSION_MISMATCH", "UNSUPPORTED_CC", "OLD_CUDA_DRIVER", "OLD_CUDA_RUNTIME"),
            *("INSUFFICIENT_GPU_MEMORY", "MALFORMED_ENGINE", "CUDA_ERROR"),
        ],
        "TensorIOMode": ["INPUT"],
        "Refitter": ["get_missing_weights", "refit_cuda_engine"],
        "OnnxParserRefitter": ["refit_from_bytes", "num_errors", "get_error"],
        "SerializationFlag": ["INCLUDE_REFIT"],
        "ISerializationConfig": ["set_flag"],
    }
    missing = [
        f"{k}.{n}"
        for k, members in names.items()
        for n in members
        if not hasattr(getattr(trt, k), n)
    ]
    assert not missing
    assert callable(trt.nptype)
    root = Path(__file__).parents[2]
    used = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("export", "runtime/backends")
        for path in (root / folder).glob("*.py")
        if "engine_" in path.name or "tensorrt" in path.name
    )
    types = set(re.findall(r"\btrt\.([A-Z]\w+)", used))
    assert types <= names.keys() | {"Runtime"}, types - names.keys()
    assert logger(trt, Record()) is not None
