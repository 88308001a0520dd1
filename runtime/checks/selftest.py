"""Checks of this machine with one bundle: what holds, what does not, what could not be tried."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from runtime import backends
from runtime.backends.cuda_device import Device, gpu_missing
from runtime.bundle import uint8_images
from runtime.bundle.manifest import Graph
from runtime.bundle.reader import Bundle
from runtime.checks.parity import budget
from runtime.checks.verify import check_graphs
from runtime.errors import BackendError, HcflowError
from runtime.inference.network import Network
from runtime.latents import Region

Outcome = Literal["ok", "failed", "not tried"]

MANY_RUNS = 1000
SIDE = 16
OUTSIDE = 1 << 13


@dataclass(frozen=True)
class Result:
    """One check: its name, its outcome, and figures or the reason."""

    name: str
    outcome: Outcome
    detail: str


GPU_CHECKS = (
    "engines give the CPU's numbers",
    "captured graphs give what plain runs give",
    "runs on several threads do not disturb each other",
    "GPU arrays run on the caller's stream",
    "shapes outside every profile are refused",
    f"GPU memory is back at its start after {MANY_RUNS} runs",
    "latents drawn on the GPU are the CPU's to the bit",
)
"""What only a GPU can tell."""


def selftest(bundle: Bundle, threads: int | None = None) -> Iterator[Result]:
    """Every check, one after another; none raises.

    Args:
        bundle: what to run.
        threads: of the CPU backends.
    """
    names = [n for n in backends.NAMES if n != "auto"]
    working = backends.available()
    for name in names:
        if name not in working:
            reason = gpu_missing() if name.startswith("tensorrt") else None
            yield Result(f"backend {name}", "not tried", reason or "it is not installed here")
            continue
        yield _attempt(f"backend {name}", functools.partial(_verify, bundle, name, threads))
    yield _attempt("the same bytes run by run", lambda: _repeats(bundle, threads))
    missing = gpu_missing()
    for name in GPU_CHECKS:
        if missing is not None:
            yield Result(name, "not tried", missing)
    if missing is None:
        yield _attempt(GPU_CHECKS[6], _latents)
        for graph in bundle.manifest.graphs:
            for library in ("tensorrt", "tensorrt-rtx"):
                if library in working:
                    yield from _engine(bundle, library, graph)


def _attempt(name: str, work: Callable[[], str]) -> Result:
    try:
        return Result(name, "ok", work())
    except HcflowError as error:
        return Result(name, "failed", str(error))
    except AssertionError as error:
        return Result(name, "failed", str(error) or "it does not hold")


def _verify(bundle: Bundle, backend: str, threads: int | None) -> str:
    checks = list(check_graphs(bundle, backend, threads))
    bad = [c for c in checks if not c.comparison.ok]
    if bad:
        first = bad[0]
        raise BackendError(
            f"{len(bad)} of {len(checks)} test vectors miss their budget, the first: "
            f"{first.graph.file}, {first.case}, {first.output}: {first.comparison.max_abs:.2g}"
        )
    return f"{len(checks)} test vectors within budget"


def _repeats(bundle: Bundle, threads: int | None) -> str:
    graph = bundle.manifest.graphs[0]
    network = Network(bundle, "onnxruntime", graph.precision, threads)
    runs = [_run(network, graph, seed=1).tobytes() for _ in range(3)]
    assert len(set(runs)) == 1, "three runs of one input differ"
    return "three runs of one input are identical"


def _run(
    network: Network, graph: Graph, seed: int, height: int = SIDE, width: int = SIDE
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    random = np.random.default_rng(seed)
    scale = network.manifest.scale
    if graph.direction == "forward":
        hr = uint8_images.noise(random, (1, 3, scale * height, scale * width))
        return network.encode(hr, latents=graph.latents)["lr"]
    lr = uint8_images.noise(random, (1, 3, height, width))
    if not graph.latents:
        return network.decode(lr)
    shapes = network.latent_shapes(1, height, width)
    return network.decode(lr, [random.standard_normal(s, np.float32) for s in shapes])


def _engine(bundle: Bundle, library: str, graph: Graph) -> Iterator[Result]:
    """The checks of one engine; they need a GPU."""
    title = f"{library} {graph.title}: "
    cpu = Network(bundle, "onnxruntime", graph.precision, None, graph.io)
    gpu = Network(bundle, library, graph.precision, None, graph.io)
    yield _attempt(title + GPU_CHECKS[0], lambda: _parity(cpu, gpu, graph))
    yield _attempt(title + GPU_CHECKS[1], lambda: _captured(gpu, graph))
    yield _attempt(title + GPU_CHECKS[2], lambda: _threads(gpu, graph))
    yield _attempt(title + GPU_CHECKS[3], lambda: _on_stream(gpu, bundle, library, graph))
    yield _attempt(title + GPU_CHECKS[4], lambda: _outside(gpu, graph))
    yield _attempt(title + GPU_CHECKS[5], lambda: _memory(gpu, graph))


def _parity(cpu: Network, gpu: Network, graph: Graph) -> str:
    want, got = _run(cpu, graph, 1), _run(gpu, graph, 1)
    psnr = _psnr(got, want)
    least = budget("hr", graph.precision, graph.io).min_psnr_db or 0.0
    if graph.io == uint8_images.IO and graph.precision == "fp32":
        least = 20 * float(np.log10(255))  # a step everywhere
    assert psnr >= least, f"{psnr:.1f} dB against the CPU, {least:.0f} are the budget"
    return f"{psnr:.1f} dB against the CPU"


def _captured(gpu: Network, graph: Graph) -> str:
    runs = [_run(gpu, graph, seed=1).tobytes() for _ in range(4)]  # plain, captured, replayed twice
    assert len(set(runs)) == 1, "a replayed graph differs from the plain run"
    return "plain and replayed runs are identical"


def _threads(gpu: Network, graph: Graph) -> str:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - this check alone

    want = [_run(gpu, graph, seed).tobytes() for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        got = [x.tobytes() for x in pool.map(lambda seed: _run(gpu, graph, seed), range(8))]
    assert got == want, "a run among threads differs from the same run alone"
    return "8 threads"


def _on_stream(gpu: Network, bundle: Bundle, library: str, graph: Graph) -> str:
    from runtime.backends.cuda_arrays import DeviceArray  # noqa: PLC0415
    from runtime.backends.tensorrt import open_engine  # noqa: PLC0415 - a GPU is there

    session = open_engine(library, bundle.read_graph(graph), bundle.folder)  # type: ignore[arg-type]
    stream = Device.open().stream()
    random = np.random.default_rng(1)
    scale = bundle.manifest.scale
    shapes = {"hr": (1, 3, scale * SIDE, scale * SIDE)}
    if graph.direction == "inverse":
        shapes = {"lr": (1, 3, SIDE, SIDE)}
        if graph.latents:
            zs = gpu.latent_shapes(1, SIDE, SIDE)
            shapes |= {f"z{i}": shape for i, shape in enumerate(zs, start=1)}
    floats = {name: uint8_images.noise(random, shape) for name, shape in shapes.items()}
    host: Mapping[str, np.ndarray[Any, Any]] = floats
    if graph.io == uint8_images.IO:
        host = uint8_images.inputs(floats)
    given, staged = {}, []
    for name, value in host.items():
        given[name] = DeviceArray(stream, value.shape, value.dtype)
        staged.append(stream.device.pinned(value.shape, value.dtype))
        staged[-1].array[...] = value
        stream.upload(given[name].pointer, staged[-1])
    want = session.run(host)
    for name, array in session.enqueue(given, stream.handle).items():
        pinned = stream.device.pinned(array.shape, array.dtype)
        stream.download(pinned, array.pointer)
        stream.synchronise()
        assert np.array_equal(pinned.array, want[name]), f"'{name}' differs from the host's run"
    return "equal to host arrays"


def _outside(gpu: Network, graph: Graph) -> str:
    try:
        _run(gpu, graph, 1, height=OUTSIDE, width=1)  # narrow: it need not fit into memory
    except HcflowError as error:
        return str(error)
    raise BackendError(f"a height of {OUTSIDE} was not refused")


def _latents() -> str:
    from runtime.backends.cuda_arrays import DeviceArray  # noqa: PLC0415 - a GPU is there
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
        pinned = device.pinned(array.shape, array.dtype)
        stream.download(pinned, array.pointer)
        stream.synchronise()
        assert np.array_equal(pinned.array.view(np.uint32), region.values().view(np.uint32)), (
            f"{region} differs"
        )
        count += pinned.array.size
        pinned.free()
    return f"{count} values"


def _memory(gpu: Network, graph: Graph) -> str:
    _run(gpu, graph, 1)
    before, _ = Device.open().memory()
    for seed in range(MANY_RUNS):
        _run(gpu, graph, seed)
    after, _ = Device.open().memory()
    assert before - after <= 1 << 20, f"{(before - after) / 1e6:.1f} MB are gone"
    return f"{max(0, before - after)} bytes of difference"


def _psnr(got: np.ndarray[tuple[int, ...], np.dtype[np.float32]], want: object) -> float:
    mse = float(np.mean(np.square(np.asarray(got, np.float64) - np.asarray(want, np.float64))))
    return -10 * float(np.log10(mse)) if mse > 0 else float("inf")
