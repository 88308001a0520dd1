"""Ours against what anyone would try first, on this machine's processors: one run, one table.

    python -m benchmarks.speed --int8 rescaling=BUNDLE --int8 general=PHOTOGRAPHS [--rounds 5]
    python -m benchmarks.speed --network rescaling --side 40 --json > a.json    # in parts …
    python -m benchmarks.speed --merge a.json b.json                            # … and one table

Every contender gets the same inputs, threads, number of rounds and its runtime's full optimisation
(OpenVINO compiles for the shape at hand). Rounds are interleaved, so that a slow moment of the
machine strikes all alike; the table shows medians as ratios to the naive export in OpenVINO.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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
from benchmarks.precision_speed import general
from export.artifact import NUMERICS
from hcflow.models.shipped import DEFAULT
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.synthetic_weights import synthetic
from runtime.bundle.manifest import FILE_NAME, Numerics
from runtime.bundle.reader import Bundle
from runtime.errors import one_line
from runtime.system import machine

SIZES = (40, 128)
"""Sides of the square LR images: outputs of 160×160 and 512×512."""

YARDSTICK = "naive, OpenVINO fp32"
BF16 = "naive, OpenVINO bf16"
COMPILED = "torch.compile"
INT8 = "ours int8, OpenVINO"


def networks() -> dict[str, HCFlow]:
    """What is measured: the shipped weights where they are full size, else synthetic ones."""
    return {
        "rescaling ×4, trained": load(weights(DEFAULT)).model,
        "general SR ×4, synthetic weights": synthetic(OFFICIAL["sr_x4"]),
    }


def int8_inverse(source: Path) -> tuple[bytes, str]:
    """An INT8 inverse and what is known of it: a bundle's, or from photographs for synthetic SR."""
    if (source / FILE_NAME).is_file():
        bundle = Bundle.open(source)
        graph = bundle.graph("inverse", "int8", True)
        kept = "within" if graph.within_budget else "over"
        return bundle.read_graph(graph), f"int8 of `{bundle.manifest.name}`: {kept} its budget"
    with contextlib.redirect_stdout(sys.stderr):  # what it tells meanwhile is no part of the table
        _, graphs, title = general(source)
    return graphs["int8"], title


def contenders(
    model: HCFlow,
    naive: bytes,
    int8: bytes | None,
    threads: int,
    feeds: Feeds,
    skip: Container[str] = (),
) -> tuple[dict[str, Runner], dict[str, str]]:
    """What can run here, by name, and why the others cannot."""

    def session(data: bytes, backend: str, numerics: Numerics = NUMERICS) -> Runner:
        return runner(data, backend, threads, feeds, numerics)

    def by_torch(inverse: Callable[..., torch.Tensor]) -> Runner:
        def run(given: Feeds) -> NDArray[np.float32]:
            lr, *zs = (torch.from_numpy(x) for x in given.values())
            with torch.inference_mode():
                result: NDArray[np.float32] = inverse(lr, zs).numpy()
            return result

        return run

    ours = our_inverse(model)
    runs: dict[str, Runner] = {
        YARDSTICK: session(naive, "openvino"),
        "PyTorch eager": by_torch(model.inverse),
        COMPILED: by_torch(torch.compile(model.inverse, dynamic=False)),
        "naive, ONNX Runtime": session(naive, "onnxruntime"),
        "ours fp32, ONNX Runtime": session(ours, "onnxruntime"),
        "ours fp32, OpenVINO": session(ours, "openvino"),
    }
    absent: dict[str, str] = {}
    if machine.cpu_flags().isdisjoint({"avx512_bf16", "amx_bf16"}):
        absent[BF16] = "the processor has no bf16"
    else:
        runs[BF16] = session(naive, "openvino", LOW)
    if int8 is None:
        absent[INT8] = "no --int8"
    else:
        runs[INT8] = session(int8, "openvino")
    for name in [name for name in runs if name in skip]:
        del runs[name]
        absent[name] = "not measured"
    try:
        if COMPILED in runs:
            runs[COMPILED](feeds)
    except Exception as error:  # a compiler of C++ may be missing, or fail
        del runs[COMPILED]
        absent[COMPILED] = one_line(error)[:120]
    return runs, absent


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Contenders down, networks and sizes across, in Markdown."""
    columns = list(dict.fromkeys((row["network"], row["output"]) for row in results))
    heads = " | ".join(f"{network}, {side}×{side}" for network, side in columns)
    lines = [f"| time / {YARDSTICK} | {heads} |", "|---" * (len(columns) + 1) + "|"]
    for contender in dict.fromkeys(row["contender"] for row in results):
        cells = []
        for column in columns:
            found = [
                row
                for row in results
                if row["contender"] == contender and (row["network"], row["output"]) == column
            ]
            ratio = found[0].get("ratio") if found else None
            cells.append(f"{ratio:.2f}" if ratio else found[0]["absent"] if found else "–")
        lines.append(f"| {contender} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured(arguments: argparse.Namespace) -> tuple[list[str], list[dict[str, Any]]]:
    """Notes, and a row for each contender of each network and size asked for."""
    sources = dict(pair.split("=", 1) for pair in arguments.int8)
    notes, results = list[str](), list[dict[str, Any]]()
    for name, model in networks().items():
        if arguments.network not in name:
            continue
        naive, int8 = cached_naive(model), None
        if source := next((path for key, path in sources.items() if key in name), None):
            int8, note = int8_inverse(Path(source))
            notes.append(note)
        for side in arguments.side or SIZES:
            feeds = inputs(model, side)
            runs, absent = contenders(model, naive, int8, arguments.threads, feeds, arguments.skip)
            clock = time.process_time if arguments.processor_time else time.perf_counter
            medians = measure(runs, feeds, arguments.rounds, clock)
            column = {"network": name, "output": 4 * side}
            for contender, seconds in medians.items():
                ratio = seconds / medians[YARDSTICK]
                results.append({**column, "contender": contender, "ratio": ratio})
            for contender, why in absent.items():
                results.append({**column, "contender": contender, "absent": why})
    return notes, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=machine.usable_cpus())
    parser.add_argument("--network", default="", help="only networks whose name holds this")
    parser.add_argument("--side", type=int, action="append", help="of the LR image; 40 and 128")
    parser.add_argument(
        "--int8",
        action="append",
        default=[],
        metavar="NETWORK=SOURCE",
        help="INT8 for a network whose name holds this: a bundle, or photographs for general SR",
    )
    parser.add_argument(
        "--processor-time", action="store_true", help="of all threads, where others use the machine"
    )
    parser.add_argument("--skip", action="append", default=[], help="a contender, by name")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--merge", nargs="+", type=Path, help="tables of earlier runs by --json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.merge:
        parts = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.merge]
        heads = list(dict.fromkeys(head for part in parts for head in part["about"]))
        results = [row for part in parts for row in part["rows"]]
    else:
        notes, results = measured(arguments)
        clock = "processor time" if arguments.processor_time else "time"
        heads = [about(arguments.threads, arguments.rounds, clock), *notes]
    if arguments.json:
        print(json.dumps({"about": heads, "rows": results}))
    else:
        print("\n".join(heads), table(results), sep="\n\n")


if __name__ == "__main__":
    main()
