"""Cost against size: `python -m benchmarks.size_cost`. Seconds of `upscale` for eight sizes.

The log-log slope of seconds against pixels is 1 where twice the pixels cost twice the time. It is
fitted over all sizes; small images pay for what does not depend on size.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

import hcflow
from hcflow_ref.images.photographs import photograph

SIDES = (32, 48, 64, 96, 128, 192, 256, 384)
"""Of the square LR images."""


def measure(rounds: int, sides: Sequence[int] = SIDES) -> dict[int, float]:
    """Least seconds of `upscale` by side, with the fastest choice for this machine."""
    model = hcflow.load(backend="auto", precision="auto")
    picture = Image.fromarray(photograph("astronaut"))
    images = {side: picture.resize((side, side)) for side in sides}
    for image in images.values():
        model.upscale(image)
    found = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for side, image in images.items():
            start = time.perf_counter()
            model.upscale(image)
            found[side] = min(found[side], time.perf_counter() - start)
    return found


def slope(seconds: dict[int, float]) -> float:
    """The log-log slope of seconds against pixels, by least squares."""
    pixels = np.log([side**2 for side in seconds])
    return float(np.polyfit(pixels, np.log(list(seconds.values())), 1)[0])


def table(seconds: dict[int, float]) -> str:
    """Sizes across, in Markdown."""
    cells = " | ".join(f"{4 * side}²" for side in seconds)
    costs = " | ".join(f"{value / side**2 * 1e6:.1f}" for side, value in seconds.items())
    head = "|---" * (len(seconds) + 1) + "|"
    return f"| output | {cells} |\n{head}\n| µs an LR pixel | {costs} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    seconds = measure(parser.parse_args().rounds)
    print(table(seconds), f"log-log slope: {slope(seconds):.2f}", sep="\n\n")


if __name__ == "__main__":
    main()
