"""`auto`: the fastest backend that works here."""

from __future__ import annotations

import importlib.util
import logging

from runtime.backends import Session
from runtime.errors import BackendError
from runtime.manifest import Numerics

_logger = logging.getLogger(__name__)


def open_best(graph: bytes, numerics: Numerics, threads: int) -> Session:
    """ONNX Runtime with CUDA where it works, else OpenVINO, else ONNX Runtime on the CPU.

    The log says why one that is installed was passed over.
    """
    from runtime.backends import onnxruntime, openvino  # noqa: PLC0415 - they import this package

    if importlib.util.find_spec("onnxruntime") and onnxruntime.has_cuda():
        try:
            return onnxruntime.open_cuda(graph, numerics, threads)
        except BackendError as error:
            _logger.warning("%s; using the CPU", error)
    if importlib.util.find_spec("openvino"):
        try:
            return openvino.open_cpu(graph, numerics, threads)
        except BackendError as error:
            _logger.warning("%s; using ONNX Runtime", error)
    return onnxruntime.open_cpu(graph, numerics, threads)
