"""What the measurements of speed share: contenders' graphs, inputs, a clock, and the machine."""

from __future__ import annotations

import copy
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import openvino
import torch
from numpy.typing import NDArray

from benchmarks import naive
from export.artifact import NUMERICS
from export.folded.fold import GraphSpec, deploy
from export.graph import emit, trace
from hcflow_ref.network.hcflow import HCFlow
from runtime.backends import open_session
from runtime.backends.session import ExpectsShapes, Session
from runtime.bundle.manifest import Direction, Numerics, Precision
from runtime.latents import draw
from runtime.system import atomic, machine
from runtime.system.cache import user_cache

LOW = replace(NUMERICS, openvino_precision_hint="bf16")

Feeds = Mapping[str, NDArray[np.float32]]
Runner = Callable[[Feeds], NDArray[np.float32]]


def our_inverse(model: HCFlow, precision: Precision = "fp32") -> bytes:
    """ONNX bytes of the folded inverse."""
    spec = GraphSpec("inverse", precision)
    emitted = emit.to_onnx(trace.trace(deploy(model, spec)), model.config, spec)
    data: bytes = ir.to_proto(emitted).SerializeToString()
    return data


def cached_naive(model: HCFlow, direction: Direction = "inverse") -> bytes:
    """The naive export, which takes minutes, kept in the user's cache by what it is made from."""
    facts = hashlib.sha256(f"{torch.__version__} {direction}".encode())
    facts.update(Path(naive.__file__).read_bytes())
    for name, value in sorted(model.state_dict().items()):
        facts.update(name.encode() + value.numpy().tobytes())
    file = (
        (user_cache() or Path(tempfile.gettempdir()))
        / "benchmarks"
        / f"naive.{facts.hexdigest()[:16]}.onnx"
    )
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        export = naive.naive_inverse if direction == "inverse" else naive.naive_forward
        atomic.write(file, export(copy.deepcopy(model)))
    return file.read_bytes()


def inputs(model: HCFlow, side: int) -> dict[str, NDArray[np.float32]]:
    """Noise as the LR image, and the latents of seed 0."""
    feeds = {"lr": np.random.default_rng(0).random((1, 3, side, side), np.float32)}
    latents = draw(model.config.latent_shapes(side, side), tau=1.0)
    feeds |= {f"z{level}": z for level, z in enumerate(latents, start=1)}
    return feeds


def runner(
    data: bytes, backend: str, threads: int, feeds: Feeds, numerics: Numerics = NUMERICS
) -> Runner:
    """A graph's image, in a backend that knows the shapes beforehand where it can."""
    session: Session = open_session(backend, data, numerics, threads)
    if isinstance(session, ExpectsShapes):
        session.expect({name: value.shape for name, value in feeds.items()})
    return lambda given: session.run(given)["hr"]


def measure(
    runs: Mapping[str, Runner],
    feeds: Feeds,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each by a clock."""
    timed = time_rounds(runs, feeds, rounds, clock)
    return {name: statistics.median(times) for name, times in timed.items()}


def time_rounds(
    runs: Mapping[str, Runner],
    feeds: Feeds,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each in every round by a clock; rounds are interleaved, after one run of each."""
    for run in runs.values():
        run(feeds)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            run(feeds)
            seconds[name].append(clock() - start)
    return seconds


def about(threads: int, rounds: int, clock: str = "time") -> str:
    """Processor, library versions and how it was measured."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next(line for line in facts.splitlines() if line.startswith("model name"))
    vectors = "AVX-512" if "avx512f" in machine.cpu_flags() else "AVX2"
    return (
        f"{model.split(':')[1].strip()}, {machine.usable_cpus()} cores, {vectors}; PyTorch "
        f"{torch.__version__}, ONNX Runtime {onnxruntime.__version__}, OpenVINO "
        f"{openvino.__version__.split('-')[0]}; {threads} threads, {clock}, "
        f"medians of {rounds} interleaved rounds"
    )
