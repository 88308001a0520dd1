"""What HTTP adds to a picture: processor time over a plain loop, memory over many requests.

`python -m benchmarks.serving --model rescale_x4 --requests 5000` starts a server and asks
it from as many clients as it has room for; the clients' processor time is this process's, and does
not count.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hcflow.models.load import computation, load

_CLIENTS = 8
_SIDE = 128  # LR pixels: 512×512 from a ×4 model
_KINDS = 16  # different pictures, whose answers are compared
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def pictures() -> list[np.ndarray[Any, Any]]:
    """Smooth pictures with some noise, [128, 128, 3], no two alike."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:_SIDE, :_SIDE] / _SIDE
    made = []
    for index in range(_KINDS):
        waves = np.stack([np.sin(6 * x + index), np.cos(5 * y - index), np.sin(4 * x * y)], -1)
        values = 127 + 100 * waves + random.normal(0, 4, waves.shape)
        made.append(np.clip(values, 0, 255).astype(np.uint8))
    return made


def _png(picture: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident_bytes(pid: int) -> int:
    """Memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def plain_loop(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of processor time a picture: of `upscale` alone, and with decoding and encoding."""
    model = load(options.model, **_load(options))
    files = [_png(picture) for picture in pictures()]
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
    model.upscale(images[0])
    start = time.process_time()
    for index in range(options.loop):
        model.upscale(images[index % _KINDS])
    alone = time.process_time() - start
    start = time.process_time()
    for index in range(options.loop):
        image = Image.open(io.BytesIO(files[index % _KINDS])).convert("RGB")
        model.upscale(image).save(io.BytesIO(), "PNG", compress_level=1)
    return {
        "upscale": alone / options.loop,
        "with files": (time.process_time() - start) / options.loop,
    }


def _load(options: argparse.Namespace) -> dict[str, Any]:
    return {**computation(), **({"threads": options.threads} if options.threads else {})}


class Server:
    """`hcflow serve` in a process of its own."""

    def __init__(self, options: argparse.Namespace) -> None:
        words = [options.model, "--port", "0", "--timeout", "600"]
        words += ["--threads", str(options.threads)] if options.threads else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hcflow", "serve", *words], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        said = self.process.stderr.readline()
        self.port = int(said.partition("127.0.0.1:")[2].split()[0])

    def ask(self, data: bytes) -> tuple[int, bytes]:
        """Status and body of one upscale."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        link.request("POST", "/v1/upscale", data)
        answer = link.getresponse()
        body = answer.read()
        link.close()
        return answer.status, body

    def close(self) -> int:
        """End it; its exit code."""
        self.process.terminate()
        return self.process.wait()


def load_test(options: argparse.Namespace) -> dict[str, Any]:
    """Many requests from a few clients: each waits for its answer before it asks again."""
    kinds = min(_KINDS, options.requests)
    files = [_png(picture) for picture in pictures()[:kinds]]
    server = Server(options)
    pid = server.process.pid
    try:
        expected = [server.ask(data)[1] for data in files]
        for index in range(min(4 * kinds, options.requests // 4)):  # its memory settles
            server.ask(files[index % kinds])
        memory = [resident_bytes(pid)]
        before, start = processor_seconds(pid), time.monotonic()
        mine = time.process_time()
        wrong = refused = 0

        def one(index: int) -> tuple[int, bool]:
            status, body = server.ask(files[index % kinds])
            return status, body == expected[index % kinds]

        with ThreadPoolExecutor(_CLIENTS) as clients:
            for block in _blocks(options.requests):
                for status, is_right in clients.map(one, block):
                    refused += status == 503
                    wrong += status == 200 and not is_right
                memory.append(resident_bytes(pid))
        return {
            "requests": options.requests,
            "refused": refused,
            "wrong answers": wrong,
            "server seconds a picture": (processor_seconds(pid) - before) / options.requests,
            "client seconds a picture": (time.process_time() - mine) / options.requests,
            "pictures a second": options.requests / (time.monotonic() - start),
            "resident MB": [round(each / 1e6, 1) for each in memory],
        }
    finally:
        server.close()


def _blocks(count: int) -> Iterator[range]:
    size = max(1, count // 10)
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="rescale_x4")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--loop", type=int, default=100, help="pictures of the plain loop")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    served = load_test(options)
    plain = plain_loop(options)
    each = served["server seconds a picture"]
    served["over upscale"] = f"{each / plain['upscale'] - 1:+.1%}"
    served["over upscale of files"] = f"{each / plain['with files'] - 1:+.1%}"
    print(json.dumps({"plain seconds a picture": plain, "served": served}, indent=2))


if __name__ == "__main__":
    main()
