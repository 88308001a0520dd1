"""Stands in for `tensorrt` and `tensorrt_rtx` on the simulated driver: strict, and really computes.

An engine is the ONNX graph itself, run by ONNX Runtime when the stream comes to it. What the real
library leaves undefined fails here: an address not set, a shape outside the profile, scratch memory
missing or too small.
"""

from __future__ import annotations

import ctypes
import enum
import json
import sys
import types
from typing import Any

import numpy as np
import onnx
import onnxruntime

MAGIC = b"SIMULATED-ENGINE\n"
KERNELS, CUT_SHORT = b"KERNELS:", b"..."
"""What a runtime cache begins with, and how one ends that lacks its end."""
SCRATCH_PER_PIXEL = 64

RTX_ALONE: dict[str, tuple[str, ...]] = {
    "IExecutionContext": ("is_stream_capturable",),
    "IRuntimeConfig": (
        "create_runtime_cache",
        "cuda_graph_strategy",
        "dynamic_shapes_kernel_specialization_strategy",
        "set_runtime_cache",
    ),
    "Runtime": ("get_engine_validity",),
    "CudaGraphStrategy": (),
    "DynamicShapesKernelSpecializationStrategy": (),
    "EngineInvalidityDiagnostics": (),
    "EngineValidity": (),
    "IRuntimeCache": (),
}
"""What TensorRT-RTX has and TensorRT has not: of a class some members, or the class itself."""

KERNEL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class Range(ctypes.Structure):
    _fields_ = (("at", ctypes.c_size_t), ("size", ctypes.c_size_t), ("write", ctypes.c_int))


def engine_bytes(
    graph: bytes,
    profiles: list[dict[str, Any]],
    capability: str = "8.9",
    refittable: bool = False,
    host_code: bool = False,
) -> bytes:
    """What a compiler would have made of a graph; profiles as (smallest, best, largest) shapes."""
    facts = {"profiles": profiles, "size": len(graph), "capability": capability}
    head = json.dumps(facts | {"refittable": refittable, "host_code": host_code})
    return MAGIC + head.encode() + b"\n" + graph


def make(name: str, version: str, driver: ctypes.CDLL) -> types.ModuleType:
    """A module of that name with as much of the API as the runtime uses."""
    module = types.ModuleType(name)
    module.__version__ = version  # type: ignore[attr-defined]
    alive: list[Any] = []  # callbacks that captured graphs may still call

    def capturing(stream: int) -> bool:
        status = ctypes.c_int()
        driver.cuStreamIsCapturing(ctypes.c_void_p(stream), ctypes.byref(status))
        return bool(status.value)

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def __init__(self) -> None: ...

    registered: list[Any] = []  # the log that the library keeps: the first one

    def register(log: Any, made_by: str) -> None:
        registered.append(log)
        if log is not registered[0]:
            log.log(ILogger.WARNING, f"The logger passed into {made_by} differs from one already")

    class IProfiler:
        def __init__(self) -> None: ...

    class TensorIOMode(enum.Enum):
        INPUT = 1
        OUTPUT = 2

    class Strategy(enum.Enum):
        STATIC = 0
        USER_MANAGED = 2

    class Specialization(enum.Enum):
        LAZY = 0
        EAGER = 1

    class Graphs(enum.Enum):
        DISABLED = 0
        WHOLE_GRAPH_CAPTURE = 1

    class Validity(enum.Enum):
        VALID = 0
        INVALID = 2

    class Invalidity(enum.IntFlag):
        VERSION_MISMATCH = 1
        UNSUPPORTED_CC = 2
        OLD_CUDA_DRIVER = 4
        OLD_CUDA_RUNTIME = 8
        INSUFFICIENT_GPU_MEMORY = 16
        MALFORMED_ENGINE = 32
        CUDA_ERROR = 64

    class Cache:
        def __init__(self) -> None:
            self.kernels = KERNELS

        def deserialize(self, blob: bytes) -> bool:
            driver.sim_needs_context(b"a runtime cache is read")
            if not bytes(blob).startswith(KERNELS) or bytes(blob).endswith(CUT_SHORT):
                return False  # the cache stays as it was
            self.kernels = bytes(blob)
            return True

        def _compile(self, what: str) -> None:
            if what.encode() not in self.kernels.split(b";"):
                self.kernels += what.encode() + b";"

        def serialize(self) -> bytes:
            return self.kernels

    class RuntimeConfig:
        dynamic_shapes_kernel_specialization_strategy = Specialization.LAZY
        cuda_graph_strategy = Graphs.DISABLED
        _strategy = Strategy.STATIC
        _cache: Cache | None = None

        def create_runtime_cache(self) -> Cache:
            return Cache()

        def set_runtime_cache(self, cache: Cache) -> None:
            self._cache = cache

        def set_execution_context_allocation_strategy(self, strategy: Strategy) -> None:
            self._strategy = strategy

    class Context:
        def __init__(self, engine: Engine, strategy: Strategy, config: Any) -> None:
            assert strategy is Strategy.USER_MANAGED
            driver.sim_needs_context(b"an execution context is made")
            self.engine = engine
            chosen = config and config.dynamic_shapes_kernel_specialization_strategy
            self.specialised = chosen.name if config else "ahead of time"
            self._cache = config and config._cache
            self._unprepared = True
            self.profiler: Any = None
            self.active_optimization_profile = 0
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}
            self._scratch = (0, 0)

        def set_optimization_profile_async(self, index: int, stream: int) -> bool:
            self.active_optimization_profile = index
            self._unprepared = True
            self._shapes.clear()
            return True

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            low, _, high = self.engine._profiles[self.active_optimization_profile][name]
            fits = len(shape) == len(low) and all(
                a <= b <= c for a, b, c in zip(low, shape, high, strict=True)
            )
            if fits:
                self._unprepared = True
                self._shapes[name] = tuple(shape)
            else:
                self.engine._complain(f"{name} {shape} is outside the profile")
            return fits

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            assert set(self._shapes) == set(self.engine._inputs), "not every input shape is set"
            return self.engine._infer(self._shapes)[name]

        def update_device_memory_size_for_shapes(self) -> int:
            assert set(self._shapes) == set(self.engine._inputs), "not every input shape is set"
            if self.engine.no_scratch:
                self.engine._complain("an allocation failed")
                return 0
            return SCRATCH_PER_PIXEL * sum(int(np.prod(s)) for s in self._shapes.values())

        def set_device_memory(self, pointer: int, size: int) -> None:
            assert size >= self.update_device_memory_size_for_shapes(), "too little scratch memory"
            self._unprepared = True
            self._scratch = (pointer, self.update_device_memory_size_for_shapes())

        def set_tensor_address(self, name: str, pointer: int) -> bool:
            assert name in (*self.engine._inputs, *self.engine._outputs), name
            assert pointer % 256 == 0, f"the address of '{name}' is no multiple of 256"
            self._addresses[name] = pointer
            return True

        def is_stream_capturable(self, stream: int) -> bool:
            return True

        def execute_async_v3(self, stream: int) -> bool:
            if capturing(stream):
                if self._unprepared:  # the library would wait and allocate here
                    driver.sim_complain(b"an engine that has work left to prepare is captured")
                if self._unprepared or self.engine.breaks_captures:
                    driver.sim_break_capture(ctypes.c_void_p(stream))
                    self.engine._complain("the stream is capturing")
                    return False
            self._unprepared = False
            if self._cache is not None:
                self._cache._compile(f"{self.specialised} {sorted(self._shapes.items())}")
            shapes = dict(self._shapes)
            assert set(shapes) == set(self.engine._inputs), "not every input shape is set"
            for tensor in (*self.engine._inputs, *self.engine._outputs):
                assert self._addresses.get(tensor), f"the address of '{tensor}' is not set"
            assert self._scratch[0], "no scratch memory is set"
            addresses = dict(self._addresses)
            shapes |= self.engine._infer(shapes)
            dtypes = self.engine._dtypes
            ranges = [(*self._scratch, 1)] + [
                (
                    addresses[name],
                    dtypes[name].itemsize * int(np.prod(shapes[name])),
                    int(name in self.engine._outputs),
                )
                for name in shapes
            ]

            def kernel(_: Any) -> int:
                def at(name: str) -> Any:
                    each = np.ctypeslib.as_ctypes_type(dtypes[name])
                    kind = each * int(np.prod(shapes[name]))
                    array = np.ctypeslib.as_array(kind.from_address(addresses[name]))
                    return array.reshape(shapes[name])

                feeds = {name: at(name).copy() for name in self.engine._inputs}
                results = self.engine._session.run(list(self.engine._outputs), feeds)
                for output, value in zip(self.engine._outputs, results, strict=True):
                    at(output)[...] = value
                if self.profiler is not None:
                    self.profiler.report_layer_time("the whole graph", 0.5)
                return 0

            callback = KERNEL(kernel)
            alive.append(callback)
            array = (Range * len(ranges))(*(Range(*each) for each in ranges))
            driver.sim_kernel(ctypes.c_void_p(stream), callback, None, len(ranges), array)
            return True

    class Engine:
        def __init__(self, head: dict[str, Any], graph: bytes, log: Any) -> None:
            self._profiles = head["profiles"]
            self.refittable = head["refittable"]
            self._capability = head["capability"]
            self._graph = graph
            self._log = log
            self._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
            self._inputs = [x.name for x in self._session.get_inputs()]
            self._outputs = [x.name for x in self._session.get_outputs()]
            self._dtypes = {
                x.name: np.dtype({"tensor(float)": "f4", "tensor(uint8)": "u1"}[x.type])
                for x in (*self._session.get_inputs(), *self._session.get_outputs())
            }
            self.num_io_tensors = len(self._inputs) + len(self._outputs)
            self.breaks_captures = self.exhausted = self.no_scratch = False
            self._inferred: dict[Any, dict[str, tuple[int, ...]]] = {}

        def _complain(self, message: str) -> None:
            self._log.log(ILogger.ERROR, message)

        def _infer(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
            key = tuple(sorted(shapes.items()))
            if key not in self._inferred:
                feeds = {name: np.zeros(s, self._dtypes[name]) for name, s in shapes.items()}
                values = self._session.run(self._outputs, feeds)
                self._inferred[key] = {
                    n: v.shape for n, v in zip(self._outputs, values, strict=True)
                }
            return self._inferred[key]

        def get_tensor_name(self, index: int) -> str:
            return [*self._inputs, *self._outputs][index]

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> str:
            return self._dtypes[name].name

        def get_device_memory_size_for_profile_v2(self, index: int) -> int:
            return SCRATCH_PER_PIXEL  # at least

        def create_serialization_config(self) -> SerializationConfig:
            return SerializationConfig()

        def serialize_with_config(self, config: SerializationConfig) -> bytes:
            again = Serialization.INCLUDE_REFIT in config.flags
            return engine_bytes(self._graph, self._profiles, self._capability, again)

        def create_runtime_config(self) -> RuntimeConfig:
            return RuntimeConfig()

        def create_execution_context(
            self, strategy: Any = Strategy.STATIC, runtime_config: Any = None
        ) -> Context | None:
            if self.exhausted:
                self._complain("Error Code 2: OutOfMemory (Requested size was 1048576 bytes.)")
                return None
            chosen = runtime_config._strategy if runtime_config else strategy
            return Context(self, chosen, runtime_config)

    class Serialization(enum.Enum):
        INCLUDE_REFIT = 2

    class SerializationConfig:
        def __init__(self) -> None:
            self.flags: set[Serialization] = set()

        def set_flag(self, flag: Serialization) -> None:
            self.flags.add(flag)

    class Refitter:
        def __init__(self, engine: Engine, log: Any) -> None:
            register(log, "createInferRefitter")
            self.engine = engine
            self.model = onnx.load_from_string(engine._graph)
            self.missing = [tensor.name for tensor in self.model.graph.initializer]

        def set_named_weights(self, tensor: onnx.TensorProto) -> bool:
            for own in self.model.graph.initializer:
                if own.name == tensor.name and own.dims == tensor.dims:
                    own.CopyFrom(tensor)
                    self.missing.remove(tensor.name)
                    return self.engine.refittable
            return False

        def get_missing_weights(self) -> list[str]:
            return self.missing

        def refit_cuda_engine(self) -> bool:
            assert not self.missing, "refitted with weights missing"
            self.engine._graph = self.model.SerializeToString()
            return True

    class OnnxParserRefitter:
        num_errors = 0

        def __init__(self, refitter: Refitter, log: Any) -> None:
            self.refitter = refitter

        def refit_from_bytes(self, graph: bytes) -> bool:
            tensors = onnx.load_from_string(graph).graph.initializer
            return all(map(self.refitter.set_named_weights, tensors))

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, log: Any) -> None:
            register(log, "createInferRuntime")
            self.log = log

        def get_engine_validity(self, data: bytes) -> tuple[Validity, int]:
            if not data.startswith(MAGIC):
                return Validity.INVALID, int(Invalidity.MALFORMED_ENGINE)
            head = json.loads(data[len(MAGIC) :].split(b"\n", 1)[0])
            if head["capability"] != "8.9":
                return Validity.INVALID, int(Invalidity.UNSUPPORTED_CC)
            return Validity.VALID, 0

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            if not data.startswith(MAGIC):
                self.log.log(ILogger.ERROR, "magic tag does not match")
                return None
            head, graph = data[len(MAGIC) :].split(b"\n", 1)
            facts = json.loads(head)
            if len(graph) != facts["size"]:
                self.log.log(ILogger.ERROR, "the plan is truncated")
                return None
            if facts["host_code"] and not self.engine_host_code_allowed:
                self.log.log(ILogger.ERROR, "host code is not allowed")
                return None
            return Engine(facts, graph, self.log)

    for key, value in {
        "ICudaEngine": Engine,
        "IExecutionContext": Context,
        "IRuntimeCache": Cache,
        "IRuntimeConfig": RuntimeConfig,
        "ISerializationConfig": SerializationConfig,
        "ILogger": ILogger,
        "IProfiler": IProfiler,
        "TensorIOMode": TensorIOMode,
        "ExecutionContextAllocationStrategy": Strategy,
        "DynamicShapesKernelSpecializationStrategy": Specialization,
        "CudaGraphStrategy": Graphs,
        "EngineValidity": Validity,
        "EngineInvalidityDiagnostics": Invalidity,
        "Runtime": Runtime,
        "Refitter": Refitter,
        "OnnxParserRefitter": OnnxParserRefitter,
        "SerializationFlag": Serialization,
        "nptype": np.dtype,
    }.items():
        setattr(module, key, value)
    module._registered = registered  # type: ignore[attr-defined]
    if name == "tensorrt":
        for key, members in RTX_ALONE.items():
            for member in members:
                delattr(getattr(module, key), member)
            if not members:
                delattr(module, key)
    sys.modules[name] = module
    return module
