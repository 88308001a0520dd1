"""What a training step costs by batch, patch and precision: `python -m benchmarks.training_speed`.

Steps of one process and one thread on random patches; prints a Markdown table of HR pixels a
second, as ratios to the first row. Kinds take turns, several steps each: oneDNN keeps the kernels
of one or two kinds at a time, and would otherwise make them anew for every step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.harness import about
from hcflow_ref.training.config.toml_file import read_config
from hcflow_ref.training.distributed import Process
from hcflow_ref.training.setup import build
from hcflow_ref.training.step import take_step

CONFIG = Path(__file__).parents[1] / "configs" / "hcflow_rescaling_x4_cpu.toml"
KINDS = (
    *((batch, patch, False) for batch, patch in ((4, 80), (8, 80))),
    *((batch, patch, True) for batch, patch in ((2, 80), (4, 80), (8, 80), (16, 80), (22, 48))),
)
"""Batch, side of a patch, and whether networks are in bfloat16."""

STEPS = 3
"""That are timed in a round."""


class Contender:
    """A run that takes steps, and the seconds that each has taken."""

    def __init__(self, config: Path, batch: int, patch: int, bf16: bool) -> None:
        read = read_config(config)
        self.config = replace(
            read,
            network=replace(read.network, init=""),
            schedule=replace(read.schedule, actnorm_steps=0),
            data=replace(read.data, batch=batch, patch=patch),
            run=replace(read.run, bf16=bf16),
        )
        self.process = Process(torch.device("cpu"))
        self.state, self.losses = build(self.config, self.process)
        self.seconds: list[float] = []

    def take_steps(self, count: int) -> None:
        """Time so many, after one in which kernels are made."""
        data = self.config.data
        for index in range(1 + count):
            hr = torch.rand(data.batch, 3, data.patch, data.patch)
            began = time.perf_counter()
            take_step(self.state, self.losses, hr, self.config, self.process)
            if index:
                self.seconds.append(time.perf_counter() - began)

    @property
    def rate(self) -> float:
        """Steps a second."""
        return 1 / statistics.median(self.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, nargs="?", default=CONFIG)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    contenders = [Contender(options.config, *kind) for kind in KINDS]
    for _ in range(options.rounds):
        for each in contenders:
            each.take_steps(STEPS)
    print(about(1, options.rounds))
    print("| batch | patch | networks in | steps a second | pixels a second |")
    print("|---|---|---|---|---|")
    first = _pixels(contenders[0])
    for each in contenders:
        data, kind = each.config.data, "bf16" if each.config.run.bf16 else "fp32"
        ratio = _pixels(each) / first
        print(
            f"| {data.batch} | {data.patch}×{data.patch} | {kind} | {each.rate:.2f} | {ratio:.2f} |"
        )


def _pixels(each: Contender) -> float:
    """HR pixels a second."""
    return each.rate * each.config.data.batch * each.config.data.patch**2


if __name__ == "__main__":
    main()
