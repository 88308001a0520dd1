"""TensorRT or TensorRT-RTX as modules, and an engine in one of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from runtime.backends.cuda_device import Device, driver_version
from runtime.backends.session import import_library
from runtime.bundle.engine_entry import Library, Machine
from runtime.errors import BackendError
from runtime.system import atomic, regular_file

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
        return make()
    except TypeError as error:  # the bindings' word for a null pointer
        reason = log.errors[-1] if log.errors else "it does not say why"
        raise BackendError(
            f"{library} {trt.__version__} does not start with this NVIDIA driver, which supports "
            f"CUDA {driver_version() or 'no GPU'}: {reason}; its packages for CUDA 13 need a "
            "driver for CUDA 13: upgrade the driver, or install the packages for its version"
        ) from error


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
        self._log = _log(trt)
        self._runtime_cache: Any = None
        self._runtime_cache_path: Path | None = None
        device.use()
        self._runtime: api.Runtime = start(lambda: trt.Runtime(self._log), library, trt, self._log)
        if host_code:  # the caller has checked who owns the file
            self._runtime.engine_host_code_allowed = True
        self._refuse_invalid(data, where, remedy)
        self.engine = self._runtime.deserialize_cuda_engine(data)
        if self.engine is None:
            raise BackendError(f"engine '{where}' does not load: {self.last_error()}; {remedy}")
        self.inputs: dict[str, np.dtype[Any]] = {}
        self.outputs: dict[str, np.dtype[Any]] = {}
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            is_input = self.engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            dtype = np.dtype(trt.nptype(self.engine.get_tensor_dtype(name)))
            (self.inputs if is_input else self.outputs)[name] = dtype
        self._config = self._runtime_config()

    def last_error(self) -> str:
        """The last error in the library's log."""
        return self._log.errors[-1] if self._log.errors else "the library does not say why"

    def context(self) -> api.IExecutionContext:
        """A new execution context whose scratch memory the caller provides.

        Raises:
            BackendError: the library makes none.
        """
        self.device.use()
        if self._config is not None:
            context = self.engine.create_execution_context(runtime_config=self._config)
        else:
            strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self.engine.create_execution_context(strategy)
        if context is None:
            raise BackendError(f"no execution context for the engine: {self.last_error()}")
        return context

    def may_be_captured(self, context: api.IExecutionContext, stream: int) -> bool:
        """Whether a run may be captured; TensorRT cannot tell beforehand, so True."""
        return self._library == "tensorrt" or bool(context.is_stream_capturable(stream))

    def use_runtime_cache(self, path: Path) -> None:
        """Let TensorRT-RTX start with the kernels it made last time, and keep those it makes."""
        cache = self._config.create_runtime_cache()
        try:
            kept = regular_file.read(path, _MOST_CACHE, links=False, private=True)
            cache.deserialize(kept)  # TensorRT-RTX ignores one that does not fit
        except FileNotFoundError:
            _logger.debug("no runtime cache at %s yet", path)
        except OSError as error:
            _logger.info("'%s' is not used: %s", path, error.strerror)
        self._config.set_runtime_cache(cache)
        self._runtime_cache, self._runtime_cache_path = cache, path

    def save_runtime_cache(self) -> None:
        """Write the runtime cache back to its file; a failure is only logged."""
        path = self._runtime_cache_path
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            atomic.write_cached(path, bytes(memoryview(self._runtime_cache.serialize())))
        except OSError as error:
            _logger.warning("the runtime cache cannot be written: %s", error)

    def _runtime_config(self) -> Any:
        """Settings for TensorRT-RTX, which finishes compiling at run time; None for TensorRT."""
        if self._library == "tensorrt":
            return None
        trt = self.trt
        config = self.engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        # Compile for a shape before it runs: a captured graph would keep the fallback kernels.
        strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = strategy
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED  # graphs are captured here
        return config

    def _refuse_invalid(self, data: bytes, where: str, remedy: str) -> None:
        """Raise `BackendError` when TensorRT-RTX says that the engine cannot run here, and why."""
        if self._library == "tensorrt":
            return
        validity, diagnostics = self._runtime.get_engine_validity(data)
        if validity != self.trt.EngineValidity.INVALID:
            return
        kinds = self.trt.EngineInvalidityDiagnostics
        reasons = [
            text for name, text in _INVALID.items() if int(diagnostics) & int(getattr(kinds, name))
        ]
        raise BackendError(
            f"engine '{where}' cannot run here: {'; '.join(reasons) or self.last_error()}; {remedy}"
        )


def _log(trt: Any) -> Any:
    """The library's log: errors are kept for our messages, warnings go to Python's log."""

    class Log(trt.ILogger):  # type: ignore[misc]  # the base class is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """One line of the library's log."""
            line = " ".join(message.split())
            if severity <= trt.ILogger.ERROR:
                self.errors.append(line)
                del self.errors[:-20]
            elif severity == trt.ILogger.WARNING:
                _logger.warning("%s", line)

    return Log()


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
