"""Backends: what runs a graph. One module each, imported only when a session is opened."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runtime.backends import auto
from runtime.backends.session import Session
from runtime.bundle.graph_entry import Graph, Numerics, Target
from runtime.bundle.reader import Bundle
from runtime.errors import BackendError, ParameterError
from runtime.system.arguments import one_of, whole

_logger = logging.getLogger(__name__)

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

ON_GPU = ("onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt", "tensorrt-rtx")
"""Those that run on an NVIDIA GPU; `auto` may take one of them."""

MOST_GPUS = 1024
"""Most that a GPU's number is taken for."""


_TARGETS: Mapping[str, tuple[Target | None, ...]] = {
    "tensorrt-rtx": ("rtx", None),
    "tensorrt": (None, "rtx"),
}


def targets_of(backend: str) -> tuple[Target | None, ...]:
    """What the graphs that a backend takes may be made for, the best first; None is any machine."""
    return _TARGETS.get(backend, (None,))


def open_session(
    backend: str,
    graph: bytes,
    numerics: Numerics,
    threads: int,
    folder: Path | None = None,
    device: int | None = None,
) -> Session:
    """Load a graph into a backend.

    Args:
        backend: one of `NAMES`.
        graph: ONNX bytes.
        numerics: what the graph assumes of the backend.
        threads: of the backend; 0 is its own choice.
        folder: the bundle's, where its engines lie.
        device: number of the GPU, as CUDA counts; None is the first. Only for `ON_GPU` and `auto`.

    Raises:
        ParameterError: no backend of that name, or none that has a GPU of a number.
        BackendError: it is not installed, or refuses the graph; or there is no such GPU.
    """
    return _open(backend, graph, numerics, threads, folder, device)[1]


def open_graph(
    backend: str, bundle: Bundle, graph: Graph, threads: int | None, device: int | None = None
) -> Session:
    """Load a graph of a bundle into a backend; None threads is the backend's own choice.

    Raises:
        BundleError: the graph's file is missing or damaged.
        ParameterError, BackendError: as `open_session`.
    """
    return open_named(backend, bundle, graph, threads, device)[1]


def open_named(
    backend: str,
    bundle: Bundle,
    graph: Graph,
    threads: int | None,
    device: int | None = None,
    *,
    engines: bool = True,
) -> tuple[str, Session]:
    """As `open_graph`, with the backend's own name: for `auto` the one that it took.

    `engines` False: `auto` passes over the graph's engines.
    """
    data, numerics = bundle.read_graph(graph), graph.numerics
    return _open(
        backend, data, numerics, threads or 0, bundle.folder, device, graph, engines=engines
    )


def _open(
    backend: str,
    graph: bytes,
    numerics: Numerics,
    threads: int,
    folder: Path | None,
    device: int | None,
    entry: Graph | None = None,
    *,
    engines: bool = True,
) -> tuple[str, Session]:
    check_name(backend)
    check_device(backend, device)

    def open_on(name: str) -> Session:
        if entry is not None and entry.target not in targets_of(name):
            raise BackendError(
                f"'{entry.file}' is made for {entry.target}, which {auto.title(name)} is not: use "
                "--backend tensorrt-rtx or tensorrt, or another --precision"
            )
        module, function, _ = _BACKENDS[name]
        opener: Callable[[bytes, Numerics, int, Path | None, int], Session]
        opener = _load(module, function)
        return opener(graph, numerics, threads, folder, device or 0)

    if backend != "auto":
        return backend, open_on(backend)
    name, session = auto.open_fastest(graph, folder, open_on, engines=engines)
    if device is not None and name not in ON_GPU:
        _logger.warning("GPU %d is not used: %s computes", device, auto.title(name))
    return name, session


def available() -> list[str]:
    """The backends installed on this machine."""
    return [name for name in _BACKENDS if _is_installed(name)]


def check_name(backend: str) -> None:
    """Raise `ParameterError` unless there is a backend of that name."""
    one_of("backend", backend, NAMES)


def check_device(backend: str, device: int | None) -> None:
    """Raise `ParameterError` unless a backend may be given a GPU of that number; None always."""
    if device is None:
        return
    whole("device", device, 0, MOST_GPUS - 1)
    if backend not in (*ON_GPU, "auto"):
        raise ParameterError(
            f"device is the number of a GPU, and {auto.title(backend)} computes on processors: "
            f"leave it out, or give a backend of {', '.join(ON_GPU)}"
        )


def _is_installed(backend: str) -> bool:
    module, _, function = _BACKENDS[backend]
    probe: Callable[[], bool] = _load(module, function)
    try:
        return probe()
    except BackendError:  # its library is not installed
        return False


def _load(module: str, function: str) -> Any:
    return getattr(importlib.import_module(f"runtime.backends.{module}"), function)
