"""Which precision down for which precision up: all pairs of a rescaling bundle, on photographs.

    python -m benchmarks.precision bundles/rescale_x4

Every combination of precision down and up of a rescaling bundle, on crops of the four photographs:
through an 8-bit LR image with z = 0, and with z kept and y unrounded, where a matched pair must
undo itself but for rounding. ONNX Runtime, optimisation off: Q/DQ are computed as written.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime

from hcflow_ref.photographs import PHOTOGRAPHS, photograph
from runtime.bundle import Bundle
from runtime.manifest import PRECISIONS, Direction

SIDE = 256


def session(bundle: Bundle, direction: Direction, precision: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    graph = bundle.graph(direction, precision, True)  # type: ignore[arg-type]
    return onnxruntime.InferenceSession(bundle.read_graph(graph), options)


def crop(name: str) -> np.ndarray:
    """The photograph's centre, 1×3×side×side in [0, 1]."""
    image = photograph(name)
    top, left = ((size - SIDE) // 2 for size in image.shape[:2])
    pixels = image[top : top + SIDE, left : left + SIDE]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    error = (image.clip(0, 1).astype(np.float64) - truth)[:, :, 4:-4, 4:-4]
    return float(-10 * np.log10(np.mean(error**2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    bundle = Bundle.open(parser.parse_args().bundle)
    down = {p: session(bundle, "forward", p) for p in PRECISIONS}
    up = {p: session(bundle, "inverse", p) for p in PRECISIONS}
    photographs = {name: crop(name) for name in PHOTOGRAPHS}
    encoded = {
        (p, name): dict(zip([o.name for o in s.get_outputs()], s.run(None, {"hr": x}), strict=True))
        for (p, s), (name, x) in product(down.items(), photographs.items())
    }
    print(f"mean PSNR in dB, {SIDE}×{SIDE} centres of {', '.join(PHOTOGRAPHS)}\n")
    print("| down | up | LR of 8 bits, z = 0 | y and z kept |")
    print("|---|---|---|---|")
    for a, b in product(PRECISIONS, PRECISIONS):
        rounded, kept = [], []
        for name, truth in photographs.items():
            outputs = encoded[a, name]
            y8 = (np.rint(outputs["lr"].clip(0, 1) * 255) / 255).astype(np.float32)
            none = {k: np.zeros_like(v) for k, v in outputs.items() if k != "lr"}
            rounded.append(psnr(up[b].run(None, {"lr": y8} | none)[0], truth))
            kept.append(psnr(up[b].run(None, outputs)[0], truth))
        print(f"| {a} | {b} | {np.mean(rounded):.3f} | {np.mean(kept):.1f} |")


if __name__ == "__main__":
    main()
