"""The tiny network as an engine on the simulated device, and what scenarios check with."""

from __future__ import annotations

import ctypes
import functools
import gc
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime import backends
from runtime.backends.cuda import device as cuda_device
from runtime.backends.cuda.arrays import DeviceArray
from runtime.backends.cuda.device import Device
from runtime.backends.cuda.stream import Stream
from runtime.backends.session import Session
from runtime.backends.tensorrt import open_engine
from runtime.backends.tensorrt_session import EngineSession
from runtime.bundle.engines.entry import Engine, Memory, Range
from runtime.bundle.manifest import Numerics
from tests.simulated.tensorrt_module import engine_bytes
from tests.support.bundles import inverse_graph, write_bundle

DRIVER = ctypes.CDLL("libcuda.so.1")
DRIVER.sim_violation.restype = ctypes.c_char_p
DRIVER.sim_used.restype = DRIVER.sim_pending.restype = ctypes.c_size_t
DRIVER.sim_machine.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_size_t]


class Lines(logging.Handler):
    """What loggers say from now on."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        for name in names:
            logging.getLogger(name).addHandler(self)
            logging.getLogger(name).setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


SCENARIOS: dict[str, Callable[[Path], None]] = {}
GIGABYTE = 1 << 30


def scenario(function: Callable[[Path], None]) -> Callable[[Path], None]:
    SCENARIOS[function.__name__] = function
    return function


def ranges(side: int, batch: int) -> dict[str, Range]:
    low, high = (1, 1, 1), (batch, side, side)
    return {
        name: Range(*((n, c, h * f, w * f) for n, h, w in (low, high, high)))
        for name, c, f in (("lr", 3, 1), ("z1", 6, 2), ("z2", 21, 1))
    }


def sidecar(graph: bytes, data: bytes, **changes: Any) -> Engine:
    engine = Engine(
        file="inverse.engine",
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        graph=hashlib.sha256(graph).hexdigest(),
        direction="inverse",
        precision="fp32",
        latents=True,
        library="tensorrt-rtx",
        version="1.7.1.116",
        compute_capabilities=("8.9",),
        profiles=(ranges(8, 1), ranges(16, 2)),
        tf32=False,
        version_compatible=False,
        hardware="none",
        refittable=False,
        optimization_level=None,
        build_seconds=1.0,
        memory=Memory(None, None, None),
    )
    return replace(engine, **changes)


def plan(
    graph: bytes,
    engine_ranges: tuple[dict[str, Range], ...] | None = None,
    host_code: bool = False,
) -> bytes:
    profiles = engine_ranges or (ranges(8, 1), ranges(16, 2))
    plain = [{n: (r.smallest, r.best, r.largest) for n, r in p.items()} for p in profiles]
    return engine_bytes(graph, plain, host_code=host_code)


def prepare(folder: Path, **changes: Any) -> tuple[bytes, Path]:
    """A bundle of the tiny network with an engine of its inverse, and the graph's bytes."""
    bundle = write_bundle(folder / "bundle")
    graph = inverse_graph(True)
    data = plan(graph, changes.get("profiles"), changes.get("version_compatible", False))
    engine = sidecar(graph, data, **changes)
    (bundle / engine.file).write_bytes(data)
    manifest = runtime.Bundle.open(bundle).manifest
    manifest = replace(manifest, engines=(engine.to_mapping(),))
    (bundle / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return graph, bundle


def session(folder: Path, ordinal: int = 0) -> EngineSession:
    graph, bundle = prepare(folder)
    return open_engine("tensorrt-rtx", graph, bundle, device=ordinal)


def feeds(n: int = 1, height: int = 3, width: int = 5, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    shapes = {"lr": (n, 3, height, width), "z1": (n, 6, 2 * height, 2 * width)}
    shapes["z2"] = (n, 21, height, width)
    return {name: random.random(shape, np.float32) for name, shape in shapes.items()}


def expected(values: dict[str, Any]) -> Any:
    return _on_the_cpu().run(values)["hr"]


@functools.cache
def _on_the_cpu() -> Session:
    numerics = Numerics(False, "float32", "f32")
    return backends.open_session("onnxruntime", inverse_graph(True), numerics, 1)


def fine() -> None:
    violation = DRIVER.sim_violation().decode()
    assert not violation, violation


def caught(text: str) -> None:
    violation = DRIVER.sim_violation().decode()
    assert text in violation, f"expected '{text}', the device says '{violation}'"


def raises(kind: type[Exception], text: str, work: Callable[[], Any]) -> None:
    with pytest.raises(kind) as error:
        work()
    assert text in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


def forget_gpus() -> None:
    """Let the next one that asks for a GPU find it anew."""
    cuda_device._opened.cache_clear()


@contextmanager
def gpus(count: int, memory: int = GIGABYTE) -> Iterator[None]:
    """A machine with so many GPUs, or so much memory."""
    DRIVER.sim_machine(count, 13000, memory)
    try:
        yield
    finally:
        DRIVER.sim_machine(1, 13000, GIGABYTE)


@contextmanager
def broken(owner: Any, name: str, instead: Any) -> Iterator[Any]:
    """A part of the product replaced by a mistake; gives the right one."""
    right = owner.__dict__[name]
    setattr(owner, name, instead)
    try:
        yield right
    finally:
        setattr(owner, name, right)


def new_stream(ordinal: int = 0) -> Stream:
    return Stream.make(Device.open(ordinal))


def upload(stream: Stream, values: dict[str, Any]) -> dict[str, DeviceArray]:
    """Host arrays as GPU arrays, ready when the stream is."""
    made = {}
    for name, value in values.items():
        made[name] = DeviceArray(stream, value.shape, value.dtype)
        pinned = stream.device.pinned(value.shape, value.dtype)
        pinned.array[...] = value
        stream.upload(made[name].pointer, pinned)
    return made


def download(stream: Stream, array: Any) -> Any:
    pinned = stream.device.pinned(array.shape, array.dtype)
    stream.download(pinned, array.pointer)
    stream.synchronise()
    return pinned.array.copy()


class OnlyDlpack:
    """Another library's array, which has DLPack and no other interface."""

    def __init__(self, array: DeviceArray) -> None:
        self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__


def of_another_library(array: DeviceArray, **changes: Any) -> Any:
    """Another library's array in the memory of one of ours: its interface, with changes."""
    interface = array.__cuda_array_interface__ | changes
    return type("Array", (), {"__cuda_array_interface__": interface, "owner": array})()


def forget_while_another_stream_copies() -> None:
    """Drop an array that another stream took by DLPack, and let both streams finish."""
    producer, consumer = new_stream(), new_stream()
    array = DeviceArray(producer, (4,), np.dtype(np.float32))
    target = DeviceArray(consumer, (4,), np.dtype(np.float32))
    producer.synchronise()
    capsule = array.__dlpack__(stream=consumer.handle)
    consumer.copy(target.pointer, array.pointer, array.nbytes)
    del capsule, array
    gc.collect()
    producer.synchronise()
    consumer.synchronise()
