"""Shards: crops drawn beforehand into a few files, which need neither Pillow nor the images.

`write_shards` makes a folder of them. Each file is a NumPy array N×S×S×3 uint8 (`.npy`), compressed
by xz with a difference filter: `crops-000.npy.xz` and up to train on, `validation.npy.xz` from
images that no crop is of.
"""

from __future__ import annotations

import hashlib
import io
import lzma
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hcflow_ref.errors import TrainingError, one_line
from hcflow_ref.images.pixels import Pixels
from hcflow_ref.training.config.settings import DataSettings

PATTERN = "crops-*.npy.xz"
VALIDATION = "validation.npy.xz"
FILTERS: tuple[dict[str, Any], ...] = (
    {"id": lzma.FILTER_DELTA, "dist": 3},  # each pixel's difference from its left neighbour
    {"id": lzma.FILTER_LZMA2, "preset": 4},
)
DAMAGED = (OSError, lzma.LZMAError, EOFError, ValueError)
"""What reading a damaged shard raises."""


def shard_files(folder: Path) -> list[Path]:
    """The files of a folder of shards that are trained on, sorted; empty for any other folder."""
    return sorted(folder.glob(PATTERN))


def compress(crops: NDArray[np.uint8]) -> bytes:
    """The content of a shard's file."""
    file = io.BytesIO()
    np.save(file, crops, allow_pickle=False)
    return lzma.compress(file.getvalue(), filters=list(FILTERS))


def read(path: Path) -> NDArray[np.uint8]:
    """The crops of a shard, N×S×S×3 uint8.

    Raises:
        TrainingError: it is damaged, or no shard.
    """
    try:
        with lzma.open(path) as file:
            crops: NDArray[np.uint8] = np.load(file, allow_pickle=False)
    except DAMAGED as error:
        raise TrainingError(f"{path}: not a whole shard ({one_line(error)})") from error
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[3] != 3 or 0 in crops.shape:
        raise TrainingError(
            f"{path}: holds {crops.dtype} {list(crops.shape)}, expected crops uint8 [N, S, S, 3]"
        )
    return crops


def read_all(paths: Sequence[Path], patch: int) -> NDArray[np.uint8]:
    """The crops of all shards together.

    Raises:
        TrainingError: a shard is damaged, has crops of another size, or they are below `patch`.
    """
    parts = [read(path) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if part.shape[1:] != parts[0].shape[1:]:
            raise TrainingError(
                f"{path}: crops of {part.shape[1]}×{part.shape[2]}, but {paths[0].name} has "
                f"{parts[0].shape[1]}×{parts[0].shape[2]}; keep the shards of one writing in a "
                "folder"
            )
        if min(part.shape[1:3]) < patch:
            raise TrainingError(
                f"{path}: crops of {part.shape[1]}×{part.shape[2]} are smaller than data.patch, "
                f"{patch}; write shards with a larger --side, or lower data.patch"
            )
    return np.concatenate(parts)


def fingerprint(crops: NDArray[np.uint8]) -> str:
    """SHA-256 of the crops."""
    return hashlib.sha256(np.ascontiguousarray(crops).data).hexdigest()


class ShardPatches:
    """Training batches cut from crops, on the device where the network is.

    Args:
        crops: N×S×S×3 uint8.
        settings: how patches are drawn.
        seed: seed of all random draws.
        device: where batches are cut; a GPU does that in a thousandth of a step.
    """

    def __init__(
        self, crops: NDArray[np.uint8], settings: DataSettings, seed: int, device: torch.device
    ) -> None:
        self.crops = torch.from_numpy(crops).to(device)
        self.settings = settings
        self.seed = seed

    def _place(self, step: int, index: int) -> list[int]:
        """Crop, top, left, whether rows, columns and axes are swapped, of one patch."""
        rng = np.random.default_rng([self.seed, step, index])
        count, height, width, _ = self.crops.shape
        patch = self.settings.patch
        highs = (count, height - patch + 1, width - patch + 1, 2, 2, 2)
        return [int(rng.integers(high)) for high in highs]

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> Tensor:
        """The part of a step's batch for process `rank`, N×3×P×P float32 in [0, 1]."""
        indices = range(rank, self.settings.batch, processes)
        places = torch.tensor([self._place(step, index) for index in indices])
        crop, top, left, rows, columns, swap = places.to(self.crops.device).T[..., None, None]
        ahead = torch.arange(self.settings.patch, device=self.crops.device)
        down, right = ahead[None, :, None], ahead[None, None, :]
        down, right = torch.where(swap > 0, right, down), torch.where(swap > 0, down, right)
        last = self.settings.patch - 1
        y = top + torch.where(rows > 0, last - down, down)
        x = left + torch.where(columns > 0, last - right, right)
        return self.crops[crop, y, x].permute(0, 3, 1, 2).float() / 255

    def batches(self, start: int, rank: int = 0, processes: int = 1) -> Generator[Tensor]:
        """Batches from step `start` on."""
        step = start
        while True:
            yield self.batch(step, rank, processes)
            step += 1


def check_settings(settings: DataSettings) -> None:
    """Refuse settings that shards cannot heed.

    Raises:
        TrainingError: `short_sides` or `candidates` is set; crops were drawn by them already.
    """
    for key, asked in (("short_sides", settings.short_sides), ("candidates", settings.candidates)):
        if asked not in ((), 1):
            raise TrainingError(
                f"'data.{key}' is {asked!r}, but --data holds shards, whose crops are drawn "
                f"already: leave it out, and give --{key.replace('_', '-')} when they are written"
            )


def validation_images(
    folder: Path, count: int, scale: int, report: Callable[[str], None]
) -> list[Pixels]:
    """At most `count` of the folder's validation images, evenly spread.

    Raises:
        TrainingError: the file is damaged, or sides are no multiples of the scale.
    """
    path = folder / VALIDATION
    if not count:
        return []
    if not path.exists():
        report(f"{path} is missing: nothing is validated")
        return []
    crops = read(path)
    if crops.shape[1] % scale or crops.shape[2] % scale:
        raise TrainingError(
            f"{path}: images of {crops.shape[1]}×{crops.shape[2]}, expected multiples of {scale}"
        )
    chosen = sorted({i * len(crops) // count for i in range(count)})
    return [crops[i] for i in chosen]
