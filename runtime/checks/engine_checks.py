"""Checks of one graph's engine on a GPU: its numbers, graphs, threads, streams, shapes, memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.cuda.device import Device
from runtime.backends.cuda.stream import Stream
from runtime.bundle import uint8_images
from runtime.bundle.engines.entry import Library
from runtime.bundle.graph_entry import Graph
from runtime.bundle.reader import Bundle
from runtime.checks.outcome import CheckError, Result, attempt, require
from runtime.checks.parity import budget, psnr
from runtime.checks.random_inputs import random_inputs
from runtime.checks.random_inputs import run as run_on
from runtime.errors import HcflowError
from runtime.inference.network import Network

if TYPE_CHECKING:
    from runtime.backends.tensorrt_session import EngineSession

MANY_RUNS = 1000
PLAIN_RUNS = 8
MOST_MEASUREMENTS = 3
SIDE = 16
OUTSIDE = 1 << 13


@dataclass(frozen=True)
class EngineUnderTest:
    """What the checks of an engine work on: its graph, and networks on the GPU and on the CPU."""

    bundle: Bundle
    library: Library
    graph: Graph
    gpu: Network
    cpu: Network
    device: int = 0

    def open(self) -> EngineSession:
        """The engine in a session of its own, which the caller closes."""
        from runtime.backends.tensorrt import open_engine  # noqa: PLC0415 - only with a GPU

        data, folder = self.bundle.read_graph(self.graph), self.bundle.folder
        tf32 = self.graph.numerics.tf32
        return open_engine(self.library, data, folder, tf32=tf32, device=self.device)


def check_engine(
    bundle: Bundle, library: Library, graph: Graph, device: int = 0
) -> Iterator[Result]:
    """The checks of one graph's engine; they need a GPU. None raises."""
    gpu = Network(bundle, library, graph.precision, None, graph.io, device)
    # What is made for TensorRT is held against what every machine computes.
    precision = graph.precision if graph.target is None else "fp32"
    cpu = Network(bundle, "onnxruntime", precision, None, graph.io)
    engine = EngineUnderTest(bundle, library, graph, gpu, cpu, device)
    for name, check in ENGINE_CHECKS.items():
        yield attempt(f"{library} {graph.title}: {name}", functools.partial(check, engine))


def run_random(
    network: Network, graph: Graph, seed: int, height: int = SIDE, width: int = SIDE
) -> NDArray[np.float32]:
    """The image that a network makes of random inputs."""
    feeds = random_inputs(network.manifest, graph, 1, height, width, seed)
    return run_on(network, graph, feeds)


def _parity(engine: EngineUnderTest) -> str:
    graph = engine.graph
    found = psnr(run_random(engine.gpu, graph, 1), run_random(engine.cpu, graph, 1))
    least = budget("hr", graph.precision, graph.io).min_psnr_db or 0.0
    if graph.io == uint8_images.IO and graph.precision == "fp32":
        least = 20 * float(np.log10(255))  # an error of 1/255 everywhere
    require(found >= least, f"{found:.1f} dB against the CPU, the budget is {least:.0f} dB")
    return f"{found:.1f} dB against the CPU"


def _captured(engine: EngineUnderTest) -> str:
    first, second = (_feeds(engine, seed) for seed in (1, 2))
    session, plain = _until_captured(engine, first)
    other, plain_second = _until_captured(engine, second)
    try:
        other.close()
        if not session.graph_runs:
            return f"{PLAIN_RUNS} plain runs; this engine runs without captured graphs"
        before = session.graph_runs
        # Other inputs in between, so that what a replay leaves undone shows.
        for number, (feeds, want) in enumerate([(second, plain_second), (first, plain)] * 2):
            found = session.run(feeds)
            for name, value in want.items():
                same = np.array_equal(found[name], value, equal_nan=True)
                require(same, f"'{name}' of replay {number + 1} differs from the plain run")
        require(session.graph_runs == before + 4, "a later run replayed no graph")
        return "4 replayed runs are identical to plain ones"
    finally:
        session.close()


def _until_captured(
    engine: EngineUnderTest, feeds: dict[str, Any]
) -> tuple[EngineSession, dict[str, NDArray[Any]]]:
    """A new session that has replayed a graph once, and its last plain run.

    TensorRT-RTX computes the first run with other kernels than later ones.
    """
    session, plain = engine.open(), dict[str, NDArray[Any]]()
    for _ in range(PLAIN_RUNS):
        found = session.run(feeds)
        if session.graph_runs:
            break
        plain = found
    return session, plain


def _threads(engine: EngineUnderTest) -> str:
    def one(seed: int) -> bytes:
        return run_random(engine.gpu, engine.graph, seed).tobytes()

    alone = [one(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(one, range(8)))
    require(together == alone, "a run among threads differs from the same run alone")
    return "8 threads"


def _on_stream(engine: EngineUnderTest) -> str:
    from runtime.backends.cuda.arrays import DeviceArray  # noqa: PLC0415 - only with a GPU

    session, device = engine.open(), Device.open(engine.device)
    feeds = _feeds(engine, 1)
    for _ in range(2):  # TensorRT-RTX computes the first run with other kernels than later ones
        want = session.run(feeds)
    with device.current():
        stream = Stream.make(device)
        on_gpu, staged = {}, []  # pinned memory is kept until the copies are done
        for name, value in feeds.items():
            on_gpu[name] = DeviceArray(stream, value.shape, value.dtype)
            staged.append(device.pinned(value.shape, value.dtype))
            staged[-1].array[...] = value
            stream.upload(on_gpu[name].pointer, staged[-1])
        for name, array in session.enqueue(on_gpu, stream.handle).items():
            same = np.array_equal(download(stream, array), want[name])
            require(same, f"'{name}' differs from the run on host arrays")
        for each in staged:
            each.free()
    session.close()
    return "equal to host arrays"


def _feeds(engine: EngineUnderTest, seed: int) -> dict[str, Any]:
    """Random inputs as the engine takes them."""
    feeds = random_inputs(engine.bundle.manifest, engine.graph, 1, SIDE, SIDE, seed)
    return uint8_images.inputs(feeds) if engine.graph.io == uint8_images.IO else feeds


def _outside(engine: EngineUnderTest) -> str:
    try:
        # Narrow, so that it would fit into memory.
        run_random(engine.gpu, engine.graph, 1, height=OUTSIDE, width=1)
    except HcflowError as error:
        return str(error)
    raise CheckError(f"a height of {OUTSIDE} was not refused")


def _memory(engine: EngineUnderTest) -> str:
    device = Device.open(engine.device)
    result = run_random(engine.gpu, engine.graph, 1)
    # What one forgotten result a run would take, and whether the figures of this GPU show it: on a
    # desktop other programs take and free memory meanwhile.
    leak = MANY_RUNS * result.nbytes
    before, _ = device.memory()
    control = device.allocate(leak)
    seen = before - device.memory()[0]
    with device.current():
        control.free()
    require(
        seen >= leak / 2,
        f"a control allocation of {leak / 1e6:.0f} MB shows as {seen / 1e6:.0f} MB: other programs "
        "use the GPU; end them and try again",
    )
    lost = []
    for _ in range(MOST_MEASUREMENTS):  # a leak grows each time, what others take does not
        before, _ = device.memory()
        for seed in range(MANY_RUNS):
            run_random(engine.gpu, engine.graph, seed)
        lost.append(before - device.memory()[0])
        if lost[-1] <= leak / 2:
            return (
                f"{max(0, lost[-1]) / 1e6:.1f} MB of difference; a leak would be {leak / 1e6:.0f}"
            )
    raise CheckError(f"{min(lost) / 1e6:.1f} MB are not free again, each of {len(lost)} times")


def download(stream: Stream, array: Any) -> NDArray[Any]:
    """The values of a GPU array, when the stream has made them."""
    pinned = stream.device.pinned(array.shape, array.dtype)
    stream.download(pinned, array.pointer)
    stream.synchronise()
    values = pinned.array.copy()
    pinned.free()
    return values


ENGINE_CHECKS: dict[str, Callable[[EngineUnderTest], str]] = {
    "engines give the CPU's numbers": _parity,
    "captured graphs give what plain runs give": _captured,
    "runs on several threads do not disturb each other": _threads,
    "GPU arrays run on the caller's stream": _on_stream,
    "shapes outside every profile are refused": _outside,
    f"GPU memory is back at its start after {MANY_RUNS} runs": _memory,
}
