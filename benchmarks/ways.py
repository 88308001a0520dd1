"""What each way of serving adds to a picture: processor time of the machine over a plain loop.

`python -m benchmarks.ways --model rescale_x4 --pictures 12` runs each way with so many pictures of
128×128 and with twice as many; the difference is what they take, without start and warm-up. The
time is the whole machine's, as some ways have processes that are nobody's children: nothing else
may run. With --triton the server is fetched (130 MB) and measured, too.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
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
    """Print processor seconds a picture, and each way's ratio to the plain loop, as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="rescale_x4")
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--triton", action="store_true", help="fetch and run Triton, too")
    options = parser.parse_args()
    os.environ.update(_RAY)
    with tempfile.TemporaryDirectory() as name:
        found = _measured(Path(name), options)
    plain = (found["plain loop, first"] + found["plain loop, again"]) / 2
    for way, seconds in found.items():
        found[way] = {"seconds": round(seconds, 3), "ratio": round(seconds / plain, 3)}
    print(json.dumps(found, indent=1))


def _measured(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    (folder / "in").mkdir()
    kinds = pictures()
    for index in range(2 * options.pictures):
        Image.fromarray(kinds[index % len(kinds)]).save(folder / "in" / f"{index:05d}.png")
    found: dict[str, Any] = {"plain loop, first": _seconds(_loop, folder, options)}
    ways = {"folder": _folder, "shard of a list": _shard, "Ray, the list's shards": _ray}
    ways |= {"HTTP": _http, "Ray Serve": _ray_serve} | (
        {"Triton": _triton} if options.triton else {}
    )
    for way, run in ways.items():
        print(f"{way} …", file=sys.stderr, flush=True)
        found[way] = _seconds(run, folder, options)
    found["plain loop, again"] = _seconds(_loop, folder, options)
    return found


def _seconds(
    way: Callable[[Path, str], contextlib.AbstractContextManager[Convert]],
    folder: Path,
    options: argparse.Namespace,
) -> float:
    """Processor seconds that one more picture takes, without those of a client in this process."""
    taken = []
    with way(folder, options.model) as convert:
        for count in (options.pictures, 2 * options.pictures):
            start, mine = busy_seconds(), time.process_time()
            convert(count)
            client = time.process_time() - mine if way in _CLIENTS else 0.0
            taken.append(busy_seconds() - start - client)
    return (taken[1] - taken[0]) / options.pictures


@contextlib.contextmanager
def _loop(folder: Path, model_name: str) -> Iterator[Convert]:
    """Read, upscale and write as PNG, without what a file's own record and metadata ask."""
    model = load(model_name, **computation(), threads=1)

    def convert(count: int) -> None:
        for path in _names(folder, count):
            large = model.upscale(Image.open(path).convert("RGB"))
            large.save(folder / "large.png", compress_level=1)

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
        serve.shutdown()
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


if __name__ == "__main__":
    main()
