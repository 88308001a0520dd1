"""What TensorRT-RTX makes of every network, precision and form of dense blocks: one table.

    python -m benchmarks.programs [--networks rescale_x4,sr_x4,sr_x8] [--write FILE.json]
    python -m benchmarks.programs --publish FILE.json …      # the table into docs/engines.md

Inverse graphs of full size with synthetic weights, LR 40×40, batch 1, compiled for compute
capability 8.9 and read out of the plan (`export.engine.plan`): no GPU is needed, and none of this
is a time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from benchmarks.engines import TITLES, ours, write_between
from calib.encodings import FP8, INT8, INT8_PER_TENSOR, Encoding
from export.engine.compile import compile_graph
from export.engine.options import EngineOptions
from export.engine.profile import Sizes, profile
from export.forms.choice import preferred
from export.forms.rewrite import FORMS, Form, rewrite
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.synthetic_weights import synthetic
from runtime.backends.tensorrt_engine import load_library
from runtime.bundle.engines.program import Program

SIDE, CAPABILITY = 40, "8.9"
SIZES = Sizes((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE))
OPTIONS = EngineOptions("tensorrt-rtx", SIZES, (CAPABILITY,))
BEGIN, END = "<!-- programs: make benchmark-programs -->", "<!-- /programs -->"

TRIED: Mapping[str, Sequence[Form]] = {
    "fp16": FORMS,
    "fp32": ("flat", "pass-through", "sums", "folded"),
}
EIGHT_BITS: Mapping[str, tuple[str, Encoding, str]] = {
    "int8 for CPUs": ("int8", INT8, "parts"),
    "int8 for rtx": ("int8", INT8_PER_TENSOR, "nested"),
    "fp8 for rtx": ("fp8", FP8, "nested"),
}
"""Precision, encoding, and how the build joined dense blocks: no form is left to choose."""

Row = dict[str, Any]


def program(graph: bytes, form: Form, options: EngineOptions = OPTIONS) -> Program:
    """What becomes of a graph at LR 40×40 with its dense blocks in a form.

    Raises:
        SystemExit: the program of this version's engines is not known.
    """
    model = rewrite(onnx.load_from_string(graph), form)
    ranges = profile(model, options.sizes)
    compiled = compile_graph(model.SerializeToString(), (ranges,), "fp16", options)
    if compiled.program is None:
        raise SystemExit(f"engines of TensorRT-RTX {_version()} are not read")
    return compiled.program.entry()


def rows(network: str) -> Iterator[Row]:
    """Every program of a network's inverse."""
    model = synthetic(OFFICIAL[network])
    for precision, forms in TRIED.items():
        graph = ours(model, "inverse", precision)
        for form in forms:
            yield _row(network, precision, form, program(graph, form))
    for title, (precision, encoding, joined) in EIGHT_BITS.items():
        graph = ours(model, "inverse", precision, encoding)
        yield _row(network, title, joined, program(graph, "flat"))


def _row(network: str, precision: str, form: str, found: Program) -> Row:
    return {
        "network": network,
        "precision": precision,
        "form": form,
        "convolutions": sum(found.convolutions.values()),
        "fused": found.fused,
        "others": found.others,
        "bytes": found.bytes,
        "operations": sum((found.operations or {}).values()),
    }


def table(found: Sequence[Row]) -> list[str]:
    """Markdown; the form that engines get by themselves is bold."""
    lines = [
        "| up | precision | dense blocks | convolutions (fused) | others | MB | multiply-adds |",
        "|---|---|---|---|---|---|---|",
    ]
    flat = {row["network"]: row for row in found if row["form"] == "flat"}
    for row in found:
        chosen = preferred(row["precision"], (CAPABILITY,)) == row["form"]
        cells = [
            TITLES[row["network"]],
            row["precision"],
            f"**{row['form']}**" if chosen else row["form"],
            f"{row['convolutions']} ({row['fused']})",
            str(row["others"]),
            f"{row['bytes'] / 1e6:.1f}",
            f"{row['operations'] / flat[row['network']]['operations']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def publish(found: Sequence[Row], version: str) -> None:
    """Put the table between its marks."""
    about = [
        f"Programs of TensorRT-RTX {version} for compute capability {CAPABILITY}: inverse graphs",
        f"of full size, LR {SIDE}×{SIDE}, batch 1. MB are activations that kernels read and write;",
        "bold is what engines get by themselves, multiply-adds are against flat fp32.",
    ]
    write_between(BEGIN, END, [*about, "", *table(found)])


def _version() -> str:
    return str(load_library("tensorrt-rtx").__version__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(TITLES))
    parser.add_argument("--write", type=Path, help="also keep the figures as JSON")
    parser.add_argument("--publish", type=Path, nargs="+", help="figures for docs/engines.md")
    arguments = parser.parse_args()
    if arguments.publish:
        kept = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.publish]
        publish([row for each in kept for row in each["rows"]], kept[0]["version"])
        return
    found: list[Row] = []
    for network in arguments.networks.split(","):
        for row in rows(network):
            found.append(row)
            if arguments.write:
                figures = {"version": _version(), "rows": found}
                arguments.write.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
