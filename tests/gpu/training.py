"""What a minute of this GPU buys in training: patches a second by batch, in bfloat16."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hcflow_ref.errors import out_of_memory
from hcflow_ref.training.config.settings import TrainConfig
from hcflow_ref.training.config.toml_file import read_config
from hcflow_ref.training.distributed import connect
from hcflow_ref.training.setup import build
from hcflow_ref.training.step import take_step
from tests.gpu.networks import cuda
from tests.gpu.record import Report, SkippedError

CONFIGS = Path(__file__).parents[2] / "configs"
BATCHES = (32, 128)
STEPS = 3


def check(report: Report) -> None:
    cuda()
    for name in ("hcflow_rescaling_x4_gpu", "hcflow_plus_x4_gpu"):
        speeds(report, name, read_config(CONFIGS / f"{name}.toml"), BATCHES)


def speeds(report: Report, name: str, config: TrainConfig, batches: Sequence[int]) -> None:
    """Time steps of each batch; one that does not fit is skipped, and so are larger ones."""
    for batch in batches:
        data = replace(config.data, batch=batch)
        fitted = report.attempt(
            f"{name}: a batch of {batch} patches of {data.patch}×{data.patch}",
            lambda data=data: _steps(replace(config, data=data)),
        )
        if not fitted:
            return


def _steps(config: TrainConfig) -> dict[str, Any]:
    process = connect(config.run.repeatable)
    batch, side = config.data.batch, config.data.patch
    hr = 0.5 + 0.1 * torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))
    times = []
    try:
        state, losses = build(config, process)
        for _ in range(STEPS):
            begun = time.perf_counter()
            take_step(state, losses, hr, config, process)  # it waits for the losses
            times.append(time.perf_counter() - begun)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise SkippedError("it does not fit into memory") from error
    found = {"s a step": min(times), "patches/s": batch / min(times)}
    found["megapixels/s"] = batch * side * side / min(times) / 1e6
    if process.device.type == "cuda":
        found["GB"] = torch.cuda.max_memory_allocated() / 1e9
    return found
