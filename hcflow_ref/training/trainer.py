"""A training run: takes steps, validates, saves checkpoints, and can be resumed at any moment."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn

from hcflow_ref.errors import TrainingError
from hcflow_ref.training.config.settings import TrainConfig
from hcflow_ref.training.data.dataset import Dataset, open_dataset
from hcflow_ref.training.distributed import (
    Process,
    connect,
    disconnect,
    in_any_process,
    largest,
)
from hcflow_ref.training.optimiser import progress
from hcflow_ref.training.run_folder.lock import locked
from hcflow_ref.training.run_folder.log import RunLog, progress_line
from hcflow_ref.training.run_folder.state import STATE_FILE, State, resume, save_state
from hcflow_ref.training.setup import Losses, build
from hcflow_ref.training.step import take_step
from hcflow_ref.training.validation import bicubic_psnr, validation_psnr


@dataclass(frozen=True)
class Run:
    """A run. Only `state` changes from step to step; `until` is when `run.minutes` are over."""

    config: TrainConfig
    process: Process
    state: State
    losses: Losses
    out: Path
    log: RunLog
    report: Callable[[str], None]
    until: float

    def is_over_time(self) -> bool:
        """Whether `run.minutes` are over in any process."""
        limited = self.config.run.minutes > 0
        return limited and in_any_process(time.monotonic() >= self.until, self.process)


def train(
    config: TrainConfig,
    data: Path,
    out: Path,
    report: Callable[[str], None] = print,
    features: nn.Module | None = None,
) -> State:
    """Train until `schedule.steps`, resuming the run that `out` may contain.

    Args:
        config: the run.
        data: folder of images, or of shards.
        out: folder for `state.pt`, `model.safetensors` and logs; created where missing.
        report: called with each line of progress.
        features: feature network to use instead of the one that `loss.features` names.

    Returns:
        The state at the end, or where Ctrl-C, SIGTERM or `run.minutes` stopped the run; it is
        saved either way.

    Raises:
        TrainingError: the run cannot start or go on; the last checkpoint in `out` is intact.
    """
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    until = time.monotonic() + 60 * config.run.minutes
    process = connect(config.run.repeatable)
    if not process.is_first:
        report = _ignore
    with ExitStack() as at_end:
        at_end.callback(disconnect)
        if process.is_first:
            at_end.enter_context(locked(out))
        if config.data.batch % process.count:
            raise TrainingError(
                f"'data.batch' is {config.data.batch}, expected a multiple of the "
                f"{process.count} processes"
            )
        per_process = config.data.batch // process.count
        if config.loss.objective == "gan" and config.data.patch == 32 and per_process == 1:
            raise TrainingError(
                "'data.batch' leaves one patch per process, and one of 32×32 is too small for the "
                "discriminator's batch normalisation; choose a larger batch, or patches of 64"
            )
        dataset = open_dataset(data, config, process.device, report)
        state, losses = build(config, process, features, resumed=(out / STATE_FILE).exists())
        state.images = dataset.fingerprint
        if resume(state, config, out):
            report(f"resuming from step {state.step}")
        if dataset.validation:
            bicubic = bicubic_psnr(dataset.validation, config.network.scale)
            report(f"bicubic's validation PSNR, for comparison: {bicubic:.2f} dB")
        with closing(RunLog(out, report, process.is_first)) as log, _noting_signals() as signalled:
            run = Run(config, process, state, losses, out, log, report, until)
            _run_steps(run, dataset, signalled)
            return state


def _run_steps(run: Run, dataset: Dataset, signalled: Callable[[], int]) -> None:
    """Take steps until the last one, a signal or `run.minutes`, and save the state reached."""
    state, config, process = run.state, run.config, run.process
    images = dataset.validation
    batches = dataset.batches(state.step, process.rank, process.count)
    since: dict[str, list[float]] = defaultdict(list)
    began, saved = time.monotonic(), state.step
    with closing(batches):
        while progress(config.schedule, state.step, state.seconds) < 1:
            values = take_step(state, run.losses, next(batches), config, process)
            for name, value in values.items():
                since[name].append(value)
            elapsed, began = time.monotonic() - began, time.monotonic()
            if config.schedule.minutes:  # the learning rate follows from it
                elapsed = largest(elapsed, process)
            state.seconds += elapsed
            since["images/s"].append(config.data.batch / elapsed)
            if state.step % config.run.log_every == 0:
                _report_progress(run, {name: float(np.mean(v)) for name, v in since.items()})
                since.clear()
            if state.step % config.run.validate_every == 0 and process.is_first and images:
                psnr = validation_psnr(state.average, images)
                run.report(f"step {state.step}: validation PSNR {psnr:.2f} dB")
                run.log.write(state.step, {"validation_psnr": psnr})
            if state.step % config.run.save_every == 0:
                _save(run)
                saved = state.step
            if in_any_process(bool(signalled()), process):
                state.stopped_by = signalled() or signal.SIGINT
                run.report(f"interrupted at step {state.step}; the same command resumes from here")
                break
            if run.is_over_time():
                run.report(
                    f"{config.run.minutes:g} minutes are over at step {state.step}; the same "
                    "command resumes from here"
                )
                break
    if state.step != saved:
        _save(run)


def _report_progress(run: Run, values: dict[str, float]) -> None:
    state, steps = run.state, run.config.schedule.steps
    if run.process.is_first:
        done = progress(run.config.schedule, state.step, state.seconds)
        left = max(0.0, state.seconds / done - state.seconds)
        run.report(progress_line(state.step, steps, values, left))
        run.log.write(state.step, values)


def _save(run: Run) -> None:
    if run.process.is_first:
        save_state(run.state, run.config, run.out)


def _ignore(line: str) -> None:
    """Report nothing: only the first process reports."""


@contextmanager
def _noting_signals() -> Iterator[Callable[[], int]]:
    """Note the first Ctrl-C or SIGTERM instead of ending; a second one ends the process as usual.

    Yields a function that returns the number of the noted signal, or 0.
    """
    noted: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.signal(number, before[number])

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            before[number] = signal.signal(number, note)
    except ValueError:  # only the main thread may handle signals
        pass
    try:
        yield lambda: noted[0] if noted else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
