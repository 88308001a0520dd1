"""A timed run on a borrowed GPU, which needs PyTorch (with NumPy) and nothing else.

`python3 -m hcflow_ref.training.timed_run CONFIG --data SHARDS --out RUN --minutes 9 --parts PARTS`
trains for nine minutes, with the largest batch that fits up to the configuration's, and writes the
state in parts. Where PARTS has parts of an earlier run and RUN nothing, it goes on from them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from hcflow_ref.errors import TrainingError, one_line, out_of_memory, printable
from hcflow_ref.training import travel
from hcflow_ref.training.config.settings import TrainConfig
from hcflow_ref.training.config.toml_file import read_config
from hcflow_ref.training.distributed import connect
from hcflow_ref.training.run_folder.state import STATE_FILE, State
from hcflow_ref.training.setup import build
from hcflow_ref.training.step import take_step
from hcflow_ref.training.trainer import train

PART_BYTES = 15_000_000


def run(
    config: TrainConfig,
    data: Path,
    out: Path,
    parts: Path | None = None,
    report: Callable[[str], None] = print,
) -> State:
    """Train until `run.minutes` or the schedule's end, from parts or a state where there are some.

    Args:
        config: the run; its `data.batch` is the largest that is tried.
        data: folder of shards, or of images.
        out: folder of the run.
        parts: folder of the state in parts; None: none are read or written.
        report: called with each line of progress.

    Raises:
        TrainingError: the run cannot start or go on.
    """
    if not (out / STATE_FILE).exists() and parts is not None and travel.parts(parts):
        report(f"going on from step {travel.join(parts, out)}, which {parts} holds")
    if (out / STATE_FILE).exists():
        batch = travel.config_of(out).data.batch
    else:
        batch = fitting_batch(config, report)
    state = train(replace(config, data=replace(config.data, batch=batch)), data, out, report)
    if parts is not None:
        written = travel.split(out, parts, PART_BYTES)
        report(f"{len(written)} parts in {parts}")
    return state


def fitting_batch(config: TrainConfig, report: Callable[[str], None]) -> int:
    """`data.batch`, halved until a step fits into the device's memory.

    Raises:
        TrainingError: not even one patch fits.
    """
    batch, side = config.data.batch, config.data.patch
    process = connect(config.run.repeatable)
    while batch:
        try:
            state, losses = build(config, process)
            hr = torch.full((batch, 3, side, side), 0.5)
            hr += 0.1 * torch.rand(hr.shape, generator=torch.Generator().manual_seed(0))
            take_step(state, losses, hr, config, process)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        else:
            report(f"batches of {batch} patches of {side}×{side} on {process.device}")
            return batch
        finally:
            state = losses = hr = None  # type: ignore[assignment]  # before the next is built
            if process.device.type == "cuda":
                torch.cuda.empty_cache()
        report(f"a batch of {batch} does not fit into memory")
        batch //= 2
    raise TrainingError("not even one patch fits into memory: lower data.patch")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of shards, or of images")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, help="in place of run.minutes")
    parser.add_argument("--parts", type=Path, help="folder of the state in parts of 15 MB")
    given = parser.parse_args(arguments)
    try:
        config = read_config(given.config)
        if given.minutes is not None:
            config = replace(config, run=replace(config.run, minutes=given.minutes))
        state = run(config, given.data, given.out, given.parts, _say)
    except (OSError, TrainingError) as error:
        print(f"timed_run: {printable(str(error))}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        print(f"timed_run: out of memory ({one_line(error)})", file=sys.stderr)
        return 1
    return 128 + state.stopped_by if state.stopped_by else 0


def _say(line: str) -> None:
    print(printable(line), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
