"""Start to exit: `python -m benchmarks.start [--rounds 9]`, on a machine with nothing else on it.

`hcflow upscale --model rescale_x4` of a 64×64 file, as installed beside this interpreter, with and
without `--exact`, against the least that enlarges the same file by a naive export in ONNX Runtime:
read, run, write, no tiles, no digests, no errors in words. Rounds are interleaved; medians of the
time by the clock and of the processors' time, after one run of each. Of the smallest script also
its network alone.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from benchmarks.harness import cached_naive
from hcflow.models.shipped import DEFAULT
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from hcflow_ref.images.photographs import photograph
from runtime.system import machine

SIDE = 64
"""Of the image that goes in."""

LEAST = """
import sys, time
import numpy as np, onnxruntime
from PIL import Image
graph, source, output, threads = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
image = np.asarray(Image.open(source), np.float32).transpose(2, 0, 1)[None] / 255
names = [each.name for each in session.get_inputs() if each.name != "lr"]
sizes = dict(zip(names, LATENTS))
zeros = {name: np.zeros((1, *sizes[name]), np.float32) for name in names}
start = time.perf_counter(), time.process_time()
(large,) = session.run(None, {"lr": image, **zeros})
print(time.perf_counter() - start[0], time.process_time() - start[1])
large = np.rint(large[0].clip(0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)
Image.fromarray(large).save(output)
"""


def measure(rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds by the clock and of processors, by contender."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "small.png"
        Image.fromarray(photograph("astronaut")).resize((SIDE, SIDE)).save(source)
        model = load(weights(DEFAULT)).model
        naive = folder / "naive.onnx"
        naive.write_bytes(cached_naive(model))
        script = folder / "least.py"
        shapes = repr(model.config.latent_shapes(SIDE, SIDE))
        script.write_text(LEAST.replace("LATENTS", shapes), encoding="ascii")
        threads = str(machine.usable_cpus())
        ours = [str(Path(sys.executable).with_name("hcflow")), "upscale", "--model", DEFAULT]
        ours += [str(source), "-o", str(folder / "ours.png")]
        commands = {
            "hcflow upscale": ours,
            "hcflow upscale --exact": [*ours, "--exact"],
            "smallest script, naive export": [
                *(sys.executable, str(script), str(naive), str(source)),
                *(str(folder / "naive.png"), threads),
            ],
        }
        times: dict[str, list[tuple[float, float]]] = {}
        alone: list[tuple[float, float]] = []
        for round_ in range(rounds + 1):
            for contender, command in commands.items():
                seconds, said = _run(command)
                if round_:
                    times.setdefault(contender, []).append(seconds)
                    if said:
                        wall, used = map(float, said.split())
                        alone.append((wall, used))
    times["its network alone"] = alone
    return {
        contender: (
            statistics.median(wall for wall, _ in each),
            statistics.median(used for _, used in each),
        )
        for contender, each in times.items()
    }


def _run(command: list[str]) -> tuple[tuple[float, float], str]:
    """Seconds by the clock and of processors of a program, and what it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (wall, used), done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print("| start to exit | seconds | of processors |\n|---|---|---|")
    for contender, (wall, used) in measure(rounds).items():
        print(f"| {contender} | {wall:.2f} | {used:.2f} |")


if __name__ == "__main__":
    main()
