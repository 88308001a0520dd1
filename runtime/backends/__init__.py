"""Backends: what runs a graph. One module each, imported only when a session is opened."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.errors import BackendError, ParameterError
from runtime.manifest import Numerics

Arrays = Mapping[str, NDArray[np.float32]]


class Session(Protocol):
    """One graph, loaded and ready; `run` may be called from many threads at once."""

    def run(self, feeds: Arrays) -> dict[str, NDArray[np.float32]]:
        """Outputs by name for inputs by name, float32 NCHW.

        Raises:
            BackendError: the backend failed.
        """


Opener = Callable[[bytes, Numerics, int], Session]
"""(ONNX bytes, numerics the graph assumes, threads; 0: the backend's choice) → session."""

# Modules are named, not imported: each brings in its backend's library.
_OPENERS = {
    "onnxruntime": ("runtime.backends.onnxruntime", "open_cpu"),
    "onnxruntime-cuda": ("runtime.backends.onnxruntime", "open_cuda"),
    "auto": ("runtime.backends.onnxruntime", "open_best"),
}
_PROBES = {
    "onnxruntime": ("runtime.backends.onnxruntime", "has_cpu"),
    "onnxruntime-cuda": ("runtime.backends.onnxruntime", "has_cuda"),
}

NAMES = tuple(_OPENERS)
"""Every backend name `runtime.load` takes."""


def open_session(backend: str, graph: bytes, numerics: Numerics, threads: int) -> Session:
    """Load a graph into a backend.

    Raises:
        ParameterError: no backend of that name.
        BackendError: it is not installed, or refuses the graph.
    """
    check_name(backend)
    module, function = _OPENERS[backend]
    opener: Opener = getattr(importlib.import_module(module), function)
    return opener(graph, numerics, threads)


def available() -> list[str]:
    """The backends installed on this machine."""
    return [name for name in _PROBES if _is_installed(name)]


def check_name(backend: str) -> None:
    """Raise `ParameterError` unless there is a backend of that name."""
    if backend not in _OPENERS:
        raise ParameterError(f"unknown backend '{backend}': one of {', '.join(NAMES)}")


def _is_installed(backend: str) -> bool:
    module, function = _PROBES[backend]
    probe: Callable[[], bool] = getattr(importlib.import_module(module), function)
    try:
        return probe()
    except BackendError:  # not installed: what is asked here
        return False
