"""`auto`: the fastest backend that works here."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime.backends.session import Session
from runtime.errors import BackendError

_logger = logging.getLogger(__name__)

_INSTEAD = {"onnxruntime-cuda": "the CPU", "openvino": "ONNX Runtime"}

_TITLES = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "onnxruntime-cuda": "ONNX Runtime (CUDA)",
    "onnxruntime-tensorrt": "ONNX Runtime (TensorRT)",
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT-RTX",
}


def title(backend: str) -> str:
    """A backend's name as its makers write it."""
    return _TITLES.get(backend, backend)


def fastest_first() -> list[str]:
    """What `auto` tries where there are no engines: CUDA, OpenVINO, ONNX Runtime on the CPU.

    The first two only where they are installed; whether they work shows when they are opened.
    """
    has_openvino = importlib.util.find_spec("openvino") is not None
    return [*["onnxruntime-cuda"] * _has_cuda(), *["openvino"] * has_openvino, "onnxruntime"]


def _has_cuda() -> bool:
    """Whether ONNX Runtime has its CUDA provider; it is imported only where that may be so.

    Its import takes a quarter of a small image's time, for nothing where OpenVINO is used.
    """
    spec = importlib.util.find_spec("onnxruntime")
    folders = getattr(spec, "submodule_search_locations", None) or ()
    if not any("providers_cuda" in name for each in folders for name in _libraries(each)):
        return False
    from runtime.backends import onnxruntime  # noqa: PLC0415 - needed by `auto` alone

    return onnxruntime.has_cuda()


def _libraries(package: str) -> list[str]:
    try:
        return os.listdir(os.path.join(package, "capi"))
    except OSError:
        return []


def name(backend: str) -> str:
    """The backend itself, or the first that `auto` tries and whose library can be imported."""
    if backend != "auto":
        return backend
    first, *rest = fastest_first()
    return rest[0] if first == "openvino" and not _openvino_works() else first


def _openvino_works() -> bool:
    from runtime.backends import openvino  # noqa: PLC0415 - needed by `auto` alone

    try:
        return openvino.has_cpu()
    except BackendError:  # it is there, and its library cannot be loaded
        return False


def pass_over(error: BackendError, backend: str, instead: str | None = None) -> None:
    """Log why a backend is not used, and what is used instead."""
    following = _INSTEAD.get(backend, "another backend") if instead is None else title(instead)
    _logger.warning("%s; using %s", error, following)


def open_fastest(
    graph: bytes, folder: Path | None, open_on: Callable[[str], Session], *, engines: bool = True
) -> tuple[str, Session]:
    """The first backend that works, and a session on it: engines go before `fastest_first`.

    The log says why an earlier one was passed over.

    Args:
        graph: ONNX bytes.
        folder: the bundle's, where its engines lie.
        open_on: opens the graph on the backend of that name.
        engines: False passes over the graph's engines.

    Raises:
        BackendError: the last one, ONNX Runtime on the CPU, does not work either.
    """
    for each in _before_the_last(graph, folder, engines):
        try:
            return each, open_on(each)
        except BackendError as error:
            pass_over(error, each)
    return "onnxruntime", open_on("onnxruntime")


def _before_the_last(graph: bytes, folder: Path | None, engines: bool) -> Iterator[str]:
    from runtime.bundle.engines import cache  # noqa: PLC0415 - needed by `auto` alone

    if engines:
        yield from cache.libraries(hashlib.sha256(graph).hexdigest(), folder)
    yield from fastest_first()[:-1]
