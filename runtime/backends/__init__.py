"""Backends: what runs a graph. One module each, imported only when a session is opened."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.backends import auto
from runtime.backends.session import Session
from runtime.bundle.graph_entry import Graph, Numerics
from runtime.bundle.reader import Bundle
from runtime.errors import BackendError
from runtime.system.arguments import one_of

# Module, function that opens a session, function that tells whether the backend is installed.
# Modules are named, not imported: each brings in its backend's library.
_BACKENDS = {
    "onnxruntime": ("onnxruntime", "open_cpu", "has_cpu"),
    "openvino": ("openvino", "open_cpu", "has_cpu"),
    "onnxruntime-cuda": ("onnxruntime", "open_cuda", "has_cuda"),
    "onnxruntime-tensorrt": ("onnxruntime", "open_tensorrt", "has_tensorrt"),
    "tensorrt": ("tensorrt", "open_tensorrt", "has_tensorrt"),
    "tensorrt-rtx": ("tensorrt", "open_rtx", "has_rtx"),
}

NAMES = (*_BACKENDS, "auto")
"""Every backend name `runtime.load` takes."""


def open_session(
    backend: str, graph: bytes, numerics: Numerics, threads: int, folder: Path | None = None
) -> Session:
    """Load a graph into a backend.

    Args:
        backend: one of `NAMES`.
        graph: ONNX bytes.
        numerics: what the graph assumes of the backend.
        threads: of the backend; 0 is its own choice.
        folder: the bundle's, where its engines lie.

    Raises:
        ParameterError: no backend of that name.
        BackendError: it is not installed, or refuses the graph.
    """
    return _open(backend, graph, numerics, threads, folder)[1]


def open_graph(backend: str, bundle: Bundle, graph: Graph, threads: int | None) -> Session:
    """Load a graph of a bundle into a backend; None threads is the backend's own choice.

    Raises:
        BundleError: the graph's file is missing or damaged.
        ParameterError, BackendError: as `open_session`.
    """
    return open_named(backend, bundle, graph, threads)[1]


def open_named(
    backend: str, bundle: Bundle, graph: Graph, threads: int | None
) -> tuple[str, Session]:
    """As `open_graph`, with the backend's own name: for `auto` the one that it took."""
    data = bundle.read_graph(graph)
    return _open(backend, data, graph.numerics, threads or 0, bundle.folder)


def _open(
    backend: str, graph: bytes, numerics: Numerics, threads: int, folder: Path | None
) -> tuple[str, Session]:
    check_name(backend)

    def open_on(name: str) -> Session:
        module, function, _ = _BACKENDS[name]
        opener: Callable[[bytes, Numerics, int, Path | None], Session] = _load(module, function)
        return opener(graph, numerics, threads, folder)

    if backend == "auto":
        return auto.open_fastest(graph, folder, open_on)
    return backend, open_on(backend)


def available() -> list[str]:
    """The backends installed on this machine."""
    return [name for name in _BACKENDS if _is_installed(name)]


def check_name(backend: str) -> None:
    """Raise `ParameterError` unless there is a backend of that name."""
    one_of("backend", backend, NAMES)


def _is_installed(backend: str) -> bool:
    module, _, function = _BACKENDS[backend]
    probe: Callable[[], bool] = _load(module, function)
    try:
        return probe()
    except BackendError:  # its library is not installed
        return False


def _load(module: str, function: str) -> Any:
    return getattr(importlib.import_module(f"runtime.backends.{module}"), function)
