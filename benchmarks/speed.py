"""Ours against what anyone would try first, on this machine's processors: one run, one table.

    python -m benchmarks.speed [--rounds 5] [--threads 2] [--network rescaling] [--json]

Every contender gets the same inputs, threads, number of rounds and its runtime's full optimisation
(OpenVINO compiles for the shape at hand). Rounds are interleaved, so that a slow moment of the
machine strikes all alike; the table shows medians as ratios to the naive export in OpenVINO.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import statistics
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

from benchmarks.naive import naive_inverse
from export import contract, graph, trace
from export.artifact import NUMERICS, deploy
from hcflow.models import cache
from hcflow_ref.checkpoint import load
from hcflow_ref.config import OFFICIAL
from hcflow_ref.hcflow import HCFlow
from hcflow_ref.models import DEFAULT, weights
from hcflow_ref.synthetic import synthetic
from runtime import atomic, machine
from runtime.backends import Expecting, Session, open_session
from runtime.latents import draw
from runtime.manifest import Numerics, Precision

SIZES = (40, 128)
"""Sides of the square LR images: outputs of 160×160 and 512×512."""

YARDSTICK = "naive, OpenVINO fp32"
BF16 = "naive, OpenVINO bf16"

Feeds = Mapping[str, NDArray[np.float32]]
Runner = Callable[[Feeds], NDArray[np.float32]]


def networks() -> dict[str, HCFlow]:
    """What is measured: the shipped weights where they are full size, else synthetic ones."""
    return {
        "rescaling ×4, trained": load(weights(DEFAULT)).model,
        "general SR ×4, synthetic weights": synthetic(OFFICIAL["sr_x4"]),
    }


def our_inverse(model: HCFlow, precision: Precision = "fp32") -> bytes:
    """ONNX bytes of the folded inverse."""
    traced = trace.trace(deploy(model, "inverse", precision, True))
    emitted = graph.to_onnx(traced, *contract.boundary(model.config, "inverse", True), {})
    return ir.to_proto(emitted).SerializeToString()


def cached_naive(model: HCFlow, ours: bytes) -> bytes:
    """The naive export, which takes minutes, kept in the user's cache by what it is made from."""
    facts = (
        ours + torch.__version__.encode() + Path(naive_inverse.__code__.co_filename).read_bytes()
    )
    file = cache() / "benchmarks" / f"naive.{hashlib.sha256(facts).hexdigest()[:16]}.onnx"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(file, naive_inverse(copy.deepcopy(model)))
    return file.read_bytes()


def inputs(model: HCFlow, side: int) -> dict[str, NDArray[np.float32]]:
    """Noise as the LR image, and the latents of seed 0."""
    feeds = {"lr": np.random.default_rng(0).random((1, 3, side, side), np.float32)}
    for j, (c, h, w) in enumerate(model.config.latent_shapes(side, side)):
        feeds[f"z{j + 1}"] = draw(0, 0, j + 1, c, 0, 0, h, w)[None]
    return feeds


def contenders(
    model: HCFlow, ours: bytes, half: bytes, naive: bytes, threads: int, feeds: Feeds
) -> tuple[dict[str, Runner], dict[str, str]]:
    """What can run here, by name, and why the others cannot."""

    def session(data: bytes, backend: str, numerics: Numerics = NUMERICS) -> Runner:
        opened: Session = open_session(backend, data, numerics, threads)
        if isinstance(opened, Expecting):
            opened.expect({name: value.shape for name, value in feeds.items()})
        return lambda given: opened.run(given)["hr"]

    def eager(given: Feeds) -> NDArray[np.float32]:
        lr, *zs = (torch.from_numpy(x) for x in given.values())
        with torch.inference_mode():
            result: NDArray[np.float32] = model.inverse(lr, zs).numpy()
        return result

    compiled = torch.compile(model.inverse)

    def compiled_by_torch(given: Feeds) -> NDArray[np.float32]:
        lr, *zs = (torch.from_numpy(x) for x in given.values())
        with torch.inference_mode():
            result: NDArray[np.float32] = compiled(lr, zs).numpy()
        return result

    runs: dict[str, Runner] = {
        YARDSTICK: session(naive, "openvino"),
        "PyTorch eager": eager,
        "torch.compile": compiled_by_torch,
        "naive, ONNX Runtime": session(naive, "onnxruntime"),
        "ours fp32, ONNX Runtime": session(ours, "onnxruntime"),
        "ours fp32, OpenVINO": session(ours, "openvino"),
        "ours fp16, OpenVINO": session(half, "openvino"),
    }
    absent: dict[str, str] = {}
    if machine.cpu_flags().isdisjoint({"avx512_bf16", "amx_bf16"}):
        absent[BF16] = "the processor has no bf16"
    else:
        bf16 = replace(NUMERICS, openvino_precision_hint="bf16")
        runs[BF16] = session(naive, "openvino", bf16)
    try:
        compiled_by_torch(feeds)
    except Exception as error:  # a compiler of C++ may be missing, or fail
        del runs["torch.compile"]
        absent["torch.compile"] = " ".join(str(error).split())[:120]
    return runs, absent


def measure(runs: Mapping[str, Runner], feeds: Feeds, rounds: int) -> dict[str, float]:
    """Median seconds of each."""
    for run in runs.values():
        run(feeds)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(feeds)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def about(threads: int, rounds: int) -> str:
    """Processor, library versions and how it was measured."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next(line for line in facts.splitlines() if line.startswith("model name"))
    vectors = "AVX-512" if "avx512f" in machine.cpu_flags() else "AVX2"
    return (
        f"{model.split(':')[1].strip()}, {machine.usable_cpus()} cores, {vectors}; PyTorch "
        f"{torch.__version__}, ONNX Runtime {onnxruntime.__version__}, OpenVINO "
        f"{openvino.__version__.split('-')[0]}; {threads} threads, medians of {rounds} "
        "interleaved rounds"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--network", default="", help="only networks whose name holds this")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results: list[dict[str, object]] = []
    for name, model in networks().items():
        if arguments.network not in name:
            continue
        ours, half = our_inverse(model), our_inverse(model, "fp16")
        naive = cached_naive(model, ours)
        for side in SIZES:
            feeds = inputs(model, side)
            runs, absent = contenders(model, ours, half, naive, arguments.threads, feeds)
            medians = measure(runs, feeds, arguments.rounds)
            for contender, seconds in medians.items():
                ratio = seconds / medians[YARDSTICK]
                results.append(
                    {"network": name, "output": 4 * side, "contender": contender, "ratio": ratio}
                )
            for contender, why in absent.items():
                results.append(
                    {"network": name, "output": 4 * side, "contender": contender, "absent": why}
                )
    if arguments.json:
        print(json.dumps({"machine": about(arguments.threads, arguments.rounds), "rows": results}))
        return
    print(about(arguments.threads, arguments.rounds) + "\n")
    columns = list(dict.fromkeys((row["network"], row["output"]) for row in results))
    print(
        "| time / naive, OpenVINO fp32 | " + " | ".join(f"{n}, {s}×{s}" for n, s in columns) + " |"
    )
    print("|---" * (len(columns) + 1) + "|")
    for contender in dict.fromkeys(row["contender"] for row in results):
        cells = []
        for column in columns:
            row = next(
                r
                for r in results
                if r["contender"] == contender and (r["network"], r["output"]) == column
            )
            cells.append(f"{row['ratio']:.2f}" if "ratio" in row else str(row["absent"]))
        print(f"| {contender} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
