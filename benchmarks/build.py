"""How long a build takes, by stage, and its peak memory: official networks, or a checkpoint.

    python -m benchmarks.build [CHECKPOINT ...]

Seconds of exporting and checking both directions (`export`), and of certifying their tiles
(`tiles`). Without a checkpoint the official networks are built with synthetic weights.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hcflow_ref.checkpoint.load import save
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.synthetic_weights import synthetic

BUILD_AND_PEAK = """
import atexit, runpy
from runtime.system import machine
atexit.register(lambda: print("peak", machine.peak_memory()))
runpy.run_module("export.build", run_name="__main__", alter_sys=True)
"""


def build_in_a_process(*arguments: str | Path) -> tuple[dict[str, float], int]:
    """Seconds of a build by the line before each stage, and its peak memory in bytes."""
    command = [sys.executable, "-c", BUILD_AND_PEAK, *arguments]
    spent = {"export": 0.0, "tiles": 0.0}
    part, since = "export", time.monotonic()
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            now = time.monotonic()
            spent[part] += now - since
            part, since = "tiles" if "certify" in line else "export", now
        last = process.stdout.read().splitlines()[-1].split()
    spent[part] += time.monotonic() - since
    assert process.returncode == 0
    assert last[0] == "peak"
    return spent, int(last[1])


def checkpoints(folder: Path) -> Iterator[Path]:
    for name, config in OFFICIAL.items():
        path = folder / f"{name}.safetensors"
        save(synthetic(config), path, {"weights": "synthetic, seed 0"})
        yield path


def main() -> None:
    print("| checkpoint | export, s | tiles, s | peak, GB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for path in map(Path, sys.argv[1:]) if sys.argv[1:] else checkpoints(Path(folder)):
            output = Path(folder) / path.stem
            spent, peak = build_in_a_process("--checkpoint", path, "--output", output)
            figures = f"{spent['export']:.0f} | {spent['tiles']:.0f} | {peak / 1e9:.2f}"
            print(f"| `{path.stem}` | {figures} |", flush=True)


if __name__ == "__main__":
    main()
