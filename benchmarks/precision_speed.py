"""How long each precision takes in OpenVINO against the naive export: one run, one table.

    python -m benchmarks.precision_speed rescaling bundles/rescale_x4 [--sides 40,128]
    python -m benchmarks.precision_speed general --photographs DIR

`rescaling` takes the inverse graphs of a built bundle; `general` is the full general SR ×4 with
synthetic weights, every candidate in INT8 (the line above the table has its loss on the folder's
hold-out). Rounds are interleaved; figures are medians, as ratios to the naive export in fp32 and in
bf16. Every contender is compiled for the shape at hand, with the same threads.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from benchmarks.harness import (
    LOW,
    Feeds,
    Runner,
    about,
    cached_naive,
    inputs,
    measure,
    our_inverse,
    runner,
)
from calib import images
from calib.qdq import place
from export.folded.fold import GraphSpec, deploy
from export.graph import emit, trace
from export.precision import int8
from export.precision.evaluation import evaluator, inputs_of
from export.precision.int8_candidates import prepare
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.synthetic_weights import synthetic
from runtime.bundle.manifest import ANY_MACHINE, Precision
from runtime.bundle.reader import Bundle

FP32, BF16 = "naive export, fp32", "naive export, bf16"
CALIBRATION_SIDE = 24
"""LR side of the crops for the synthetic network: enough for ranges, and seconds to run."""


def of_bundle(folder: Path) -> tuple[HCFlow, dict[Precision, bytes], str]:
    bundle = Bundle.open(folder)
    model = load(weights(bundle.manifest.name)).model
    graphs = {p: bundle.read_graph(bundle.graph("inverse", p, True)) for p in ANY_MACHINE}
    return model, graphs, f"`{bundle.manifest.name}`"


def general(photographs: Path) -> tuple[HCFlow, dict[Precision, bytes], str]:
    model = synthetic(OFFICIAL["sr_x4"])
    exact: tuple[Precision, ...] = ("fp32", "fp16")
    graphs = {p: our_inverse(model, p) for p in exact}
    crops = images.crops(photographs, CALIBRATION_SIDE * model.config.scale, print)
    spec = GraphSpec("inverse", "fp16")
    traced = trace.trace(deploy(model, spec))
    graph = evaluator(model, spec, traced)
    trials = [inputs_of(model, spec, crops.calibrate[:2], tau) for tau in (0.0, 0.9)]
    prepared = prepare(graph, trials, print)
    low = prepared.quantised("percentile", prepared.work)
    hold_out = inputs_of(model, spec, crops.hold_out[:2], 0.0)
    loss = int8.loss_on(graph, hold_out)(low)
    emitted = emit.to_onnx(traced, model.config, spec)
    ranges = prepared.ranges["percentile"]
    place(
        emitted,
        {path.replace(".", "/"): ranges[path] for path in low},
        {conv.path.replace(".", "/"): conv.largest for conv in prepared.candidates},
    )
    graphs["int8"] = ir.to_proto(emitted).SerializeToString()
    share = sum(prepared.work.values())
    return model, graphs, f"general SR ×4, {share:.0%} in INT8, loss {loss:.3f} dB"


def contenders(
    graphs: dict[Precision, bytes], naive: bytes, feeds: Feeds, threads: int
) -> Iterator[tuple[str, Runner]]:
    yield FP32, runner(naive, "openvino", threads, feeds)
    yield BF16, runner(naive, "openvino", threads, feeds, LOW)
    for name, data in graphs.items():
        yield f"ours, {name}", runner(data, "openvino", threads, feeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", choices=("rescaling", "general"))
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--sides", default="40,128", help="of the LR image")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prepare", action="store_true", help="only what is cached between runs")
    arguments = parser.parse_args()
    if arguments.network == "rescaling":
        model, graphs, title = of_bundle(arguments.bundle)
    else:
        model, graphs, title = general(arguments.photographs)
    naive = cached_naive(model)
    if arguments.prepare:
        return
    print(f"{title}; {about(arguments.threads, arguments.rounds)}\n")
    print("| inverse, OpenVINO | output | / naive fp32 | / naive bf16 |\n|---|---|---|---|")
    for side in map(int, arguments.sides.split(",")):
        feeds = inputs(model, side)
        runs = dict(contenders(graphs, naive, feeds, arguments.threads))
        seconds = measure(runs, feeds, arguments.rounds)
        for name, time in seconds.items():
            output = f"{side * model.config.scale}×{side * model.config.scale}"
            print(
                f"| {name} | {output} | {time / seconds[FP32]:.2f} | {time / seconds[BF16]:.2f} |"
            )


if __name__ == "__main__":
    main()
