"""A real server of `hcflow serve` in a thread of the test, and a model that waits to be let go."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hcflow.serving.access import Access
from hcflow.serving.limits import Limits
from hcflow.serving.served import ServedModels
from hcflow.serving.server import Server, listen, url_of
from hcflow.serving.service import Service
from runtime.inference.cancel import check_of
from runtime.model import Model
from tests.support.bundles import write_bundle

OPTIONS = {"backend": "onnxruntime", "precision": "fp32", "threads": 1}
PATIENCE = 60.0


class HeldModel(Model):
    """Computes once it is let go, as a long computation does that looks for `cancel` in between."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.network)
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.cancelled = threading.Event()

    def upscale(self, image: Any, **options: Any) -> Any:
        self.entered.release()
        check = check_of(options.get("cancel"))
        while not self.go.wait(0.005):
            try:
                check()
            except Exception:
                self.cancelled.set()
                raise
        return super().upscale(image, **options)

    def wait(self, count: int = 1) -> None:
        """Until so many requests compute."""
        for _ in range(count):
            assert self.entered.acquire(timeout=PATIENCE)


class Running:
    """A server that runs, with a client for it."""

    def __init__(self, service: Service, server: Server, url: str) -> None:
        self.service, self.server, self.url = service, server, url
        self.client = httpx.Client(base_url=url, timeout=PATIENCE)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    @property
    def model(self) -> Model:
        """The default model."""
        return self.service.models.open(None)

    def hold(self) -> HeldModel:
        """Replace the default model by one that waits."""
        held = HeldModel(self.model)
        self.service.models.by_name[self.service.models.default] = held
        return held


@contextlib.contextmanager
def running(
    folder: Path, limits: Limits | None = None, access: Access | None = None, **bundle: Any
) -> Iterator[Running]:
    """A warm server of the tiny bundle, with one place to compute."""
    if not (folder / "manifest.json").exists():
        write_bundle(folder, **bundle)
    service = Service(ServedModels([str(folder)], OPTIONS), limits or Limits(), computing=1)
    server, ready = Server(service, access or Access()), threading.Event()
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve_on(listener, ready.set)), daemon=True
        )
        thread.start()
        try:
            assert ready.wait(PATIENCE)
            made = Running(service, server, url_of(listener))
            with made.client:
                yield made
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """A picture [H, W, C] that no two seeds have in common."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def png(pixels: NDArray[Any], **options: Any) -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.save(file, "PNG", **options)
    return file.getvalue()


def pixels(data: bytes) -> NDArray[Any]:
    """The picture in a file."""
    return np.asarray(Image.open(io.BytesIO(data)))
