"""`auto`: the fastest backend that works here."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime.backends.session import Session
from runtime.errors import BackendError

_logger = logging.getLogger(__name__)

_INSTEAD = {"onnxruntime-cuda": "the CPU", "openvino": "ONNX Runtime"}


def fastest_first() -> list[str]:
    """What `auto` tries where there are no engines: CUDA, OpenVINO, ONNX Runtime on the CPU.

    The first two only where they are installed; whether they work shows when they are opened.
    """
    from runtime.backends import onnxruntime  # noqa: PLC0415 - needed by `auto` alone

    has_cuda = importlib.util.find_spec("onnxruntime") is not None and onnxruntime.has_cuda()
    has_openvino = importlib.util.find_spec("openvino") is not None
    return [*["onnxruntime-cuda"] * has_cuda, *["openvino"] * has_openvino, "onnxruntime"]


def name(backend: str) -> str:
    """The backend itself, or the first that `auto` tries."""
    return fastest_first()[0] if backend == "auto" else backend


def open_fastest(graph: bytes, folder: Path | None, open_on: Callable[[str], Session]) -> Session:
    """A session on the first backend that works: an engine of the graph before `fastest_first`.

    The log says why an earlier one was passed over.

    Args:
        graph: ONNX bytes.
        folder: the bundle's, where its engines lie.
        open_on: opens the graph on the backend of that name.

    Raises:
        BackendError: the last one, ONNX Runtime on the CPU, does not work either.
    """
    for each in _before_the_last(graph, folder):
        try:
            return open_on(each)
        except BackendError as error:
            _logger.warning("%s; using %s", error, _INSTEAD.get(each, "another backend"))
    return open_on("onnxruntime")


def _before_the_last(graph: bytes, folder: Path | None) -> Iterator[str]:
    from runtime.bundle import engine_cache  # noqa: PLC0415 - needed by `auto` alone

    yield from engine_cache.libraries(hashlib.sha256(graph).hexdigest(), folder)
    yield from fastest_first()[:-1]
