"""TensorRT or TensorRT-RTX as modules, and an engine in one of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from runtime.backends.cuda.device import Device
from runtime.backends.cuda.driver import driver_version
from runtime.backends.session import import_library
from runtime.backends.tensorrt_log import log_of
from runtime.bundle.engines.cache import read_own
from runtime.bundle.engines.entry import Library
from runtime.bundle.engines.fit import Machine
from runtime.errors import BackendError, GpuMemoryError, one_line
from runtime.system import atomic

if TYPE_CHECKING:
    import tensorrt_rtx_bindings.tensorrt_rtx as api  # TensorRT has the same

MODULES: dict[Library, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}

INSTALL: dict[Library, str] = {
    "tensorrt": "pip install tensorrt (from NVIDIA's index, https://pypi.nvidia.com)",
    "tensorrt-rtx": "pip install 'hcflow-deploy[tensorrt]'",
}
_INVALID = {
    "VERSION_MISMATCH": "another version of TensorRT-RTX made it",
    "UNSUPPORTED_CC": "it was not compiled for this GPU's compute capability",
    "OLD_CUDA_DRIVER": "the NVIDIA driver is too old for it: upgrade the driver, or",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old for it: upgrade TensorRT-RTX, or",
    "INSUFFICIENT_GPU_MEMORY": "the GPU has too little memory for it: with a smaller --max",
    "MALFORMED_ENGINE": "it is not an engine, or it is damaged",
    "CUDA_ERROR": "the CUDA driver or runtime does not work: see nvidia-smi, or",
}

_MOST_CACHE = 1 << 30  # bytes of the kernels that TensorRT-RTX keeps

_MOST_SHAPES = 1024  # that are remembered as having been run

T = TypeVar("T")

_logger = logging.getLogger(__name__)


def load_library(library: Library) -> Any:
    """The library's module.

    Raises:
        BackendError: not installed, or its own libraries do not load.
    """
    return import_library(MODULES[library], library, INSTALL[library])


def this_machine(library: Library, device: Device) -> Machine:
    """What an engine must fit on this machine; raises `BackendError` as `load_library`."""
    return Machine(library, version_of(load_library(library)), device.compute_capability)


def version_of(trt: Any) -> str:
    """The library's version as numbers and dots: `10.14.1.48` of `10.14.1.48.post1`."""
    found = re.match(r"\d+(\.\d+)*", str(trt.__version__))
    return found[0] if found else "0"


def start(make: Callable[[], T], library: Library, trt: Any, log: Any) -> T:
    """A runtime or builder of the library.

    Raises:
        BackendError: the library does not start; names its version and the driver's.
    """
    try:
        made: T = log.call(make)
    except TypeError as error:  # the bindings' word for a null pointer
        raise BackendError(
            f"{library} {trt.__version__} does not start with this NVIDIA driver, which supports "
            f"CUDA {driver_version() or 'no GPU'}: {log.reason()}; its packages for CUDA 13 need a "
            "driver for CUDA 13: upgrade the driver, or install the packages for its version"
        ) from error
    return made


class LoadedEngine:
    """An engine on a GPU: its inputs and outputs, and contexts to run it in.

    Attributes:
        inputs: dtypes by name, in the engine's order.
        outputs: likewise.
    """

    def __init__(
        self,
        trt: Any,
        library: Library,
        device: Device,
        data: bytes,
        where: str,
        remedy: str,
        *,
        host_code: bool = False,
    ) -> None:
        """`host_code`: the engine contains code for the host, as version-compatible ones do."""
        self.trt = trt
        self.device = device
        self._library = library
        self._log = log_of(trt)
        self._runtime_cache: Any = None
        self._runtime_cache_path: Path | None = None
        self._kept = b""
        self._have_run: dict[Any, None] = {}
        with device.current():
            self._runtime: api.Runtime = start(
                lambda: trt.Runtime(self._log), library, trt, self._log
            )
            if host_code:  # the caller has checked who owns the file
                self._runtime.engine_host_code_allowed = True
            self._refuse_invalid(data, where, remedy)
            self.engine = self.call(self._runtime.deserialize_cuda_engine, data)
        if self.engine is None:
            raise self.failure(f"engine '{where}' does not load", f"; {remedy}")
        self.inputs: dict[str, np.dtype[Any]] = {}
        self.outputs: dict[str, np.dtype[Any]] = {}
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            is_input = self.engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            dtype = np.dtype(trt.nptype(self.engine.get_tensor_dtype(name)))
            (self.inputs if is_input else self.outputs)[name] = dtype
        specialises = library == "tensorrt-rtx"
        self._configs = [self._runtime_config(eager) for eager in (False, True) if specialises]

    def call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """What a function of the library returns; `failure` then has the errors that it logged."""
        made: T = self._log.call(function, *arguments, **options)
        return made

    def failure(self, what: str, remedy: str = "") -> BackendError:
        """What the thread's last `call` did not do, with its reason, as an error of ours."""
        reason = self._log.reason()
        if re.search("out of ?memory|OutOfMemory|cudaErrorMemoryAllocation", reason, re.IGNORECASE):
            free, total = self.device.memory()
            return GpuMemoryError(
                f"out of GPU memory: {what} ({reason}), {free / 1e6:.0f} of {total / 1e6:.0f} MB "
                "are free: give smaller images or tiles, or end other programs on the GPU"
            )
        return BackendError(f"{what}: {reason}{remedy}")

    def context(self, *, eager: bool) -> api.IExecutionContext:
        """A new execution context whose scratch memory the caller provides.

        Args:
            eager: TensorRT-RTX compiles kernels for a shape before its first run, not beside it.

        Raises:
            GpuMemoryError, BackendError: the library makes none.
        """
        if self._configs:
            config = self._configs[eager]
            context = self.call(self.engine.create_execution_context, runtime_config=config)
        else:
            strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self.call(self.engine.create_execution_context, strategy)
        if context is None:
            raise self.failure("no execution context for the engine")
        return context

    def needs_scratch(self, profile: int) -> bool:
        """Whether runs of shapes in a profile need scratch memory."""
        return int(self.engine.get_device_memory_size_for_profile_v2(profile)) != 0

    def came_back(self, shapes: Any) -> bool:
        """Whether to compile for shapes before they run: they have run already, so that it pays.

        Kernels made for a shape may round otherwise than those for any, so this changes between
        images and never within one: of shapes that an image runs more than once `has_run` is told
        before its first run (`EngineSession.reserve`).
        A captured graph, too, needs the kernels to be there. TensorRT compiles nothing here.
        """
        return bool(self._configs) and shapes in self._have_run

    def has_run(self, shapes: Any) -> None:
        """Remember that these shapes have run, or that an image is about to run them often."""
        self._have_run.pop(shapes, None)
        while len(self._have_run) >= _MOST_SHAPES:
            self._have_run.pop(next(iter(self._have_run)), None)
        self._have_run[shapes] = None  # the last one

    def may_be_captured(self, context: api.IExecutionContext, stream: int) -> bool:
        """Whether a run may be captured; TensorRT cannot tell beforehand, so True."""
        return self._library == "tensorrt" or bool(context.is_stream_capturable(stream))

    def use_runtime_cache(self, path: Path) -> None:
        """Let TensorRT-RTX start with the kernels it made last time, and keep those it makes."""
        cache = self._configs[0].create_runtime_cache()
        try:
            kept = read_own(path, _MOST_CACHE)
            with self.device.current():
                if cache.deserialize(kept):
                    self._kept = kept
                else:  # of another driver or GPU, or cut short
                    _logger.info("'%s' does not fit: its kernels are made again", path)
        except FileNotFoundError:
            _logger.debug("no runtime cache at %s yet", path)
        except (BackendError, OSError) as error:
            _logger.info("'%s' is not used: %s", path, one_line(error))
        for config in self._configs:
            config.set_runtime_cache(cache)
        self._runtime_cache, self._runtime_cache_path = cache, path

    def save_runtime_cache(self) -> None:
        """Write the runtime cache back to its file, whole; a failure is only logged.

        Of several processes the last one wins: each file has the kernels of one of them, and what
        is missing is made again.
        """
        path = self._runtime_cache_path
        if path is None:
            return
        made = bytes(memoryview(self._runtime_cache.serialize()))
        if made == self._kept:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            atomic.write_cached(path, made)
        except OSError as error:
            _logger.warning("the runtime cache cannot be written: %s", error)
        self._kept = made

    def unload(self) -> None:
        """Give the engine's own memory back; its contexts are gone, and none is made any more."""
        with self.device.current():
            self._configs.clear()
            self._runtime_cache_path = self._runtime_cache = None
            del self.engine, self._runtime  # in this order

    def _runtime_config(self, eager: bool) -> Any:
        """Settings for TensorRT-RTX, which finishes compiling at run time."""
        trt = self.trt
        config = self.engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        strategies = trt.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = (
            strategies.EAGER if eager else strategies.LAZY
        )
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED  # graphs are captured here
        return config

    def _refuse_invalid(self, data: bytes, where: str, remedy: str) -> None:
        """Raise `BackendError` when TensorRT-RTX says that the engine cannot run here, and why."""
        if self._library == "tensorrt":
            return
        validity, diagnostics = self.call(self._runtime.get_engine_validity, data)
        if validity != self.trt.EngineValidity.INVALID:
            return
        kinds = self.trt.EngineInvalidityDiagnostics
        reasons = [
            text for name, text in _INVALID.items() if int(diagnostics) & int(getattr(kinds, name))
        ]
        reason = "; ".join(reasons) or self._log.reason()
        raise BackendError(f"engine '{where}' cannot run here: {reason}; {remedy}")


def profiler(trt: Any) -> tuple[dict[str, float], Any]:
    """Seconds by layer, and the `IProfiler` that adds to them."""
    times: dict[str, float] = {}

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            """One layer of one run."""
            times[layer_name] = times.get(layer_name, 0.0) + ms * 1e-3

    return times, Profiler()
