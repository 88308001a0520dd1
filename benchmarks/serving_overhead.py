"""What each way of serving adds to a picture: processor time over a plain loop, in turns.

`python -m benchmarks.serving_overhead --model rescale_x4 --pictures 3 --rounds 5` takes pictures of
128×128 in each way and in the loop, in turns. A way that is a command runs with so many pictures
and with twice as many, so that its start does not count. The time is the whole machine's, as some
ways have processes that are nobody's children: nothing else may run. With --triton the server is
fetched (130 MB) and measured, too.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray
from PIL import Image
from ray import serve
from tritonclient import http as triton_client

from benchmarks.serving import Server, pictures
from hcflow.batch.ray_serve import deployment
from hcflow.models.load import computation, load
from hcflow.models.shipped import resolve
from hcflow.serving.triton import repository
from runtime.bundle.reader import Bundle
from tests.support import triton_server

Convert = Callable[[int], None]
"""Converts so many pictures."""

Way = Callable[[Path, str], contextlib.AbstractContextManager[Convert]]
"""Opens a way for a folder with pictures and a model."""

_TICK = os.sysconf("SC_CLK_TCK")
_RAY = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_object_store_memory": "100000000",
}


def busy_seconds() -> float:
    """Processor time of every process of this machine since it started."""
    user, nice, system, _, _, irq, soft, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / _TICK


def main() -> None:
    """Print a row for each way, in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="rescale_x4")
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--triton", action="store_true", help="fetch and run Triton, too")
    options = parser.parse_args()
    os.environ.update(_RAY)
    ways: dict[str, Way] = {"`hcflow upscale FOLDER`": _folder, "a shard of a list": _shard}
    ways |= {"Ray, shards of a list": _ray, "HTTP": _http, "Ray Serve": _ray_serve}
    ways |= {"Triton": _triton} if options.triton else {}
    print("| way | plain loop, ms | added, ms | / plain loop |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        kinds = pictures()
        for index in range(2 * options.pictures):
            Image.fromarray(kinds[index % len(kinds)]).save(folder / "in" / f"{index:05d}.png")
        for title, way in ways.items():
            rounds = _in_turns(way, folder, options)
            plain, added, ratio = map(statistics.median, zip(*rounds, strict=True))
            row = f"| {title} | {1e3 * plain:.0f} | {1e3 * added:.0f} | {ratio:.3f} |"
            print(row, flush=True)


def _in_turns(
    way: Way, folder: Path, options: argparse.Namespace
) -> list[tuple[float, float, float]]:
    """Of each round the loop's seconds a picture, what the way adds, and the ratio of both."""
    found = []
    level = 6 if way in _COMMANDS else 1  # as files are written, and answers
    with _loop(folder, options.model, level) as loop, way(folder, options.model) as convert:
        for _ in range(options.rounds):
            plain = _seconds(loop, options.pictures) / options.pictures
            client = way in _CLIENTS
            taken = _seconds(convert, options.pictures, client)
            if way in _COMMANDS:
                taken = _seconds(convert, 2 * options.pictures) - taken
            taken /= options.pictures
            found.append((plain, taken - plain, taken / plain))
    return found


def _seconds(convert: Convert, count: int, client: bool = False) -> float:
    """Processor seconds of so many pictures, without those of a client in this process."""
    start, mine = busy_seconds(), time.process_time()
    convert(count)
    return busy_seconds() - start - (time.process_time() - mine if client else 0.0)


@contextlib.contextmanager
def _loop(folder: Path, model_name: str, level: int) -> Iterator[Convert]:
    """Read, upscale and write as PNG, without what a file's own record and metadata ask."""
    options: dict[str, Any] = {**computation(), "threads": 1}
    model = load(model_name, **options)

    def convert(count: int) -> None:
        for path in _names(folder, count):
            large = model.upscale(Image.open(path).convert("RGB"))
            large.save(folder / "large.png", compress_level=level)

    convert(1)
    yield convert


def _names(folder: Path, count: int) -> list[Path]:
    return sorted((folder / "in").iterdir())[:count]


@contextlib.contextmanager
def _folder(folder: Path, model: str) -> Iterator[Convert]:
    def convert(count: int) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            for path in _names(folder, count):
                (Path(name) / path.name).hardlink_to(path)
            _upscale(name, "-o", f"{name}/out", "--model", model)

    yield convert


@contextlib.contextmanager
def _shard(folder: Path, model: str, *words: str) -> Iterator[Convert]:
    def convert(count: int) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            listed = Path(name, "list.txt")
            listed.write_text("".join(f"{path}\n" for path in _names(folder, count)))
            _upscale("--manifest", str(listed), "-o", f"{name}/out", "--model", model, *words)

    yield convert


def _ray(folder: Path, model: str) -> contextlib.AbstractContextManager[Convert]:
    return _shard(folder, model, "--ray", "local")


def _upscale(*words: str) -> None:
    program = [sys.executable, "-m", "hcflow", "upscale"]
    subprocess.run([*program, *words, "--threads", "1"], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def _http(folder: Path, model: str) -> Iterator[Convert]:
    server = Server(argparse.Namespace(model=model, threads=1))
    try:
        yield _asking(folder, server.port)
    finally:
        server.close()


@contextlib.contextmanager
def _ray_serve(folder: Path, model: str) -> Iterator[Convert]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"port": 8765})
        serve.run(deployment([model], load={"threads": 1}))
        yield _asking(folder, 8765)
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


def _asking(folder: Path, port: int) -> Convert:
    def convert(count: int) -> None:
        for path in _names(folder, count):
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
            link.request("POST", "/v1/upscale", path.read_bytes())
            answer = link.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
            link.close()

    convert(1)
    return convert


@contextlib.contextmanager
def _triton(folder: Path, model: str) -> Iterator[Convert]:
    name, *_ = repository.write(
        Bundle.open(resolve(model)),
        folder / "models",
        parameters={**computation(), "threads": "1"},
        python_path=[str(Path(np.__file__).parents[1])],
    )
    with triton_server.running(folder / "models", folder / "triton.log") as server:
        client = triton_client.InferenceServerClient(server.http, network_timeout=600.0)

        def convert(count: int) -> None:
            for path in _names(folder, count):
                picture = np.asarray(Image.open(path).convert("RGB"))
                given = triton_client.InferInput("IMAGE", list(picture.shape), "UINT8")
                given.set_data_from_numpy(picture)
                client.infer(name, [given]).as_numpy("UPSCALED")

        convert(1)
        yield convert


_CLIENTS = (_http, _ray_serve, _triton)
_COMMANDS = (_folder, _shard, _ray)


if __name__ == "__main__":
    main()
