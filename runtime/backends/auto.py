"""`auto`: the fastest backend that works here."""

from __future__ import annotations

import importlib.util
import logging

from runtime import backends
from runtime.backends import Session
from runtime.bundle.manifest import Numerics
from runtime.errors import BackendError

_logger = logging.getLogger(__name__)

_INSTEAD = {"onnxruntime-cuda": "the CPU", "openvino": "ONNX Runtime"}


def fastest_first() -> list[str]:
    """What `auto` tries where there are no engines: CUDA, OpenVINO, ONNX Runtime on the CPU.

    The first two only where they are installed; whether they work shows when they are opened.
    """
    from runtime.backends import onnxruntime  # noqa: PLC0415 - it imports this package

    has_cuda = importlib.util.find_spec("onnxruntime") is not None and onnxruntime.has_cuda()
    has_openvino = importlib.util.find_spec("openvino") is not None
    return [*["onnxruntime-cuda"] * has_cuda, *["openvino"] * has_openvino, "onnxruntime"]


def name(backend: str) -> str:
    """The backend itself, or the first that `auto` tries."""
    return fastest_first()[0] if backend == "auto" else backend


def open_best(graph: bytes, numerics: Numerics, threads: int) -> Session:
    """A session of the first that works; the log says why an earlier one was passed over."""
    *better, last = fastest_first()
    for each in better:
        try:
            return backends.open_session(each, graph, numerics, threads)
        except BackendError as error:
            _logger.warning("%s; using %s", error, _INSTEAD[each])
    return backends.open_session(last, graph, numerics, threads)
