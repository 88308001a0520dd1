"""What the C++ runtime costs: beside the bare graph call, and from its start to the first pixels.

    python -m benchmarks.cpp [BUNDLE] [--runs 15] [--json]

The overhead is the median over runs of `upscale` / the graph call, at τ = 1 with latents drawn, the
two in turn and each first every other time. The start is the whole life of `hcflow-cpp`: process,
bundle, graph, a 64×64 PNG in, a 256×256 PNG out, with the compiled graph kept from an earlier start
and without, for one thread and for all, beside its parts: to open the graph (read, hash, load what
was kept), its first call, a later call; for a bundle with INT8 graphs also with `--precision auto`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hcflow.models.shipped import resolve
from runtime.bundle.reader import Bundle
from runtime.system import machine

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "runtime" / "cpp"
SIZES = (64, 128)
"""Sides of the LR images; 64 is what the start is measured with."""

Figures = dict[str, Any]


def main() -> None:
    """Measure and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("bundle", nargs="?", help="else the default model's, built where needed")
    arguments.add_argument("--runs", type=int, default=15)
    arguments.add_argument("--json", action="store_true")
    asked = arguments.parse_args()
    bundle = resolve(asked.bundle)
    all_threads = machine.usable_cpus()
    figures: Figures = {"runs": asked.runs, "start": []}
    overhead = build("test", "hcflow-overhead") / "tests" / "hcflow-overhead"
    program = build("release", "hcflow-cpp") / "programs" / "hcflow-cpp"
    figures["overhead"] = [
        overhead_at(overhead, bundle, side, asked.runs, all_threads) for side in SIZES
    ]
    for threads in sorted({1, all_threads}):
        figures["start"].append(start(program, overhead, bundle, asked.runs, threads))
    if any(graph.precision == "int8" for graph in Bundle.open(bundle).manifest.graphs):
        figures["auto"] = start(program, overhead, bundle, asked.runs, all_threads, "auto")["kept"]
    print(json.dumps(figures, indent=1) if asked.json else table(figures))


def build(preset: str, target: str) -> Path:
    """Configure a preset and build a program of it; the preset's folder."""
    for command in (
        ("cmake", "--preset", preset, f"-DHCFLOW_PYTHON={sys.executable}"),
        ("cmake", "--build", "--preset", preset, "--target", target, "--parallel", "2"),
    ):
        subprocess.run(command, cwd=SOURCE, check=True, stdout=subprocess.DEVNULL)
    return ROOT / "build" / "cpp" / preset


def rows_of(
    program: Path, bundle: Path, side: int, runs: int, threads: int, *cache: Path
) -> list[dict[str, float]]:
    """What `hcflow-overhead` says: a row of the start, then one a run."""
    command = (program, bundle, side, side, runs, "openvino", threads, *cache)
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def overhead_at(program: Path, bundle: Path, side: int, runs: int, threads: int) -> Figures:
    """Ratio of `upscale` to the bare call for side × side LR pixels."""
    _, *rows = rows_of(program, bundle, side, runs, threads)
    whole, bare = (statistics.median(row[key] for row in rows) for key in ("upscale", "bare"))
    return {"side": side, "ratio": whole / bare}


def start(
    program: Path, parts: Path, bundle: Path, runs: int, threads: int, precision: str = "fp32"
) -> Figures:
    """Seconds from start to end of the example, the compiled graph kept and not.

    Also its parts, which are of fp32 whatever the precision.
    """
    with tempfile.TemporaryDirectory() as folder:
        small, large, cache = (Path(folder, name) for name in ("small.png", "large.png", "cache"))
        pixels = np.random.default_rng(0).integers(0, 256, (SIZES[0], SIZES[0], 3), np.uint8)
        Image.fromarray(pixels).save(small)
        command: list[str | Path] = [program, "--threads", str(threads), "--precision", precision]
        command += ["--bundle", bundle, small, large]
        environment = {**os.environ, "HCFLOW_CACHE": str(cache)}

        def seconds(*options: str) -> float:
            begin = time.perf_counter()
            subprocess.run([*command[:1], *options, *command[1:]], env=environment, check=True)
            return time.perf_counter() - begin

        seconds()
        # In turn: what drifts hits all.
        kept, begun, later = [], [], []
        for _ in range(runs):
            kept.append(seconds())
            first, *rest = rows_of(parts, bundle, SIZES[0], 1, threads, cache)
            begun.append(first)
            later += [row["bare"] for row in rest]
        return {
            "threads": threads,
            "kept": statistics.median(kept),
            "compiled": statistics.median(seconds("--no-cache") for _ in range(max(runs // 5, 1))),
            "open": statistics.median(row["open"] for row in begun),
            "first": statistics.median(row["first"] for row in begun),
            "later": statistics.median(later),
        }


def table(figures: Figures) -> str:
    """The figures in words."""
    lines = [f"{figures['runs']} runs, OpenVINO, medians"]
    lines += [
        f"overhead of upscale, {row['side']}×{row['side']}: {100 * (row['ratio'] - 1):+.2f} %"
        for row in figures["overhead"]
    ]
    for row in figures["start"]:
        lines.append(
            f"start to first pixels, 64×64, {row['threads']} threads: {row['kept']:.3f} s with the "
            f"compiled graph kept, {row['compiled']:.3f} s without; of it, to open the kept graph "
            f"{row['open']:.3f} s, its first call {row['first']:.3f} s (a later one "
            f"{row['later']:.3f} s)"
        )
    if "auto" in figures:
        lines.append(f"with --precision auto and every thread: {figures['auto']:.3f} s")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
