"""Makes a folder of training photographs from Debian's wallpaper packages.

`python -m hcflow_ref.training.data.wallpapers DIR` downloads the packages with `apt-get download`,
unpacks them with `dpkg-deb`, keeps usable images and each package's copyright file, and writes
`images.json`: file, package, version, size and licence file. It needs Debian or a relative.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hcflow_ref.errors import TrainingError
from hcflow_ref.images.files import UNREADABLE, verified_size
from hcflow_ref.training.data import debian

PACKAGES = (
    "gnome-backgrounds",
    "plasma-workspace-wallpapers",
    "mate-backgrounds",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "ukui-wallpapers",
)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
SMALLEST_SIDE = 400
"""In pixels; smaller images are icons or previews."""

SIZE_IN_NAME = re.compile(r"[_-]?\d{3,5}x\d{3,5}")


@dataclass(frozen=True)
class Entry:
    """An image in `images.json`; paths are relative to its folder."""

    file: str
    package: str
    version: str
    width: int
    height: int
    licence: str


def measure(path: Path) -> tuple[int, int] | None:
    """Width and height of a usable image, or None."""
    try:
        size = verified_size(path)
    except UNREADABLE:
        return None
    return size if min(size) >= SMALLEST_SIDE else None


def usable_images(paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Usable images and their sizes; of a picture in several sizes only the largest."""
    largest: dict[tuple[Path, str], tuple[Path, tuple[int, int]]] = {}
    for path in sorted(paths):
        if path.is_symlink() or path.suffix.lower() not in SUFFIXES or path.stem == "screenshot":
            continue
        size = measure(path)
        if size is None:
            continue
        picture = (path.parent, SIZE_IN_NAME.sub("", path.stem))
        if picture not in largest or size[0] * size[1] > _area(largest[picture]):
            largest[picture] = (path, size)
    return dict(largest.values())


def _area(found: tuple[Path, tuple[int, int]]) -> int:
    return found[1][0] * found[1][1]


def collect(unpacked: Path, package: str, version: str, folder: Path) -> list[Entry]:
    """Copy a package's usable images and copyright file into `folder/package`.

    Raises:
        TrainingError: the package states no licence.
    """
    copyright_file = unpacked / "usr" / "share" / "doc" / package / "copyright"
    if not copyright_file.is_file():
        raise TrainingError(f"package {package} has no copyright file; it is skipped")
    images = usable_images(path for path in unpacked.rglob("*") if path.is_file())
    target = folder / package
    target.mkdir(parents=True, exist_ok=True)
    licence = target / "copyright"
    shutil.copyfile(copyright_file, licence)
    entries = []
    for path, (width, height) in images.items():
        copy = target / "-".join(path.relative_to(unpacked).parts[2:])
        shutil.copyfile(path, copy)
        names = (str(copy.relative_to(folder)), str(licence.relative_to(folder)))
        entries.append(Entry(names[0], package, version, width, height, names[1]))
    return entries


def fetch(package: str, folder: Path) -> list[Entry]:
    """Download, unpack and collect a package.

    Raises:
        TrainingError: `apt-get` or `dpkg-deb` is missing or fails; the message gives its last line.
    """
    with debian.unpacked(package) as (files, version):
        return collect(files, package, version, folder)


def build(folder: Path, packages: Iterable[str], report: Callable[[str], None]) -> list[Entry]:
    """Fetch the packages into `folder` and write `images.json`; one that fails is reported.

    Raises:
        TrainingError: no package could be fetched.
    """
    entries: list[Entry] = []
    for package in packages:
        try:
            found = fetch(package, folder)
        except TrainingError as error:
            report(f"skipped {package}: {error}")
            continue
        report(f"{package}: {len(found)} images")
        entries += found
    if not entries:
        raise TrainingError("no package could be fetched; run 'apt-get update' and try again")
    listing = json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2)
    (folder / "images.json").write_text(listing + "\n", encoding="utf-8")
    return entries


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="folder for the images")
    parser.add_argument(
        "--package", action="append", help="package to use instead of the default list; repeatable"
    )
    arguments = parser.parse_args()
    try:
        entries = build(arguments.folder, arguments.package or PACKAGES, print)
    except (TrainingError, OSError) as error:
        print(f"wallpapers: {error}", file=sys.stderr)
        return 1
    print(f"{len(entries)} images in {arguments.folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
