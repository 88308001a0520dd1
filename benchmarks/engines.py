"""Engines of every network and precision, compiled by TensorRT-RTX on this machine: one table.

    python -m benchmarks.engines [--networks rescale_x4,sr_x4,sr_x8] [--json]

Compiled for compute capability 8.0, 8.6, 8.9 and 12.0 together, LR 40×40, batch 1; full-size
networks with synthetic weights. Memory is what the compiler reports. The last column holds each
engine's scratch and weights against the naive fp32 export's of the same network.
"""

from __future__ import annotations

import argparse
import copy
import json
from typing import Any

import onnx
import onnx_ir as ir

from benchmarks.naive import naive_inverse
from export import contract, graph, trace
from export.artifact import deploy
from export.engine_compile import compile_graph
from export.engine_options import EngineOptions
from export.engine_profile import Sizes, profile
from hcflow_ref.config import OFFICIAL
from hcflow_ref.hcflow import HCFlow
from hcflow_ref.synthetic import synthetic
from runtime.engines import Profile, Range

SIDE = 40
SIZES = Sizes((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE))
OPTIONS = EngineOptions("tensorrt-rtx", SIZES)


def ours(model: HCFlow, direction: Any, precision: Any) -> bytes:
    traced = trace.trace(deploy(model, direction, precision, True))
    boundary = contract.boundary(model.config, direction, True)
    return ir.to_proto(graph.to_onnx(traced, *boundary, {})).SerializeToString()


def naive_ranges(model: HCFlow) -> Profile:
    shapes = [(3, SIDE, SIDE), *model.config.latent_shapes(SIDE, SIDE)]
    names = ["lr", *(f"z{j + 1}" for j in range(len(shapes) - 1))]
    return {n: Range(*((1, *s),) * 3) for n, s in zip(names, shapes, strict=True)}


def figures(network: str, title: str, data: bytes, ranges: Profile) -> dict[str, Any]:
    compiled = compile_graph(data, ranges, "fp32", OPTIONS)
    memory = compiled.record.memory()
    return {
        "network": network,
        "graph": title,
        "megabytes": len(compiled.data) / 1e6,
        "seconds": compiled.seconds,
        "scratch": (memory.scratch or 0) / 1e6,
        "weights": (memory.weights or 0) / 1e6,
    }


def rows(network: str) -> list[dict[str, Any]]:
    model = synthetic(OFFICIAL[network])
    naive = naive_inverse(copy.deepcopy(model))
    found = [figures(network, "naive inverse fp32", naive, naive_ranges(model))]
    for direction in ("inverse", "forward"):
        for precision in ("fp32", "fp16"):
            data = ours(model, direction, precision)
            ranges = profile(onnx.load_from_string(data), SIZES)
            found.append(figures(network, f"{direction} {precision}", data, ranges))
    whole = found[0]["scratch"] + found[0]["weights"]
    return [row | {"against_naive": (row["scratch"] + row["weights"]) / whole} for row in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(OFFICIAL))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = [row for network in arguments.networks.split(",") for row in rows(network)]
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    print("| network | graph | engine MB | seconds | scratch MB | weights MB | against naive |")
    print("|---|---|---|---|---|---|---|")
    for r in found:
        print(
            f"| {r['network']} | {r['graph']} | {r['megabytes']:.1f} | {r['seconds']:.1f} | "
            f"{r['scratch']:.1f} | {r['weights']:.1f} | {r['against_naive']:.2f} |"
        )


if __name__ == "__main__":
    main()
