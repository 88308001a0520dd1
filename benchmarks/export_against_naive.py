"""Our fp32 graph, the eager reference, and a naive export: one run, one table of ratios.

    python -m benchmarks.export_against_naive [--rounds 7] [--json]

Every contender gets the same inputs, threads and number of rounds, interleaved, so that a slow
moment of the machine strikes all alike; the table shows medians as ratios to the naive export.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch

from benchmarks.naive import naive_inverse
from export.artifact import NUMERICS
from export.folded.fold import GraphSpec, deploy
from export.graph import emit, trace
from hcflow.models.shipped import DEFAULT
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.synthetic_weights import synthetic
from runtime.backends import open_session
from runtime.latents import draw

SIZES = (40, 128)
"""Sides of the square LR images: outputs of 160×160 and 512×512."""


Runner = Callable[[dict[str, np.ndarray]], np.ndarray]


def machine() -> str:
    """Processor, cores and library versions."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next(line for line in facts.splitlines() if line.startswith("model name"))
    vectors = "AVX-512" if "avx512f" in facts else "AVX2" if "avx2" in facts else "no AVX2"
    return (
        f"{model.split(':')[1].strip()}, {len(os.sched_getaffinity(0))} cores, {vectors}; "
        f"PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}"
    )


def our_inverse(model: HCFlow) -> bytes:
    """ONNX bytes of the folded inverse."""
    spec = GraphSpec("inverse")
    emitted = emit.to_onnx(trace.trace(deploy(model, spec)), model.config, spec)
    return ir.to_proto(emitted).SerializeToString()


def contenders(model: HCFlow, threads: int) -> tuple[dict[str, Runner], dict[str, int]]:
    """Callables from feeds to the HR image, and node counts."""
    ours, naive = our_inverse(model), naive_inverse(copy.deepcopy(model))
    session, naive_session = (
        open_session("onnxruntime", g, NUMERICS, threads) for g in (ours, naive)
    )

    def eager(feeds: dict[str, np.ndarray]) -> np.ndarray:
        lr, *zs = (torch.from_numpy(x) for x in feeds.values())
        with torch.no_grad():
            return model.inverse(lr, zs).numpy()

    runs = {
        "PyTorch eager": eager,
        "naive export": lambda feeds: naive_session.run(feeds)["hr"],
        "ours": lambda feeds: session.run(feeds)["hr"],
    }
    nodes = {
        "naive export": len(onnx.load_from_string(naive).graph.node),
        "ours": len(onnx.load_from_string(ours).graph.node),
    }
    return runs, nodes


def measure(model: HCFlow, runs: dict[str, Runner], side: int, rounds: int) -> dict[str, object]:
    """Medians at one size as ratios, and how far the contenders' images differ."""
    feeds = {"lr": np.random.default_rng(0).random((1, 3, side, side), np.float32)}
    latents = draw(model.config.latent_shapes(side, side), tau=1.0)
    feeds |= {f"z{level}": z for level, z in enumerate(latents, start=1)}
    images = {name: run(feeds) for name, run in runs.items()}  # warm-up, too
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(feeds)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "lr": side,
        "ratio": {name: medians[name] / medians["naive export"] for name in runs},
        "largest difference": float(
            max(np.abs(image - images["PyTorch eager"]).max() for image in images.values())
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    networks = {
        "rescaling ×4, trained": load(weights(DEFAULT)).model,
        "general SR ×4, full size, synthetic weights": synthetic(OFFICIAL["sr_x4"]),
    }
    results = []
    for name, model in networks.items():
        runs, nodes = contenders(model, arguments.threads)
        for side in SIZES:
            figures = measure(model, runs, side, arguments.rounds)
            results.append({"network": name, "nodes": nodes} | figures)
    if arguments.json:
        print(json.dumps({"machine": machine(), "results": results}, indent=1))
        return
    print(f"{machine()}; {arguments.threads} threads, {arguments.rounds} interleaved rounds\n")
    print("| inverse, fp32 | output | PyTorch eager | naive export | ours | nodes, naive → ours |")
    print("|---|---|---|---|---|---|")
    for r in results:
        ratio, nodes, side = r["ratio"], r["nodes"], 4 * r["lr"]
        print(
            f"| {r['network']} | {side}×{side} | {ratio['PyTorch eager']:.2f} | 1 | "
            f"**{ratio['ours']:.2f}** | {nodes['naive export']} → {nodes['ours']} |"
        )


if __name__ == "__main__":
    main()
