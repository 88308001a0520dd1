"""A large image, file to file: `python -m benchmarks.large [--output 7680x4320] [--rounds 1]`.

`hcflow upscale` of a photograph with the default model and the fastest choice for this machine
(`--backend auto --precision auto`), start to exit, against the fastest naive thing that can do it:
a script that runs the naive export in OpenVINO, compiled for the window, over the same tiles. Times
by the clock, peak resident memory, and megapixels of output a second; on a machine with nothing
else on it, after one run on a small image, which brings the model into the caches.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from benchmarks.harness import cached_naive
from hcflow.models.shipped import DEFAULT, resolve
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from hcflow_ref.images.photographs import photograph
from runtime.bundle.reader import Bundle

NAIVE = """
import sys
import numpy as np, openvino
from PIL import Image
from runtime.inference.grid import Grid
graph, source, output = sys.argv[1:4]
image = np.asarray(Image.open(source), np.float32) / 255
grid = Grid(*image.shape[:2], *map(int, sys.argv[4:]))
core = openvino.Core()
model = core.read_model(graph)
rows, columns = grid.window
shapes = {"lr": [1, 3, rows, columns]}
for name, (channels, factor) in zip(["z1", "z2"], LATENTS):
    shapes[name] = [1, channels, rows * factor, columns * factor]
model.reshape(shapes)
options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
run = core.compile_model(model, "CPU", options)
feeds = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
large = np.empty((4 * image.shape[0], 4 * image.shape[1], 3), np.uint8)
for tile in grid.tiles():
    window = image[tile.y.window(1), tile.x.window(1)]
    hr = run({**feeds, "lr": window.transpose(2, 0, 1)[None]})["hr"][0].transpose(1, 2, 0)
    part = hr[tile.y.core_in_window(4), tile.x.core_in_window(4)]
    large[tile.y.core(4), tile.x.core(4)] = np.rint(part.clip(0, 1) * 255)
Image.fromarray(large).save(output)
"""
_POLL_SECONDS = 0.05


def measure(width: int, height: int, rounds: int) -> tuple[dict[str, tuple[float, int]], str]:
    """Median seconds and peak bytes by contender, and the grid in words."""
    bundle = resolve()
    graph = Bundle.open(bundle).graph("inverse", "fp32", None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, dot, output = (str(folder / each) for each in ("small.png", "dot.png", "out.png"))
        picture = Image.fromarray(photograph("astronaut"))
        picture.resize((width // 4, height // 4), Image.Resampling.BICUBIC).save(small)
        picture.resize((16, 16)).save(dot)
        model = load(weights(DEFAULT)).model
        naive = folder / "naive.onnx"
        naive.write_bytes(cached_naive(model))
        script = folder / "naive.py"
        latents = [(c, h // 4) for c, h, _ in model.config.latent_shapes(4, 4)]
        script.write_text(NAIVE.replace("LATENTS", repr(latents)), encoding="ascii")
        ours = [str(Path(sys.executable).with_name("hcflow")), "upscale", "-o", output]
        ours += ["--backend", "auto", "--precision", "auto"]
        grid = [str(graph.tile), str(graph.overlap)]
        _run([*ours, dot])
        commands = {
            "hcflow upscale": [*ours, small],
            "naive script, OpenVINO fp32": [
                *(sys.executable, str(script), str(naive), small, output),
                *grid,
            ],
        }
        found: dict[str, list[tuple[float, int]]] = {each: [] for each in commands}
        for _ in range(rounds):
            for contender, command in commands.items():
                found[contender].append(_run(command))
    medians = {
        contender: (statistics.median(s for s, _ in each), max(peak for _, peak in each))
        for contender, each in found.items()
    }
    return medians, f"tile {graph.tile}, overlap {graph.overlap}"


def _run(command: list[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of a program; its own, not of what started it."""
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines():
                    peak = max(peak, int(line.split()[1]) * 1024 if "VmHWM" in line else 0)
            time.sleep(_POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with exit code {process.returncode}")
    return time.perf_counter() - start, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", default="7680x4320")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    width, height = map(int, arguments.output.split("x"))
    found, grid = measure(width, height, arguments.rounds)
    yardstick = found["naive script, OpenVINO fp32"][0]
    print(f"Output {width}×{height}; {grid}; {arguments.rounds} round(s).\n")
    print("| file to file | / naive | seconds | megapixels a second | peak GB |")
    print("|---|---|---|---|---|")
    for contender, (seconds, peak) in found.items():
        rate = width * height / 1e6 / seconds
        print(
            f"| {contender} | {seconds / yardstick:.2f} | {seconds:.0f} | {rate:.3f} | "
            f"{peak / 1e9:.2f} |"
        )


if __name__ == "__main__":
    main()
