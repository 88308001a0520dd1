"""The run: batches in, checkpoints and figures out, resumable at any moment."""

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

from hcflow_ref.errors import TrainingError
from hcflow_ref.images.files import Pixels
from hcflow_ref.training.config.settings import TrainConfig
from hcflow_ref.training.data.patches import Patches, fingerprint, hold_out, list_images
from hcflow_ref.training.distributed import Place, anywhere, join, leave
from hcflow_ref.training.losses.vgg import VGGFeatures
from hcflow_ref.training.run_folder.lock import locked
from hcflow_ref.training.run_folder.log import RunLog, progress_line
from hcflow_ref.training.run_folder.state import STATE_FILE, State, resume, save_state
from hcflow_ref.training.setup import Losses, build
from hcflow_ref.training.step import take_step
from hcflow_ref.training.validation import bicubic_psnr, validation_images, validation_psnr


@dataclass(frozen=True)
class Run:
    """What stays the same from the first step to the last; `state` is what changes."""

    config: TrainConfig
    place: Place
    state: State
    losses: Losses
    out: Path
    log: RunLog
    report: Callable[[str], None]


def train(
    config: TrainConfig,
    data: Path,
    out: Path,
    report: Callable[[str], None] = print,
    features: VGGFeatures | None = None,
) -> State:
    """Train until `schedule.steps`, going on from what `out` holds.

    Args:
        config: the run.
        data: folder of images.
        out: folder for `state.pt`, `model.safetensors` and logs; made where missing.
        report: told a line at a time.
        features: feature network for the perceptual loss instead of `loss.features`.

    Returns:
        The state at the end, or where Ctrl-C stopped it; it is saved either way.

    Raises:
        TrainingError: one line that says what to do; what `out` held is intact.
    """
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    place = join()
    if not place.first:
        report = _silence
    with ExitStack() as leaving:
        leaving.callback(leave)
        if place.first:
            leaving.enter_context(locked(out))
        if config.data.batch % place.processes:
            raise TrainingError(
                f"'data.batch' is {config.data.batch}, expected a multiple of the "
                f"{place.processes} processes"
            )
        per_process = config.data.batch // place.processes
        if config.loss.objective == "gan" and config.data.patch == 32 and per_process == 1:
            raise TrainingError(
                "'data.batch' leaves one patch a process, of which 32×32 are too few pixels for "
                "the discriminator's normalisation; take a larger batch, or patches of 64"
            )
        paths = list_images(data, config.data.patch, report)
        training, held_out = hold_out(paths, config.data.validation)
        report(f"{len(training)} images to train on, {len(held_out)} to validate on")
        state, losses = build(config, place, features, resumed=(out / STATE_FILE).exists())
        state.images = fingerprint(data, paths)
        if resume(state, config, out):
            report(f"going on from step {state.step}")
        patches = Patches(training, config.data, config.run.seed, report)
        short_side = min(config.data.short_sides, default=0)
        images = validation_images(held_out, config.network.scale, short_side, report)
        if images:
            bicubic = bicubic_psnr(images, config.network.scale)
            report(f"to beat on those: bicubic's validation PSNR of {bicubic:.2f} dB")
        with closing(RunLog(out, report, place.first)) as log, _interruptible() as interrupted:
            run = Run(config, place, state, losses, out, log, report)
            _until_done(run, patches, images, interrupted)
            return state


def _until_done(
    run: Run, patches: Patches, images: list[Pixels], interrupted: Callable[[], int]
) -> None:
    """Take steps until the last one or an interruption; save what is reached."""
    state, config, place = run.state, run.config, run.place
    batches = patches.batches(state.step, place.rank, place.processes)
    since: dict[str, list[float]] = defaultdict(list)
    began, saved = time.monotonic(), state.step
    with closing(batches):
        while state.step < config.schedule.steps:
            values = take_step(state, run.losses, next(batches), config, place)
            for name, value in values.items():
                since[name].append(value)
            elapsed, began = time.monotonic() - began, time.monotonic()
            state.seconds += elapsed
            since["images/s"].append(config.data.batch / elapsed)
            if state.step % config.run.log_every == 0:
                _tell(run, {name: float(np.mean(v)) for name, v in since.items()})
                since.clear()
            if state.step % config.run.validate_every == 0 and place.first and images:
                psnr = validation_psnr(state.average, images)
                run.report(f"step {state.step}: validation PSNR {psnr:.2f} dB")
                run.log.write(state.step, {"validation_psnr": psnr})
            if state.step % config.run.save_every == 0:
                _save(run)
                saved = state.step
            if anywhere(bool(interrupted()), place):
                state.stopped_by = interrupted() or signal.SIGINT
                run.report(f"interrupted at step {state.step}; the same command goes on from here")
                break
    if state.step != saved:
        _save(run)


def _tell(run: Run, values: dict[str, float]) -> None:
    state, steps = run.state, run.config.schedule.steps
    if run.place.first:
        left = state.seconds / state.step * (steps - state.step)
        run.report(progress_line(state.step, steps, values, left))
        run.log.write(state.step, values)


def _save(run: Run) -> None:
    if run.place.first:
        save_state(run.state, run.config, run.out)


def _silence(line: str) -> None:
    """Only the first process reports."""


@contextmanager
def _interruptible() -> Iterator[Callable[[], int]]:
    """Within, a first Ctrl-C or SIGTERM is only noted, by number; a second one is as always."""
    noted: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.signal(number, before[number])

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            before[number] = signal.signal(number, note)
    except ValueError:  # not in the main thread: signals are someone else's
        pass
    try:
        yield lambda: noted[0] if noted else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
