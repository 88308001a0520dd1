"""Training patches from a folder of images of any size and format.

A patch is a function of the folder's files and of seed, step and index: a resumed run gets the same
patches as one that was never stopped.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hcflow_ref.errors import TrainingError
from hcflow_ref.images.files import UNREADABLE, image_files, read_image, verified_size
from hcflow_ref.images.pixels import Pixels, crop_centre, crop_to_multiple
from hcflow_ref.training.config.settings import DataSettings

CACHE_BYTES = 2 << 30
"""Memory for decoded images."""

CROP = 256
"""Side in pixels of the central crop that is validated."""


def fingerprint(folder: Path, paths: Sequence[Path]) -> str:
    """SHA-256 of the files' paths in the folder and their sizes: patches are drawn from these."""
    listed = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def list_images(folder: Path, patch: int, report: Callable[[str], None]) -> list[Path]:
    """The folder's usable images, sorted; the others are reported and skipped.

    Raises:
        TrainingError: there is no such folder, or no usable image in it.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder; --data takes a folder of images")
    found = image_files(folder)
    usable = []
    for path in found:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                size = verified_size(path)
        except UNREADABLE as error:
            report(f"skipped {path}: cannot be read ({error})")
            continue
        if min(size) < patch:
            report(f"skipped {path}: {size[0]}×{size[1]} is smaller than the patch of {patch}")
            continue
        usable.append(path)
    if not usable:
        raise TrainingError(
            f"{folder}: no usable image among {len(found)} image files (links to folders are not "
            f"followed); images need at least {patch}×{patch} pixels, or a lower data.patch"
        )
    return usable


def detail(patch: Pixels) -> float:
    """Mean absolute second difference of the green channel: the detail that downscaling loses."""
    g = patch[..., 1].astype(np.int16)
    rows, columns = np.diff(g, 2, axis=0), np.diff(g, 2, axis=1)
    return float(np.abs(rows).mean() + np.abs(columns).mean())


class Patches:
    """Training batches from image files.

    Args:
        paths: image files.
        settings: how patches are drawn.
        seed: seed of all random draws.
        report: called with a line for each file that turns out to be damaged; another is drawn.
    """

    def __init__(
        self,
        paths: list[Path],
        settings: DataSettings,
        seed: int,
        report: Callable[[str], None] = print,
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.report = report
        self.sources = [(path, side) for path in paths for side in settings.short_sides or (0,)]
        self._damaged: set[Path] = set()
        self._cache: OrderedDict[tuple[Path, int], Pixels] = OrderedDict()
        self._cached_bytes = 0

    def _image(self, source: tuple[Path, int]) -> Pixels | None:
        if source in self._cache:
            self._cache.move_to_end(source)
            return self._cache[source]
        path, side = source
        if path in self._damaged:
            return None
        try:
            image = read_image(path, side)
        except UNREADABLE as error:
            self._damaged.add(path)
            self.report(f"skipped {path}: cannot be read ({error})")
            return None
        if min(image.shape[:2]) < self.settings.patch:
            return None
        self._cache[source] = image
        self._cached_bytes += image.nbytes
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return image

    def patch(self, step: int, index: int) -> Pixels:
        """Patch `index` of step `step`, P×P×3 uint8, flipped and rotated at random.

        Raises:
            TrainingError: hardly any image can be read any more.
        """
        rng = np.random.default_rng([self.seed, step, index])
        for _ in range(1000):
            image = self._image(self.sources[rng.integers(len(self.sources))])
            if image is not None:
                break
        else:
            raise TrainingError("1000 draws found no readable image as large as a patch")
        crops = [self._crop(image, rng) for _ in range(self.settings.candidates)]
        patch = max(crops, key=detail) if len(crops) > 1 else crops[0]
        patch = np.rot90(patch, int(rng.integers(4)))
        return np.ascontiguousarray(patch[:, ::-1] if rng.integers(2) else patch)

    def _crop(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        side = self.settings.patch
        y = int(rng.integers(image.shape[0] - side + 1))
        x = int(rng.integers(image.shape[1] - side + 1))
        return image[y : y + side, x : x + side]

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> Tensor:
        """The part of a step's batch for process `rank`, N×3×P×P float32 in [0, 1]."""
        indices = range(rank, self.settings.batch, processes)
        patches = np.stack([self.patch(step, index) for index in indices])
        return torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 255

    def batches(self, start: int, rank: int = 0, processes: int = 1) -> Generator[Tensor]:
        """Batches from step `start` on; the next one is read in the background."""
        with ThreadPoolExecutor(1) as reader:
            step = start
            coming: Future[Tensor] = reader.submit(self.batch, step, rank, processes)
            while True:
                batch = coming.result()
                step += 1
                coming = reader.submit(self.batch, step, rank, processes)
                yield batch


def hold_out(paths: list[Path], count: int) -> tuple[list[Path], list[Path]]:
    """Split into training and validation files, the latter spread evenly over the sorted list.

    Raises:
        TrainingError: no image would be left to train on.
    """
    if count >= len(paths):
        raise TrainingError(
            f"data.validation holds out {count} of {len(paths)} usable images and leaves none to "
            "train on"
        )
    chosen = {(2 * i + 1) * len(paths) // (2 * count) for i in range(count)}
    training = [path for i, path in enumerate(paths) if i not in chosen]
    return training, [paths[i] for i in sorted(chosen)]


def validation_images(
    paths: list[Path], scale: int, short_side: int, report: Callable[[str], None] = print
) -> list[Pixels]:
    """Central crops, sides multiples of the scale; unreadable files are reported and skipped."""
    images = []
    for path in paths:
        try:
            crop = crop_centre(read_image(path, short_side), CROP)
            images.append(np.ascontiguousarray(crop_to_multiple(crop, scale)))
        except UNREADABLE as error:
            report(f"skipped {path}: cannot be read ({error})")
    return images
