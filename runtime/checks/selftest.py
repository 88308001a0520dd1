"""Checks of this machine with one bundle: what holds, what does not, what could not be tried."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime import backends
from runtime.backends.cuda_device import Device, Stream, gpu_missing
from runtime.bundle import uint8_images
from runtime.bundle.engine_entry import LIBRARIES, Library
from runtime.bundle.graph_entry import Graph
from runtime.bundle.reader import Bundle
from runtime.checks.parity import budget, psnr
from runtime.checks.random_inputs import random_inputs
from runtime.checks.random_inputs import run as run_on
from runtime.checks.verify import check_graphs
from runtime.errors import HcflowError
from runtime.inference.network import Network
from runtime.latents import Region

Outcome = Literal["ok", "failed", "not tried"]

MANY_RUNS = 1000
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


def selftest(bundle: Bundle, threads: int | None = None) -> Iterator[Result]:
    """Every check, one after another; none raises.

    Args:
        bundle: what to run.
        threads: of the CPU backends.
    """
    working = backends.available()
    for name in backends.NAMES:
        if name == "auto":
            continue
        if name in working:
            yield attempt(f"backend {name}", functools.partial(_verify, bundle, name, threads))
        else:
            reason = gpu_missing() if name.startswith("tensorrt") else None
            yield Result(f"backend {name}", "not tried", reason or "it is not installed here")
    yield attempt("the same bytes run by run", lambda: _repeats(bundle, threads))
    missing = gpu_missing()
    if missing is not None:
        yield from (Result(name, "not tried", missing) for name in GPU_CHECKS)
        return
    yield attempt(LATENTS_CHECK, check_latents)
    for graph in bundle.manifest.graphs:
        for library in LIBRARIES:
            if library in working:
                yield from check_engine(bundle, library, graph)


def check_engine(bundle: Bundle, library: Library, graph: Graph) -> Iterator[Result]:
    """The checks of one graph's engine; they need a GPU. None raises."""
    gpu, cpu = (
        Network(bundle, backend, graph.precision, None, graph.io)
        for backend in (library, "onnxruntime")
    )
    engine = EngineUnderTest(bundle, library, graph, gpu, cpu)
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


def _verify(bundle: Bundle, backend: str, threads: int | None) -> str:
    checks = list(check_graphs(bundle, backend, threads))
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
    # The first run is plain, the second captured, the others replay the captured graph.
    runs = {_run(engine.gpu, engine.graph, seed=1).tobytes() for _ in range(4)}
    _require(len(runs) == 1, "a replayed graph differs from the plain run")
    return "plain and replayed runs are identical"


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
    from runtime.backends.tensorrt import open_engine  # noqa: PLC0415

    bundle, graph = engine.bundle, engine.graph
    session = open_engine(engine.library, bundle.read_graph(graph), bundle.folder)
    stream = Device.open().stream()
    feeds: dict[str, Any] = random_inputs(bundle.manifest, graph, 1, SIDE, SIDE, seed=1)
    if graph.io == uint8_images.IO:
        feeds = uint8_images.inputs(feeds)
    on_gpu, staged = {}, []  # pinned memory is kept until the copies are done
    for name, value in feeds.items():
        on_gpu[name] = DeviceArray(stream, value.shape, value.dtype)
        staged.append(stream.device.pinned(value.shape, value.dtype))
        staged[-1].array[...] = value
        stream.upload(on_gpu[name].pointer, staged[-1])
    want = session.run(feeds)
    for name, array in session.enqueue(on_gpu, stream.handle).items():
        same = np.array_equal(_download(stream, array), want[name])
        _require(same, f"'{name}' differs from the run on host arrays")
    return "equal to host arrays"


def _outside(engine: EngineUnderTest) -> str:
    try:
        # Narrow, so that it would fit into memory.
        _run(engine.gpu, engine.graph, 1, height=OUTSIDE, width=1)
    except HcflowError as error:
        return str(error)
    raise CheckError(f"a height of {OUTSIDE} was not refused")


def _memory(engine: EngineUnderTest) -> str:
    _run(engine.gpu, engine.graph, 1)
    before, _ = Device.open().memory()
    for seed in range(MANY_RUNS):
        _run(engine.gpu, engine.graph, seed)
    after, _ = Device.open().memory()
    _require(before - after <= 1 << 20, f"{(before - after) / 1e6:.1f} MB are not free again")
    return f"{max(0, before - after)} bytes of difference"


def check_latents() -> str:
    """Draw latents on the GPU and compare their bits with the CPU's.

    Raises:
        CheckError: they differ.
        BackendError: the GPU failed.
    """
    from runtime.backends.cuda_arrays import DeviceArray  # noqa: PLC0415 - only with a GPU
    from runtime.backends.cuda_latents import Drawer  # noqa: PLC0415

    device = Device.open()
    stream = device.stream()
    drawer, count = Drawer.open(device), 0
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
