"""A folder of mixed sizes against one of one size: `python -m benchmarks.folders [--images 500]`.

Both hold as many images with the same pixels in all; `hcflow upscale FOLDER` converts each, start
to exit, in interleaved rounds. Images a second, and the ratio: 1 where sizes cost nothing, which
needs that no backend compiles for an image's size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import about
from hcflow.models.shipped import UPSCALES
from hcflow_ref.images.photographs import PHOTOGRAPHS, photograph
from runtime.system import machine

SIDES = (32, 160)
"""Least and largest side of the mixed images, in LR pixels."""

MIXED, ALIKE = "mixed sizes", "one size"


def sizes(images: int) -> list[tuple[int, int]]:
    """Heights and widths of the mixed images, drawn with a fixed seed."""
    drawn = np.random.default_rng(0).integers(SIDES[0], SIDES[1] + 1, (images, 2))
    return [(int(height), int(width)) for height, width in drawn]


def fill(folder: Path, wanted: Sequence[tuple[int, int]]) -> None:
    """Write one image of each size, cut out of the evaluation photographs in turn."""
    folder.mkdir()
    for number, (height, width) in enumerate(wanted):
        picture = photograph(PHOTOGRAPHS[number % len(PHOTOGRAPHS)])
        Image.fromarray(picture[:height, :width]).save(folder / f"{number:05d}.png")


def measure(images: int, rounds: int, jobs: int, model: str) -> dict[str, list[float]]:
    """Seconds of each folder in every round."""
    mixed = sizes(images)
    side = round(statistics.mean(height * width for height, width in mixed) ** 0.5)
    seconds: dict[str, list[float]] = {MIXED: [], ALIKE: []}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        fill(root / MIXED, mixed)
        fill(root / ALIKE, [(side, side)] * images)
        fill(root / "first", [(side, side)])
        _run(root / "first", root / "none", jobs, model)  # fills the caches
        for number in range(rounds):
            for folder, times in seconds.items():
                start = time.perf_counter()
                _run(root / folder, root / f"{folder} {number}", jobs, model)
                times.append(time.perf_counter() - start)
    return seconds


def _run(source: Path, output: Path, jobs: int, model: str) -> None:
    program = str(Path(sys.executable).with_name("hcflow"))
    command = [program, "upscale", str(source), "-o", str(output), "--model", model]
    subprocess.run([*command, "--jobs", str(jobs)], check=True, capture_output=True)


def table(seconds: Mapping[str, Sequence[float]], images: int) -> str:
    """Images a second of both folders, and their ratio, in Markdown."""
    rates = {folder: images / statistics.median(times) for folder, times in seconds.items()}
    rows = [f"| {name} | {rate:.2f} | {rate / rates[ALIKE]:.2f} |" for name, rate in rates.items()]
    return "\n".join([f"| {images} images | a second | / {ALIKE} |", "|---|---|---|", *rows])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--model", default=UPSCALES)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    seconds = measure(given.images, given.rounds, given.jobs, given.model)
    if given.json:
        print(json.dumps({"images": given.images, "seconds": seconds}))
    else:
        print(about(machine.usable_cpus(), given.rounds), table(seconds, given.images), sep="\n\n")


if __name__ == "__main__":
    main()
