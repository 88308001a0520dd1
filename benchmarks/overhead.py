"""What the runtime costs beside its network: `python -m benchmarks.overhead BUNDLE [--side 64]`.

`upscale()` is run with the network's result at hand, so that what is left is the host's part:
reading pixels, cutting, clipping, rounding. Printed as a share of the bare call of the network, in
processor time of one thread, medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import runtime


def share(bundle: Path, backend: str, side: int, tau: float, rounds: int = 5) -> float:
    """Host time of upscaling a square of `side` LR pixels / time of its network alone.

    The square must fit into one window.
    """
    model = runtime.load(bundle, backend=backend, threads=1)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    compute, calls = model.network.run, list[tuple[Any, Any, Any]]()

    def recording(graph: Any, feeds: Any) -> Any:
        calls.append((graph, feeds, compute(graph, feeds)))
        return calls[-1][2]

    model.network.run = recording  # type: ignore[method-assign]
    model.upscale(image, tau=tau)
    ((graph, feeds, outputs),) = calls
    model.network.run = lambda graph, feeds: outputs  # type: ignore[method-assign]
    host = [_seconds(lambda: model.upscale(image, tau=tau)) for _ in range(rounds)]
    bare = [_seconds(lambda: compute(graph, feeds)) for _ in range(rounds)]
    return statistics.median(host) / statistics.median(bare)


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--side", type=int, action="append")
    arguments = parser.parse_args()
    print("| backend | LR image | τ | host / graph |\n|---|---|---|---|")
    for backend in ("onnxruntime", "openvino"):
        for side in arguments.side or (64, 128):
            for tau in (0.0, 1.0):
                part = share(arguments.bundle, backend, side, tau)
                print(f"| {backend} | {side}×{side} | {tau:g} | {part:.2%} |", flush=True)


if __name__ == "__main__":
    main()
