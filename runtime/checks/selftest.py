"""Checks of this machine with one bundle: what holds, what does not, what could not be tried."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from runtime import backends
from runtime.backends.cuda.device import Device, gpu_missing
from runtime.backends.cuda.stream import Stream
from runtime.bundle.engines.entry import LIBRARIES
from runtime.bundle.graph_kinds import preferred
from runtime.bundle.reader import Bundle
from runtime.checks import engine_checks
from runtime.checks.outcome import CheckError, Result, attempt, require
from runtime.checks.verify import check_graphs
from runtime.inference.network import Network
from runtime.latents import Region

if TYPE_CHECKING:
    pass


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
                yield from engine_checks.check_engine(bundle, library, graph, device or 0)


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
    runs = {engine_checks.run_random(network, graph, seed=1).tobytes() for _ in range(3)}
    require(len(runs) == 1, "three runs of one input differ")
    return "three runs of one input are identical"


def check_latents(ordinal: int = 0) -> str:
    """Draw latents on the GPU of that number and compare their bits with the CPU's.

    Raises:
        CheckError: they differ.
        BackendError: the GPU failed.
    """
    from runtime.backends.cuda.arrays import DeviceArray  # noqa: PLC0415 - only with a GPU
    from runtime.backends.cuda.latents import Drawer  # noqa: PLC0415

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
            drawn = engine_checks.download(stream, array)
            same = np.array_equal(drawn.view(np.uint32), region.values().view(np.uint32))
            require(same, f"{region} differs")
            count += drawn.size
    return f"{count} values"


LATENTS_CHECK = "latents drawn on the GPU are the CPU's to the bit"
GPU_CHECKS = (*engine_checks.ENGINE_CHECKS, LATENTS_CHECK)
"""The checks that only a GPU allows."""
