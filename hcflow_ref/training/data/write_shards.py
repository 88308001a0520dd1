"""Writes shards (`shards`): training crops drawn beforehand, for a machine that lacks the images.

`python -m hcflow_ref.training.data.write_shards SHARDS --data photographs rendered --seed 1` draws
crops as training does, from images of all folders, and stops before `--megabytes`. `--rendered N`
adds N pictures of `rendered`. The same images, options and seed give the same crops.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hcflow_ref.errors import TrainingError, one_line
from hcflow_ref.training.config.settings import DataSettings
from hcflow_ref.training.data import rendered, shards
from hcflow_ref.training.data.patches import (
    CROP,
    Patches,
    hold_out,
    list_images,
    validation_images,
)
from hcflow_ref.training.data.rendering_materials import fetch_fonts, find_sources

CROPS_A_SHARD = 64
LARGEST_SCALE = 16
LISTING = "shards.json"


@dataclass(frozen=True)
class Request:
    """Which crops are drawn.

    Attributes:
        side: of a crop in pixels; larger than `data.patch`, so that patches lie anywhere in it.
        validation: images held out, of which no crop is.
        short_sides: as `data.short_sides`.
        candidates: as `data.candidates`.
        seed: of all draws.
        bytes: that all files have together at most.
        crops: at most so many; None: as many as fit.
    """

    side: int = 192
    validation: int = 8
    short_sides: tuple[int, ...] = ()
    candidates: int = 1
    seed: int = 0
    bytes: int = 60_000_000
    crops: int | None = None


def write(
    folder: Path, images: list[Path], request: Request, report: Callable[[str], None] = print
) -> int:
    """Write the shards of `images` into `folder`, and `shards.json`, which says how.

    Returns:
        The number of crops.

    Raises:
        TrainingError: the folder has shards already, or not one shard fits into the bytes.
    """
    if shards.shard_files(folder):
        raise TrainingError(f"{folder}: holds shards already; choose another folder")
    training, held_out = hold_out(images, request.validation)
    folder.mkdir(parents=True, exist_ok=True)
    left = request.bytes - _write_validation(folder, held_out, request, report)
    settings = DataSettings(request.side, 1, 0, request.short_sides, request.candidates)
    patches = Patches(training, settings, request.seed, report)
    count = number = 0
    while request.crops is None or count < request.crops:
        most = CROPS_A_SHARD if request.crops is None else request.crops - count
        last = count + min(CROPS_A_SHARD, most)
        crops = np.stack([patches.patch(0, index) for index in range(count, last)])
        content = shards.compress(crops)
        if len(content) > left:
            break
        (folder / shards.PATTERN.replace("*", f"{number:03d}")).write_bytes(content)
        left, count, number = left - len(content), last, number + 1
        report(f"{count} crops, {(request.bytes - left) / 1e6:.1f} MB")
    if not count:
        raise TrainingError(
            f"{request.bytes / 1e6:g} MB hold not one shard of {CROPS_A_SHARD} crops of "
            f"{request.side}×{request.side}; give more --megabytes, or a smaller --side"
        )
    listing = {"crops": count, "images": len(training)} | asdict(request)
    (folder / LISTING).write_text(json.dumps(listing, indent=2) + "\n", encoding="utf-8")
    return count


def _write_validation(
    folder: Path, held_out: list[Path], request: Request, report: Callable[[str], None]
) -> int:
    """Write the central crops of the held-out images; returns the bytes written."""
    short_side = min(request.short_sides, default=0)
    crops: list[NDArray[np.uint8]] = []
    for path in held_out:
        for image in validation_images([path], LARGEST_SCALE, short_side, report):
            if image.shape[:2] == (CROP, CROP):
                crops.append(image)
            else:
                report(f"skipped {path}: too small to be validated on")
    if not crops:
        return 0
    content = shards.compress(np.stack(crops))
    (folder / shards.VALIDATION).write_bytes(content)
    return len(content)


@contextmanager
def with_rendered(
    folders: list[Path], count: int, fonts: Path, seed: int, fetch: bool
) -> Iterator[list[Path]]:
    """The folders, and one of `count` rendered pictures while the block runs."""
    if not count:
        yield folders
        return
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        if fetch:
            fetch_fonts(fonts)
        rendered.build(made, find_sources(fonts, folders[0], made), seed, count)
        yield [*folders, made]


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where the shards go")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of images")
    parser.add_argument("--rendered", type=int, default=0, help="pictures to render beside them")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--fetch", action="store_true", help="first fetch the font packages")
    parser.add_argument("--side", type=int, default=Request.side, help="of a crop, in pixels")
    parser.add_argument("--validation", type=int, default=Request.validation)
    parser.add_argument("--short-sides", type=int, nargs="*", default=[])
    parser.add_argument("--candidates", type=int, default=Request.candidates)
    parser.add_argument("--seed", type=int, default=Request.seed)
    parser.add_argument("--megabytes", type=float, default=Request.bytes / 1e6)
    parser.add_argument("--crops", type=int, help="at most so many")
    given = parser.parse_args(arguments)
    request = Request(
        given.side,
        given.validation,
        tuple(given.short_sides),
        given.candidates,
        given.seed,
        round(1e6 * given.megabytes),
        given.crops,
    )
    try:
        with with_rendered(
            given.data, given.rendered, given.fonts, given.seed, given.fetch
        ) as folders:
            images = [path for f in folders for path in list_images(f, given.side, print)]
            count = write(given.folder, images, request)
    except (OSError, TrainingError) as error:
        print(f"write_shards: {one_line(error)}", file=sys.stderr)
        return 1
    print(f"{count} crops of {given.side}×{given.side} in {given.folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
