"""Pack what a borrowed GPU machine needs into one folder of limited size.

`python setup/pack_for_gpu.py KIT` copies the code, the weights and one bundle: there,
`cd KIT && python3 -m tests.gpu --output OUT`. With `--shards SHARDS --models rescale_x4 --bundles`
it copies what `hcflow_ref.training.timed_run` needs instead of bundles.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ("runtime", "export", "calib", "hcflow", "hcflow_ref", "configs", "tests/gpu")
"""Folders whose text files are copied, and the test photographs."""

SUFFIXES = {".py", ".typed", ".ptx", ".cu", ".toml", ".html", ".css", ".js"}
LEFT_OUT = ("runtime/cpp/", "hcflow/models/rescale_x4/", "hcflow/models/sr_x4/")
PHOTOGRAPHS = "hcflow_ref/images/test_photographs"
FILES = ("tests/__init__.py", "Makefile", "LICENSE")


def files(models: list[str], bundles: list[str]) -> Iterator[Path]:
    """The files of the checkout that are packed, relative to it.

    Raises:
        FileNotFoundError: there is no such model, or no bundle of it.
    """
    yield from map(Path, FILES)
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT)
            if path.suffix in SUFFIXES and not inside.as_posix().startswith(LEFT_OUT):
                yield inside
    yield from (p.relative_to(ROOT) for p in sorted((ROOT / PHOTOGRAPHS).iterdir()))
    for name in models:
        yield Path(f"hcflow_ref/weights/{name}.safetensors")
    for name in bundles:
        folder = ROOT / "hcflow" / "models" / name
        if not (folder / "manifest.json").exists():
            raise FileNotFoundError(f"{folder}: no bundle; `hcflow build --model {name}` makes one")
        for path in sorted(folder.iterdir()):
            if not path.name.startswith("report."):  # pages for people
                yield path.relative_to(ROOT)


def pack(
    target: Path, models: list[str], bundles: list[str], shards: Path | None, most_bytes: int
) -> int:
    """Copy everything into `target`, a folder that is not there yet.

    Returns:
        The bytes copied.

    Raises:
        OSError: something is missing, or cannot be copied.
        ValueError: it would be more than `most_bytes`; nothing is copied then.
    """
    copies = [(ROOT / path, target / path) for path in files(models, bundles)]
    if shards is not None:
        copies += [(path, target / "shards" / path.name) for path in sorted(shards.iterdir())]
    size = sum(source.stat().st_size for source, _ in copies)
    if size > most_bytes:
        raise ValueError(
            f"{size / 1e6:.1f} MB are more than {most_bytes / 1e6:g} MB: leave out --models or "
            "--bundles, or write smaller shards"
        )
    target.mkdir(parents=True)
    for source, copy in copies:
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
    return size


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where the files go; it must not be there yet")
    parser.add_argument("--models", nargs="*", default=["rescale_x4", "sr_x4"], help="weights")
    parser.add_argument("--bundles", nargs="*", default=["sr_x4"], help="ready bundles")
    parser.add_argument("--shards", type=Path, help="folder of training crops")
    parser.add_argument("--megabytes", type=float, default=64, help="at most")
    given = parser.parse_args(arguments)
    try:
        size = pack(
            given.folder, given.models, given.bundles, given.shards, round(1e6 * given.megabytes)
        )
    except (OSError, ValueError) as error:
        print(f"pack_for_gpu: {error}", file=sys.stderr)
        return 1
    print(f"{size / 1e6:.1f} MB in {given.folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
