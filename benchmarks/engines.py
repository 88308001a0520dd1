"""Engines of every network, direction and precision, compiled by TensorRT-RTX: one table.

    python -m benchmarks.engines [--networks rescale_x4,sr_x4,sr_x8] [--write FILE.json]
    python -m benchmarks.engines --publish FILE.json …       # the table into docs/engines.md

Full-size networks with synthetic weights, LR from 8×8 to 40×40, batch 1, for compute capability
8.0, 8.6, 8.9 and 12.0 together. Memory is what the compiler reports: scratch and weights. INT8 is
in every convolution that may have it, with ranges of no meaning: what is compiled does not hang on
them.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch

from benchmarks.naive import naive_inverse
from calib.encodings import INT8, Encoding
from calib.encodings import LARGEST as LARGEST_WEIGHT
from calib.qdq import place
from export.engine.compile import compile_graph
from export.engine.options import EngineOptions
from export.engine.profile import Sizes, profile
from export.folded.fold import GraphSpec, deploy
from export.graph import emit, trace
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.synthetic_weights import synthetic
from runtime.backends.tensorrt_engine import load_library
from runtime.bundle.engines.entry import Profile, Range

SMALLEST, LARGEST = 8, 40
SIZES = Sizes((SMALLEST, SMALLEST), (LARGEST, LARGEST), (LARGEST, LARGEST))
OPTIONS = EngineOptions("tensorrt-rtx", SIZES)
PRECISIONS = ("fp32", "fp16", "int8")
TITLES = {"rescale_x4": "rescaling ×4", "sr_x4": "general SR ×4", "sr_x8": "face SR ×8"}
BEGIN, END = "<!-- engines: make benchmark-engines -->", "<!-- /engines -->"
RANGE = 4.0
"""Magnitude of every INT8 convolution's input."""

Row = dict[str, Any]


def ours(model: HCFlow, direction: Any, precision: Any, encoding: Encoding = INT8) -> bytes:
    """A graph as a build makes it; of int8 and fp8 the encoding."""
    spec = GraphSpec(direction, precision)
    traced = trace.trace(deploy(model, spec))
    emitted = emit.to_onnx(traced, model.config, spec)
    if precision in ("int8", "fp8"):
        chosen = [
            str(node.target).replace(".", "/")
            for node in traced.graph.nodes
            if node.op == "call_module"
            and traced.get_parameter(f"{node.target}.weight").dtype == torch.float16
        ]
        ranges, largest = dict.fromkeys(chosen, RANGE), dict.fromkeys(chosen, LARGEST_WEIGHT)
        place(emitted, ranges, largest, encoding)
    return bytes(ir.to_proto(emitted).SerializeToString())


def ranges(data: bytes) -> Profile:
    """Accepted shapes of a graph of ours."""
    return profile(onnx.load_from_string(data), SIZES)


def naive_ranges(model: HCFlow) -> Profile:
    """The same shapes under the names of the naive export."""
    sides = [[(3, side, side), *model.config.latent_shapes(side, side)] for side in _sides()]
    names = ["lr", *(f"z{j + 1}" for j in range(len(sides[0]) - 1))]
    shapes = zip(*sides, strict=True)
    return {n: Range(*((1, *s) for s in each)) for n, each in zip(names, shapes, strict=True)}


def _sides() -> tuple[int, int, int]:
    return SMALLEST, LARGEST, LARGEST


def figures(network: str, kind: str, precision: Any, data: bytes, shapes: Profile) -> Row:
    """Compile one graph."""
    compiled = compile_graph(data, (shapes,), precision, OPTIONS)
    memory = compiled.record.memory()
    return {
        "network": network,
        "graph": kind,
        "precision": precision,
        "megabytes": len(compiled.data) / 1e6,
        "seconds": compiled.seconds,
        "memory": ((memory.scratch or 0) + (memory.weights or 0)) / 1e6,
    }


def naive(network: str, model: HCFlow) -> Row:
    """The naive export of a network's inverse, in fp32."""
    data = naive_inverse(copy.deepcopy(model))
    return figures(network, "naive", "fp32", data, naive_ranges(model))


def rows(network: str) -> list[Row]:
    """Every engine of a network."""
    model = synthetic(OFFICIAL[network])
    found = [naive(network, model)]
    for direction in ("inverse", "forward"):
        for precision in PRECISIONS:
            data = ours(model, direction, precision)
            found.append(figures(network, direction, precision, data, ranges(data)))
    return found


def table(found: Sequence[Row]) -> list[str]:
    """Markdown; each cell holds fp32, fp16 and int8."""
    lines = [
        "| graph | engine MB | seconds | scratch and weights MB | against the naive fp32 export |",
        "|---|---|---|---|---|",
    ]
    for network in dict.fromkeys(row["network"] for row in found):
        of = [row for row in found if row["network"] == network]
        (base,) = (row for row in of if row["graph"] == "naive")
        for kind, title in (("naive", "naive"), ("inverse", "up"), ("forward", "down")):
            cells = [row for row in of if row["graph"] == kind]
            columns = [
                *(" / ".join(f"{r[key]:.0f}" for r in cells) for key in ("megabytes",)),
                " / ".join(f"{r['seconds']:.1f}" for r in cells),
                " / ".join(f"{r['memory']:.1f}" for r in cells),
                "1"
                if kind == "naive"
                else " / ".join(f"{r['memory'] / base['memory']:.2f}" for r in cells)
                if kind == "inverse"
                else "",
            ]
            lines.append(f"| {TITLES[network]}, {title} | {' | '.join(columns)} |")
    return lines


def publish(found: Sequence[Row], where: str) -> None:
    """Put the table between its marks."""
    about = [
        "Engines of the full-size networks, LR up to 40×40, for compute capability 8.0 to 12.0 at",
        f"once, fp32 / fp16 / int8, dense blocks flat; {where}.",
        "Every engine with a convolution takes 8.2 MB of scratch of its own",
        "([below](#memory)).",
    ]
    write_between(BEGIN, END, [*about, "", *table(found)])


def write_between(begin: str, end: str, lines: Sequence[str]) -> None:
    """Put lines between two marks of docs/engines.md."""
    path = Path(__file__).parents[1] / "docs" / "engines.md"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    path.write_text(before + "\n".join([begin, *lines, end]) + after, encoding="utf-8")


def _where() -> str:
    version = load_library("tensorrt-rtx").__version__
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    load = os.getloadavg()[1]  # of five minutes; a compilation by itself keeps about one core busy
    busy = f", beside other work (load {load:.0f})" if load > len(names) + 0.5 else ""
    cores = f"{names[0] if names else platform.machine()}, {len(names)} cores"
    return f"{cores}, TensorRT-RTX {version}{busy}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(TITLES))
    parser.add_argument("--write", type=Path, help="also keep the figures as JSON")
    parser.add_argument("--publish", type=Path, nargs="+", help="figures for docs/engines.md")
    arguments = parser.parse_args()
    if arguments.publish:
        kept = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.publish]
        publish([row for each in kept for row in each["rows"]], kept[0]["where"])
        return
    found = []
    for network in arguments.networks.split(","):
        found += rows(network)
        if arguments.write:
            arguments.write.write_text(json.dumps({"where": _where(), "rows": found}, indent=1))
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
