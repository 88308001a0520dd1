"""What a run trains and validates on: a folder of images, or one of shards."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hcflow_ref.images.pixels import Pixels
from hcflow_ref.training.config.settings import TrainConfig
from hcflow_ref.training.data import shards


@dataclass(frozen=True)
class Dataset:
    """The data of a run.

    Attributes:
        fingerprint: SHA-256 of what patches are drawn from; a run is resumed on the same only.
        batches: batches N×3×P×P in [0, 1] from a step on, for a rank of so many processes.
        validation: images to validate on, sides multiples of the scale.
    """

    fingerprint: str
    batches: Callable[[int, int, int], Generator[Tensor]]
    validation: list[Pixels]


def open_dataset(
    folder: Path, config: TrainConfig, device: torch.device, report: Callable[[str], None]
) -> Dataset:
    """The data in a folder of images, or of shards, which are recognised by their names.

    Args:
        folder: of `--data`.
        config: the run.
        device: where batches of shards are cut.
        report: called with a line for each file that is skipped, and a summary.

    Raises:
        TrainingError: there is no such folder, or nothing to train on in it.
    """
    if files := shards.shard_files(folder):
        return _of_shards(files, config, device, report)
    return _of_images(folder, config, report)


def _of_shards(
    files: list[Path], config: TrainConfig, device: torch.device, report: Callable[[str], None]
) -> Dataset:
    shards.check_settings(config.data)
    folder = files[0].parent
    crops = shards.read_all(files, config.data.patch)
    images = shards.validation_images(folder, config.data.validation, config.network.scale, report)
    report(
        f"{len(crops)} crops of {crops.shape[1]}×{crops.shape[2]} to train on, {len(images)} "
        "images to validate on"
    )
    patches = shards.ShardPatches(crops, config.data, config.run.seed, device)
    return Dataset(shards.fingerprint(crops), patches.batches, images)


def _of_images(folder: Path, config: TrainConfig, report: Callable[[str], None]) -> Dataset:
    from hcflow_ref.training.data import patches  # noqa: PLC0415 - Pillow, not needed for shards

    paths = patches.list_images(folder, config.data.patch, report)
    training, held_out = patches.hold_out(paths, config.data.validation)
    report(f"{len(training)} images to train on, {len(held_out)} to validate on")
    drawn = patches.Patches(training, config.data, config.run.seed, report)
    short_side = min(config.data.short_sides, default=0)
    images = patches.validation_images(held_out, config.network.scale, short_side, report)
    return Dataset(patches.fingerprint(folder, paths), drawn.batches, images)
