"""Checks of this machine with one bundle: what holds, what does not, what could not be tried."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime import backends
from runtime.backends.cuda_device import Device, gpu_missing
from runtime.backends.cuda_stream import Stream
from runtime.bundle import uint8_images
from runtime.bundle.engine_entry import LIBRARIES, Library
from runtime.bundle.graph_entry import Graph
from runtime.bundle.graph_kinds import preferred
from runtime.bundle.reader import Bundle
from runtime.checks.parity import budget, psnr
from runtime.checks.random_inputs import random_inputs
from runtime.checks.random_inputs import run as run_on
from runtime.checks.verify import check_graphs
from runtime.errors import HcflowError
from runtime.inference.network import Network
from runtime.latents import Region

if TYPE_CHECKING:
    from runtime.backends.tensorrt_session import EngineSession

Outcome = Literal["ok", "failed", "not tried"]

MANY_RUNS = 1000
GRAPH_RUNS = 3
MOST_MEASUREMENTS = 3
SIDE = 16
OUTSIDE = 1 << 13


class CheckError(HcflowError):
    """A check was carried out and does not hold; the message gives the figures."""


@dataclass(frozen=True)
class Result:
    """One check: its name, its outcome, and figures or the reason."""

    name: str
    outcome: Outcome
    detail: str


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


def selftest(
    bundle: Bundle, threads: int | None = None, device: int | None = None
) -> Iterator[Result]:
    """Every check, one after another; none raises.

    Args:
        bundle: what to run.
        threads: of the CPU backends.
        device: number of the GPU, as CUDA counts; None is the first.
    """
    working = backends.available()
    for name in backends.NAMES:
        if name == "auto":
            continue
        if name in working:
            on = device if name in backends.ON_GPU else None
            yield attempt(f"backend {name}", functools.partial(_verify, bundle, name, threads, on))
        else:
            reason = gpu_missing(device or 0) if name.startswith("tensorrt") else None
            yield Result(f"backend {name}", "not tried", reason or "it is not installed here")
    yield attempt("the same bytes run by run", lambda: _repeats(bundle, threads))
    missing = gpu_missing(device or 0)
    if missing is not None:
        yield from (Result(name, "not tried", missing) for name in GPU_CHECKS)
        return
    yield attempt(LATENTS_CHECK, lambda: check_latents(device or 0))
    for library in LIBRARIES:
        if library in working:
            for graph in preferred(bundle.manifest.graphs, backends.targets_of(library)):
                yield from check_engine(bundle, library, graph, device or 0)


def check_engine(
    bundle: Bundle, library: Library, graph: Graph, device: int = 0
) -> Iterator[Result]:
    """The checks of one graph's engine; they need a GPU. None raises."""
    gpu = Network(bundle, library, graph.precision, None, graph.io, device)
    # What is made for TensorRT is held against what every machine computes.
    precision = graph.precision if graph.target is None else "fp32"
    cpu = Network(bundle, "onnxruntime", precision, None, graph.io)
    engine = EngineUnderTest(bundle, library, graph, gpu, cpu, device)
    for name, check in _ENGINE_CHECKS.items():
        yield attempt(f"{library} {graph.title}: {name}", functools.partial(check, engine))


def attempt(name: str, check: Callable[[], str]) -> Result:
    """The result of a check that returns its figures, or raises one of our errors."""
    try:
        return Result(name, "ok", check())
    except HcflowError as error:
        return Result(name, "failed", str(error))


def _require(holds: bool, otherwise: str) -> None:
    # An exception of our own, not `assert`, which `python -O` leaves out.
    if not holds:
        raise CheckError(otherwise)


def _verify(bundle: Bundle, backend: str, threads: int | None, device: int | None) -> str:
    checks = list(check_graphs(bundle, backend, threads, device))
    bad = [c for c in checks if not c.comparison.ok]
    if bad:
        first = bad[0]
        raise CheckError(
            f"{len(bad)} of {len(checks)} outputs of test vectors miss their budget, the first: "
            f"{first.graph.file}, {first.case}, {first.output}: {first.comparison.max_abs:.2g}"
        )
    return f"{len(checks)} outputs of test vectors within budget"


def _repeats(bundle: Bundle, threads: int | None) -> str:
    graph = bundle.manifest.graphs[0]
    network = Network(bundle, "onnxruntime", graph.precision, threads)
    runs = {_run(network, graph, seed=1).tobytes() for _ in range(3)}
    _require(len(runs) == 1, "three runs of one input differ")
    return "three runs of one input are identical"


def _run(
    network: Network, graph: Graph, seed: int, height: int = SIDE, width: int = SIDE
) -> NDArray[np.float32]:
    feeds = random_inputs(network.manifest, graph, 1, height, width, seed)
    return run_on(network, graph, feeds)


def _parity(engine: EngineUnderTest) -> str:
    graph = engine.graph
    found = psnr(_run(engine.gpu, graph, 1), _run(engine.cpu, graph, 1))
    least = budget("hr", graph.precision, graph.io).min_psnr_db or 0.0
    if graph.io == uint8_images.IO and graph.precision == "fp32":
        least = 20 * float(np.log10(255))  # an error of 1/255 everywhere
    _require(found >= least, f"{found:.1f} dB against the CPU, the budget is {least:.0f} dB")
    return f"{found:.1f} dB against the CPU"


def _captured(engine: EngineUnderTest) -> str:
    feeds = _feeds(engine)
    session = engine.open()  # one that has run nothing yet
    try:
        plain = session.run(feeds)
        _require(session.graph_runs == 0, "the first run replayed a graph")
        most = GRAPH_RUNS + 4  # an engine may prepare itself in several plain runs
        for _ in range(most):
            again = session.run(feeds)
            for name, value in plain.items():
                same = np.array_equal(again[name], value, equal_nan=True)
                _require(same, f"'{name}' of a later run differs from the first, plain one")
            if session.graph_runs == GRAPH_RUNS:
                return f"1 plain run and {GRAPH_RUNS} replayed ones are identical"
        return f"{most + 1} plain runs are identical; this engine runs without captured graphs"
    finally:
        session.close()


def _threads(engine: EngineUnderTest) -> str:
    def one(seed: int) -> bytes:
        return _run(engine.gpu, engine.graph, seed).tobytes()

    alone = [one(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(one, range(8)))
    _require(together == alone, "a run among threads differs from the same run alone")
    return "8 threads"


def _on_stream(engine: EngineUnderTest) -> str:
    from runtime.backends.cuda_arrays import DeviceArray  # noqa: PLC0415 - only with a GPU

    session, device = engine.open(), Device.open(engine.device)
    feeds = _feeds(engine)
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
            same = np.array_equal(_download(stream, array), want[name])
            _require(same, f"'{name}' differs from the run on host arrays")
        for each in staged:
            each.free()
    session.close()
    return "equal to host arrays"


def _feeds(engine: EngineUnderTest) -> dict[str, Any]:
    """Random inputs as the engine takes them."""
    feeds = random_inputs(engine.bundle.manifest, engine.graph, 1, SIDE, SIDE, seed=1)
    return uint8_images.inputs(feeds) if engine.graph.io == uint8_images.IO else feeds


def _outside(engine: EngineUnderTest) -> str:
    try:
        # Narrow, so that it would fit into memory.
        _run(engine.gpu, engine.graph, 1, height=OUTSIDE, width=1)
    except HcflowError as error:
        return str(error)
    raise CheckError(f"a height of {OUTSIDE} was not refused")


def _memory(engine: EngineUnderTest) -> str:
    device = Device.open(engine.device)
    result = _run(engine.gpu, engine.graph, 1)
    # What one forgotten result a run would take, and whether the figures of this GPU show it: on a
    # desktop other programs take and free memory meanwhile.
    leak = MANY_RUNS * result.nbytes
    before, _ = device.memory()
    control = device.allocate(leak)
    seen = before - device.memory()[0]
    with device.current():
        control.free()
    _require(
        seen >= leak / 2,
        f"a control allocation of {leak / 1e6:.0f} MB shows as {seen / 1e6:.0f} MB: other programs "
        "use the GPU; end them and try again",
    )
    lost = []
    for _ in range(MOST_MEASUREMENTS):  # a leak grows each time, what others take does not
        before, _ = device.memory()
        for seed in range(MANY_RUNS):
            _run(engine.gpu, engine.graph, seed)
        lost.append(before - device.memory()[0])
        if lost[-1] <= leak / 2:
            return (
                f"{max(0, lost[-1]) / 1e6:.1f} MB of difference; a leak would be {leak / 1e6:.0f}"
            )
    raise CheckError(f"{min(lost) / 1e6:.1f} MB are not free again, each of {len(lost)} times")


def check_latents(ordinal: int = 0) -> str:
    """Draw latents on the GPU of that number and compare their bits with the CPU's.

    Raises:
        CheckError: they differ.
        BackendError: the GPU failed.
    """
    from runtime.backends.cuda_arrays import DeviceArray  # noqa: PLC0415 - only with a GPU
    from runtime.backends.cuda_latents import Drawer  # noqa: PLC0415

    device, count = Device.open(ordinal), 0
    with device.current():
        stream, drawer = Stream.make(device), Drawer.open(device)
        for region in (
            Region(0, 0, 1, 6, 0, 0, 300, 300),
            Region(2**64 - 1, 2**32 - 1, 2, 45, 17, 3, 31, 29, 0.9),
            Region(1234567890123, 7, 3, 2, 2**32 - 5, 2**32 - 9, 5, 9, 0.8),
        ):
            array = DeviceArray(stream, region.shape, np.dtype(np.float32))
            drawer.enqueue(region, array.pointer, stream)
            drawn = _download(stream, array)
            same = np.array_equal(drawn.view(np.uint32), region.values().view(np.uint32))
            _require(same, f"{region} differs")
            count += drawn.size
    return f"{count} values"


def _download(stream: Stream, array: Any) -> NDArray[Any]:
    pinned = stream.device.pinned(array.shape, array.dtype)
    stream.download(pinned, array.pointer)
    stream.synchronise()
    values = pinned.array.copy()
    pinned.free()
    return values


_ENGINE_CHECKS: dict[str, Callable[[EngineUnderTest], str]] = {
    "engines give the CPU's numbers": _parity,
    "captured graphs give what plain runs give": _captured,
    "runs on several threads do not disturb each other": _threads,
    "GPU arrays run on the caller's stream": _on_stream,
    "shapes outside every profile are refused": _outside,
    f"GPU memory is back at its start after {MANY_RUNS} runs": _memory,
}
LATENTS_CHECK = "latents drawn on the GPU are the CPU's to the bit"
GPU_CHECKS = (*_ENGINE_CHECKS, LATENTS_CHECK)
"""The checks that only a GPU allows."""
