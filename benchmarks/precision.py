"""What each precision of built bundles costs, and which precision down goes with which up.

    python -m benchmarks.precision models bundles/rescale_x4 bundles/sr_x4
    python -m benchmarks.precision pairs bundles/rescale_x4

`models` reads what the builds measured, rounded to float16 after every operator: a row a graph.
`pairs` runs every combination of precision down and up of a rescaling bundle on crops of the four
photographs: through an LR image of 8 bits with z = 0 and with z drawn, and with y and z as the
forward graph gave them, where a matched pair must undo itself but for rounding. There it is ONNX
Runtime, optimisation off: Q/DQ are computed as written.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hcflow_ref.images.photographs import PHOTOGRAPHS, photograph
from runtime.bundle.manifest import ANY_MACHINE, Direction, Graph, Precision
from runtime.bundle.reader import Bundle
from runtime.latents import draw

SIDE = 128
DRAWN_TAU = 0.1

Arrays = dict[str, NDArray[np.float32]]


def models(bundles: Iterable[Bundle]) -> Iterator[str]:
    """Lines of the table of what builds measured: of graphs with latents, which are whole."""
    yield (
        "| graph | size / fp32 | nodes | casts | in INT8 | loss, hold-out | largest loss, "
        "photographs | least PSNR to fp32 | largest error |"
    )
    yield "|---" * 9 + "|"
    for bundle in bundles:
        graphs = [graph for graph in bundle.manifest.graphs if graph.latents]
        size = {graph.direction: graph.bytes for graph in graphs if graph.precision == "fp32"}
        for graph in graphs:
            if graph.precision != "fp32":
                cells = _cells(bundle, graph, size[graph.direction])
                yield f"| {bundle.manifest.name} {graph.direction} {graph.precision} | {cells} |"


def _cells(bundle: Bundle, graph: Graph, fp32_bytes: int) -> str:
    share = hold_out = "–"
    if graph.report is not None:
        report: dict[str, Any] = json.loads((bundle.folder / graph.report).read_text())
        if "int8" in report:
            share = f"{report['int8']['multiply_adds']:.1%}"
            hold_out = f"{report['int8']['hold_out_loss_db']:.3f} dB"
    psnr = min(row.psnr_fp32_db for row in graph.losses if row.psnr_fp32_db is not None)
    errors = [row.max_abs for row in graph.losses if row.max_abs is not None]
    largest = f"{max(errors) * 255:.1f}/255" if errors else "–"
    return (
        f"{graph.bytes / fp32_bytes:.3f} | {graph.nodes} | {graph.casts} | {share} | {hold_out} | "
        f"{max(row.loss_db for row in graph.losses):.4f} dB | {psnr:.1f} dB | {largest}"
    )


def pairs(bundle: Bundle, tau: float) -> Iterator[str]:
    """Lines of the table of matched and mixed precisions."""
    down = {p: _session(bundle, "forward", p) for p in ANY_MACHINE}
    up = {p: _session(bundle, "inverse", p) for p in ANY_MACHINE}
    crops = {name: _crop(name) for name in PHOTOGRAPHS}
    encoded: dict[tuple[str, str], Arrays] = {}
    for (precision, session), (name, truth) in product(down.items(), crops.items()):
        names = [output.name for output in session.get_outputs()]
        values = session.run(None, {"hr": truth})
        encoded[precision, name] = dict(zip(names, values, strict=True))
    yield f"| down | up | 8 bits, z = 0 | 8 bits, z drawn at τ = {tau:g} | y and z kept |"
    yield "|---" * 5 + "|"
    for a, b in product(ANY_MACHINE, ANY_MACHINE):
        figures: list[list[float]] = [[], [], []]
        for name, truth in crops.items():
            kept = encoded[a, name]
            y8 = (np.rint(kept["lr"].clip(0, 1) * 255) / 255).astype(np.float32)
            zs = {key: value for key, value in kept.items() if key != "lr"}
            none = {key: np.zeros_like(value) for key, value in zs.items()}
            latents = draw([z.shape[1:] for z in zs.values()], tau)
            drawn = dict(zip(zs, latents, strict=True))
            for found, feeds in zip(
                figures, ({"lr": y8} | none, {"lr": y8} | drawn, kept), strict=True
            ):
                found.append(_psnr(up[b].run(None, feeds)[0], truth))
        zero, sampled, exact = (float(np.mean(each)) for each in figures)
        yield f"| {a} | {b} | {zero:.3f} | {sampled:.3f} | {exact:.1f} |"


def _session(
    bundle: Bundle, direction: Direction, precision: Precision
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    graph = bundle.graph(direction, precision, True)
    return onnxruntime.InferenceSession(bundle.read_graph(graph), options)


def _crop(name: str) -> NDArray[np.float32]:
    """The photograph's centre, 1×3×side×side in [0, 1]."""
    image = photograph(name)
    top, left = ((size - SIDE) // 2 for size in image.shape[:2])
    pixels = image[top : top + SIDE, left : left + SIDE]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def _psnr(image: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    error = (image.clip(0, 1).astype(np.float64) - truth)[:, :, 4:-4, 4:-4]
    return float(-10 * np.log10(np.mean(error**2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", choices=("models", "pairs"))
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--tau", type=float, default=DRAWN_TAU, help="of drawn z, in pairs")
    arguments = parser.parse_args()
    opened = [Bundle.open(folder) for folder in arguments.bundles]
    lines = models(opened) if arguments.table == "models" else pairs(opened[0], arguments.tau)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
