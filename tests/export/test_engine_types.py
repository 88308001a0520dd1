"""Our calls into TensorRT-RTX have names and types that the installed library has.

The stubs published for TensorRT 10.13 are not valid Python (some signatures do not parse) and do
not cover TensorRT-RTX, so mypy checks against stubs made from the installed module.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from export.engine.log import Record, logger

trt = pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")

ROOT = Path(__file__).parents[2]
CHECKED = (
    *("export.engine.compile", "export.engine.refit"),
    *("runtime.backends.tensorrt_stream", "runtime.backends.tensorrt_engine"),
)
CONVERTED = re.compile(r'"Dims"|expected "Buffer"|\[no-any-return\]')
"""pybind11 converts a tuple to `Dims` and memory to a buffer; its signatures do not say so."""


def stubs(folder: Path) -> Path:
    """Stubs of the installed library; signatures that are not valid Python take anything."""
    stubgen = [sys.executable, "-c", "from mypy.stubgen import main; main()"]
    command = [*stubgen, "--inspect-mode", "-o", str(folder), "-m"]
    module = "tensorrt_rtx_bindings.tensorrt_rtx"
    subprocess.run([*command, module], check=True, capture_output=True, cwd=folder)
    path = folder / "tensorrt_rtx_bindings" / "tensorrt_rtx.pyi"
    lines = path.read_text(encoding="utf-8").splitlines()
    while True:
        try:
            ast.parse("\n".join(lines))
            break
        except SyntaxError as error:
            bad = (error.lineno or 1) - 1
            found = re.match(r"(\s*)def (\w+)\(", lines[bad])
            assert found, lines[bad]
            lines[bad] = f"{found[1]}def {found[2]}(self, *args: object, **kwargs: object): ..."
    path.write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_calls_into_the_library_have_names_and_types_that_it_has(tmp_path: Path) -> None:
    seeded = tmp_path / "seeded.py"
    seeded.write_text(
        "import tensorrt_rtx_bindings.tensorrt_rtx as api\n"
        "def f(config: api.IBuilderConfig) -> None:\n"
        "    config.set_flagg(api.BuilderFlag.TF32)\n"
        "    config.builder_optimization_level = 'high'\n",
        encoding="utf-8",
    )
    modules = [part for name in (*CHECKED, "seeded") for part in ("-m", name)]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), *modules],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": f"{stubs(tmp_path)}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = run.stdout.splitlines()
    ours = [x for x in lines if re.match(r"(export|runtime)/.*: error:", x)]
    assert [x for x in ours if not CONVERTED.search(x)] == [], run.stdout
    found = [x for x in lines if "seeded.py" in x and ": error:" in x]
    assert len(found) == 2, run.stdout + run.stderr


def test_every_name_of_the_library_that_the_code_uses_is_in_the_real_one() -> None:
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
    modules = *(ROOT / "export/engine").glob("*.py"), *(ROOT / "runtime/backends").glob("tensorrt*")
    used = "".join(path.read_text(encoding="utf-8") for path in modules)
    types = set(re.findall(r"\btrt\.([A-Z]\w+)", used))
    assert {"Runtime", "Builder"} <= types <= names.keys(), types - names.keys()
    assert logger(trt, Record()) is not None
