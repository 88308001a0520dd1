"""Lists of small images converted without worker processes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hcflow.batch import manifest, storage, urls
from hcflow.batch.rows import Results
from hcflow.batch.shards import Batch
from hcflow.models.load import Models
from runtime.convert.folders import worker
from runtime.convert.folders.pool import Pool
from runtime.convert.folders.walk import Task
from runtime.convert.folders.worker import Outcome
from runtime.convert.job import Job


class InProcess(Pool):
    """A pool whose work is done here, in the order of the tasks."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, 1)
        self.worked: list[str] = []

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:  # type: ignore[override]
        warnings = worker._Warnings()
        for task in tasks:
            self.worked.append(task.relative)
            warnings.start()
            yield worker._work(task, self._job, threading.Lock(), warnings)


def job(bundle: Path, **fields: Any) -> Job:
    """An upscale by a bundle in ONNX Runtime."""
    models = Models({"backend": "onnxruntime", "precision": "fp32", "threads": 1})
    return Job("upscale", models, str(bundle), **fields)


def batch(
    names: Path | str, results: Path | str, shards: int = 1, form: str | None = None
) -> Batch:
    """A list to be converted into a folder."""
    images = manifest.open_list(str(names))
    return Batch(images, shards, Results(urls.plain(str(results)), form, 1_000_000))


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (5, 4)) -> Path:
    """Write a small image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(values).save(path)
    return path


def text_list(path: Path, names: Iterable[object]) -> Path:
    """Write a list, a name a line."""
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def outcomes(results: Path | str, shard: str = "00000-of-00001") -> list[dict[str, Any]]:
    """The outcomes of a finished shard, by row."""
    data = storage.read(urls.join(str(results), f"_done/{shard}.jsonl"))
    return sorted(map(json.loads, data.splitlines()), key=lambda each: int(each["row"]))


def files(folder: Path) -> dict[str, bytes]:
    """The results of a folder by their relative names, without what is kept beside them."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {n: p.read_bytes() for n, p in names.items() if not n.startswith("_done/")}
