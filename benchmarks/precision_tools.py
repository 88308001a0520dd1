"""Our fp16 and int8 against what the field's tools make of the same fp32 graph, at their defaults.

    python -m venv other && other/bin/pip install onnxconverter-common onnx
    python -m benchmarks.precision_tools BUNDLE --calibration DIR --other other/bin/python

ONNX Runtime's static quantiser and onnxconverter-common's float16 (whose pins may differ from
ours, hence an environment of its own) get the bundle's fp32 inverse; the quantiser calibrates on
the same crops as ours. Every graph runs on the crops that ours was chosen on and on those of the
four photographs, at τ = 0, in ONNX's reference evaluator, which rounds after every operator.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from export.folded.fold import GraphSpec
from export.precision.evaluation import Trial, inputs_of, photograph_trials
from export.precision.lower import read_crops
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from runtime.bundle.manifest import ANY_MACHINE
from runtime.bundle.reader import Bundle

CONVERT = """
import sys, onnx
from onnxconverter_common import float16
onnx.save(float16.convert_float_to_float16(onnx.load(sys.argv[1])), sys.argv[2])
"""


class Conv(OpRun):
    """Accumulates in float32 and rounds once; the evaluator's own is too slow for a network."""

    op_domain = ""

    def _run(
        self, x: NDArray[Any], w: NDArray[Any], b: Any = None, **options: Any
    ) -> tuple[NDArray[Any]]:
        x32, w32 = (torch.from_numpy(a.astype(np.float32)) for a in (x, w))
        bias = None if b is None else torch.from_numpy(b.astype(np.float32))
        pads = options["pads"] or [0, 0, 0, 0]
        found = F.conv2d(x32, w32, bias, options["strides"] or 1, tuple(pads[:2]))
        return (found.numpy().astype(x.dtype),)


class Feeds(CalibrationDataReader):  # type: ignore[misc]
    """One calibration crop after the other."""

    def __init__(self, trial: Trial) -> None:
        self._left = iter([split(trial, i) for i in range(len(trial.truth))])

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        """The next crop's inputs."""
        return next(self._left, None)


def split(trial: Trial, index: int) -> dict[str, NDArray[Any]]:
    return {name: values[index : index + 1] for name, values in trial.inputs.items()}


def quantised_by_onnxruntime(graph: Path, made: Path, trial: Trial) -> None:
    quantize_static(graph, made, Feeds(trial))


def halved_by_onnxconverter(graph: Path, made: Path, other: Path) -> None:
    subprocess.run([other, "-c", CONVERT, graph, made], check=True)


def images(graph: Path, trial: Trial) -> Iterator[NDArray[np.float64]]:
    model = onnx.load(graph)
    half = model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    evaluator = ReferenceEvaluator(model, new_ops=[Conv])
    for index in range(len(trial.truth)):
        feeds = {k: v.astype(np.float16) if half else v for k, v in split(trial, index).items()}
        found = evaluator.run(["hr"], feeds)
        assert isinstance(found, list)
        hr = np.asarray(found[0])
        yield np.clip(hr[0].astype(np.float64), 0, 1)


def psnr(image: NDArray[Any], truth: NDArray[Any], border: int) -> float:
    error = (image - truth)[:, border:-border, border:-border]
    mean = float(np.mean(np.square(error)))
    return -10 * float(np.log10(mean)) if np.isfinite(mean) and mean > 0 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--other", type=Path, help="Python with onnxconverter-common")
    arguments = parser.parse_args()
    bundle = Bundle.open(arguments.bundle)
    model = load(weights(bundle.manifest.name)).network
    scale = model.config.scale
    crops = read_crops(model, arguments.calibration, lambda line: print(line, file=sys.stderr))
    calibration = inputs_of(model, GraphSpec("inverse"), crops.calibrate, 0.0)
    named = photograph_trials(scale)
    sets = {
        "hold-out": inputs_of(model, GraphSpec("inverse"), crops.hold_out, 0.0),
        "four photographs": inputs_of(
            model, GraphSpec("inverse"), np.concatenate([truth for _, truth in named]), 0.0
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Path] = {}
        for precision in ANY_MACHINE:
            made[f"ours, {precision}"] = Path(folder) / f"{precision}.onnx"
            entry = bundle.graph("inverse", precision, True)
            made[f"ours, {precision}"].write_bytes(bundle.read_graph(entry))
        graph = made["ours, fp32"]
        if arguments.other:
            made["onnxconverter-common, float16"] = Path(folder) / "half.onnx"
            halved_by_onnxconverter(graph, made["onnxconverter-common, float16"], arguments.other)
        made["ONNX Runtime, quantize_static"] = Path(folder) / "static.onnx"
        quantised_by_onnxruntime(graph, made["ONNX Runtime, quantize_static"], calibration)
        print(f"`{bundle.manifest.name}`, inverse, τ = 0; PSNR to fp32 is the worst of a set.\n")
        print("| graph | size / fp32 | " + " | ".join(f"loss, {k} | to fp32" for k in sets) + " |")
        print("|---" * (2 + 2 * len(sets)) + "|")
        exact = {name: list(images(graph, trial)) for name, trial in sets.items()}
        for title, path in made.items():
            if path == graph:
                continue
            cells = [f"{path.stat().st_size / graph.stat().st_size:.3f}"]
            for name, trial in sets.items():
                low = list(images(path, trial))
                rows = list(zip(low, exact[name], trial.truth, strict=True))
                loss = np.mean([psnr(e, t, scale) - psnr(x, t, scale) for x, e, t in rows])
                worst = min(psnr(x, e, scale) for x, e, _ in rows)
                cells += [f"{loss:.3f} dB", f"{worst:.1f} dB"]
            print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
