"""What a shard of a list adds to a picture: processor time over a plain loop, and over a folder.

`python -m benchmarks.shards --model rescale_x4 --pictures 64` converts the same pictures in all
three ways. Starting and opening the model counts: twice as many pictures tell it apart.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.serving import pictures
from hcflow.models.load import computation, load


def main() -> None:
    """Print processor seconds a picture as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="rescale_x4")
    parser.add_argument("--pictures", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        kinds = pictures()
        for index in range(2 * options.pictures):
            Image.fromarray(kinds[index % len(kinds)]).save(folder / "in" / f"{index:05d}.png")
        found = {"plain loop": _loop(folder / "in", options.model, options.pictures)}
        for way in ("folder", "list"):
            found[way] = _a_picture(folder, way, options.model, options.pictures)
    print(json.dumps({name: round(seconds, 4) for name, seconds in found.items()}, indent=1))


def _loop(folder: Path, model_name: str, number: int) -> float:
    """Read, upscale and write in one process, without what a file's own record and metadata ask."""
    model = load(model_name, **computation(True), threads=1)
    names = sorted(folder.iterdir())[:number]
    with tempfile.TemporaryDirectory() as results:
        model.upscale(np.zeros((16, 16, 3), np.uint8))
        start = time.process_time()
        for path in names:
            large = model.upscale(Image.open(path).convert("RGB"))
            large.save(Path(results, path.name))
        return (time.process_time() - start) / number


def _a_picture(folder: Path, way: str, model: str, number: int) -> float:
    """Processor seconds that one more picture takes: of so many, and of twice as many."""
    few, many = (_command(folder, way, model, count) for count in (number, 2 * number))
    return (many - few) / number


def _command(folder: Path, way: str, model: str, count: int) -> float:
    names = [path.name for path in sorted((folder / "in").iterdir())[:count]]
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        given = ["--manifest", str(place / "list.txt")]
        if way == "folder":
            given = [str(place / "in")]
            (place / "in").mkdir()
            for each in names:
                (place / "in" / each).hardlink_to(folder / "in" / each)
        else:
            (place / "list.txt").write_text("".join(f"{folder / 'in' / n}\n" for n in names))
        words = ["upscale", *given, "-o", str(place / "out"), "--model", model]
        before = _children()
        subprocess.run(
            [sys.executable, "-m", "hcflow", *words, "--exact", "--threads", "1"], check=True
        )
        return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
