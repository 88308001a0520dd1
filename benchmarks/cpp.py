"""What the C++ runtime costs: beside the bare graph call, and from its start to the first pixels.

    python -m benchmarks.cpp [--runs 15] [--json]

The overhead is the median over runs of `upscale` / the graph call, at τ = 1 with latents drawn, the
two in turn and each first every other time. The start is the whole life of `hcflow-cpp`: process,
bundle, graph, a 64×64 PNG in, a 256×256 PNG out, with the compiled graph kept from an earlier start
and without, beside the graph call alone.
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

from hcflow.models import resolve
from runtime import machine

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "runtime" / "cpp"
SIZES = (64, 128)
"""Sides of the LR images; 64 is what the start is measured with."""

Figures = dict[str, Any]


def main() -> None:
    """Measure and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=15)
    arguments.add_argument("--json", action="store_true")
    asked = arguments.parse_args()
    bundle = resolve()
    figures: Figures = {"processors": machine.usable_cpus(), "runs": asked.runs}
    overhead = build("test", "hcflow-overhead") / "tests" / "hcflow-overhead"
    figures["overhead"] = [overhead_at(overhead, bundle, side, asked.runs) for side in SIZES]
    figures["start"] = start(
        build("test", "hcflow-cpp") / "programs" / "hcflow-cpp", bundle, asked.runs
    )
    figures["start"]["network"] = figures["overhead"][0]["network"]
    print(json.dumps(figures, indent=1) if asked.json else table(figures))


def build(preset: str, target: str) -> Path:
    """Configure a preset and build a program of it; the preset's folder."""
    for command in (
        ("cmake", "--preset", preset, f"-DHCFLOW_PYTHON={sys.executable}"),
        ("cmake", "--build", "--preset", preset, "--target", target, "--parallel", "2"),
    ):
        subprocess.run(command, cwd=SOURCE, check=True, stdout=subprocess.DEVNULL)
    return ROOT / "build" / "cpp" / preset


def overhead_at(program: Path, bundle: Path, side: int, runs: int) -> Figures:
    """Ratio of `upscale` to the bare call, and the call's seconds, for side × side LR pixels."""
    command = (program, bundle, side, side, runs, "openvino", machine.usable_cpus())
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    ratio = statistics.median(row["upscale"] for row in rows)
    bare = statistics.median(row["bare"] for row in rows)
    return {"side": side, "ratio": ratio / bare, "network": bare}


def start(program: Path, bundle: Path, runs: int) -> Figures:
    """Seconds from start to end of the example, the compiled graph kept and not."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small.png"), Path(folder, "large.png")
        pixels = np.random.default_rng(0).integers(0, 256, (SIZES[0], SIZES[0], 3), np.uint8)
        Image.fromarray(pixels).save(small)
        command = [program, "--bundle", bundle, small, large]
        cached = {**os.environ, "HCFLOW_CACHE": str(Path(folder, "cache"))}

        def seconds(*options: str) -> float:
            begin = time.perf_counter()
            subprocess.run([*command[:1], *options, *command[1:]], env=cached, check=True)
            return time.perf_counter() - begin

        seconds()
        return {
            "kept": statistics.median(seconds() for _ in range(runs)),
            "compiled": statistics.median(seconds("--no-cache") for _ in range(max(runs // 5, 1))),
        }


def table(figures: Figures) -> str:
    """The figures in words."""
    lines = [f"{figures['processors']} processors, {figures['runs']} runs, OpenVINO, medians"]
    lines += [
        f"overhead of upscale, {row['side']}×{row['side']}: {100 * (row['ratio'] - 1):+.2f} %"
        for row in figures["overhead"]
    ]
    begun = figures["start"]
    lines.append(
        f"start to first pixels, 64×64: {begun['kept']:.2f} s with the compiled graph kept, "
        f"{begun['compiled']:.2f} s without; the network alone takes {begun['network']:.2f} s"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
