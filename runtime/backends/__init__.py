"""Backends: what runs a graph. One module each, imported only when a session is opened."""

from __future__ import annotations

import hashlib
import importlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from runtime.bundle.manifest import Numerics
from runtime.errors import BackendError, ParameterError

_logger = logging.getLogger(__name__)

Arrays = Mapping[str, Any]
"""Arrays by name: float32 NCHW, uint8 NHWC where the graph takes bytes; for a session that draws
latents also `latents.Region`."""

Shapes = Mapping[str, tuple[int, ...]]


class Session(Protocol):
    """One graph, loaded and ready; `run` may be called from many threads at once."""

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name, as the graph has them.

        Raises:
            BackendError: the backend failed.
        """


@runtime_checkable
class Expecting(Session, Protocol):
    """A session that runs inputs of one set of shapes faster when told of them beforehand."""

    def expect(self, shapes: Shapes) -> None:
        """Inputs of exactly these shapes will come often; to be called before the first `run`."""


@runtime_checkable
class Steady(Session, Protocol):
    """A session that takes fewer threads for small images, lest many change their bytes."""

    def threads_for(self, feeds: Arrays) -> int:
        """Threads that `run` takes for these inputs."""


@runtime_checkable
class Drawing(Session, Protocol):
    """A session that may take latents as regions and draw them where it computes."""

    @property
    def draws_latents(self) -> bool:
        """Whether it does, on this machine."""


Opener = Callable[[bytes, Numerics, int], Session]
"""(ONNX bytes, numerics the graph assumes, threads; 0: the backend's choice) → session."""

EngineOpener = Callable[[bytes, Numerics, int, Path | None], Session]
"""The same, and the bundle's folder."""

# Modules are named, not imported: each brings in its backend's library.
_OPENERS = {
    "onnxruntime": ("runtime.backends.onnxruntime", "open_cpu"),
    "onnxruntime-cuda": ("runtime.backends.onnxruntime", "open_cuda"),
    "onnxruntime-tensorrt": ("runtime.backends.onnxruntime", "open_tensorrt"),
    "openvino": ("runtime.backends.openvino", "open_cpu"),
    "auto": ("runtime.backends.auto", "open_best"),
}
# These also take the bundle's folder: their engines lie there, or in the user's cache.
_ENGINE_OPENERS = {
    "tensorrt": ("runtime.backends.tensorrt", "open_tensorrt"),
    "tensorrt-rtx": ("runtime.backends.tensorrt", "open_rtx"),
}
_PROBES = {
    "onnxruntime": ("runtime.backends.onnxruntime", "has_cpu"),
    "openvino": ("runtime.backends.openvino", "has_cpu"),
    "onnxruntime-cuda": ("runtime.backends.onnxruntime", "has_cuda"),
    "onnxruntime-tensorrt": ("runtime.backends.onnxruntime", "has_tensorrt"),
    "tensorrt": ("runtime.backends.tensorrt", "has_tensorrt"),
    "tensorrt-rtx": ("runtime.backends.tensorrt", "has_rtx"),
}

NAMES = (*_OPENERS, *_ENGINE_OPENERS)
"""Every backend name `runtime.load` takes."""


def open_session(
    backend: str, graph: bytes, numerics: Numerics, threads: int, where: Path | None = None
) -> Session:
    """Load a graph into a backend.

    Args:
        backend: one of `NAMES`.
        graph: ONNX bytes.
        numerics: what the graph assumes of the backend.
        threads: of the backend; 0 is its own choice.
        where: the bundle's folder, where its engines lie.

    Raises:
        ParameterError: no backend of that name.
        BackendError: it is not installed, or refuses the graph.
    """
    check_name(backend)
    if backend == "auto" and (session := _open_engine(graph, numerics, threads, where)):
        return session
    if backend in _ENGINE_OPENERS:
        module, function = _ENGINE_OPENERS[backend]
        open_engine: EngineOpener = getattr(importlib.import_module(module), function)
        return open_engine(graph, numerics, threads, where)
    module, function = _OPENERS[backend]
    opener: Opener = getattr(importlib.import_module(module), function)
    return opener(graph, numerics, threads)


def _open_engine(
    graph: bytes, numerics: Numerics, threads: int, where: Path | None
) -> Session | None:
    """For `auto`: a session on an engine of this graph; the log says why one there does not go."""
    from runtime.bundle import engine_cache  # noqa: PLC0415 - most machines have no engine

    libraries = engine_cache.libraries(hashlib.sha256(graph).hexdigest(), where)
    for name in (name for name in _ENGINE_OPENERS if name in libraries):
        try:
            return open_session(name, graph, numerics, threads, where)
        except BackendError as error:
            _logger.warning("%s; using another backend", error)
    return None


def available() -> list[str]:
    """The backends installed on this machine."""
    return [name for name in _PROBES if _is_installed(name)]


def check_name(backend: str) -> None:
    """Raise `ParameterError` unless there is a backend of that name."""
    if backend not in NAMES:
        raise ParameterError(f"unknown backend '{backend}': one of {', '.join(NAMES)}")


def _is_installed(backend: str) -> bool:
    module, function = _PROBES[backend]
    probe: Callable[[], bool] = getattr(importlib.import_module(module), function)
    try:
        return probe()
    except BackendError:  # not installed: what is asked here
        return False
