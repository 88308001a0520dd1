"""What every way into a server shares: bounded work on its models, and what errors become."""

from __future__ import annotations

import asyncio
import io
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from hcflow.serving import form, options
from hcflow.serving.exchange import Exchange
from hcflow.serving.health import Health
from hcflow.serving.limits import Held, Limits, RefusedError, busy
from hcflow.serving.metrics import Gate, Metrics
from hcflow.serving.options import DownscaleOptions, UpscaleOptions
from hcflow.serving.served import ServedModels, check_direction
from hcflow.serving.workers import Workers
from runtime.convert import frames
from runtime.convert.file import convert_data
from runtime.convert.job import Job
from runtime.convert.sizing import padding_cut, sizing_of
from runtime.errors import HcflowError, ImageError, ParameterError, SizeError
from runtime.images.codecs import files
from runtime.images.pixels import padding
from runtime.inference.cancel import check_of
from runtime.inference.plan import windows_at_once

T = TypeVar("T")

_WHERE = "the image"
_SLOW_FORMATS = ("WEBP", "AVIF", "JPEG2000")  # whose encoders take minutes and cannot be stopped
_SLOW_SHARE = 8


class Service:
    """One server's models, workers and figures.

    Args:
        models: that are served.
        limits: of the server.
        computing: pictures computed at once; None is one on a GPU, and on processors as many as
            they have work for.
    """

    def __init__(self, models: ServedModels, limits: Limits, computing: int | None = None) -> None:
        computing = computing or (windows_at_once() if models.use_processors else 1)
        self.models, self.limits = models, limits
        self.metrics = Metrics()
        self.held = Held(limits.held_bytes)
        self.workers = Workers(computing, limits, self.held)
        self.health = Health(models, self.metrics)
        self._places = threading.Semaphore(computing)
        watch = self.metrics.watch
        watch("hcflow_waiting", "Requests that wait for a worker.", lambda: self.workers.waiting)
        watch("hcflow_running", "Requests that have a worker.", lambda: self.workers.running)
        watch("hcflow_held_bytes", "Bytes of bodies and results.", lambda: self.held.size)

    async def convert(self, request: Request, asked: UpscaleOptions | DownscaleOptions) -> Response:
        """Convert the image of a request as `hcflow upscale` and `hcflow downscale` do a file.

        Raises:
            HcflowError: it cannot be; a `RefusedError` says with which status.
            ClientGone: the client has gone.
        """
        exchange = exchange_of(request)
        format_name = options.format_accepted(request.headers.getlist("accept"))
        options.check_quality(asked, format_name)
        limits = self._limits_of(asked, format_name)
        job = options.job_of(asked, self.models, limits)
        check_direction(self.models.open(job.model), job.direction)
        content_type = request.headers.get("content-type", "")

        def look(body: bytes) -> tuple[bytes, int]:
            image = form.image_in(body, content_type)
            return image, _check_header(image, job, format_name)

        body = await self.body(request)
        image, pixels = await asyncio.to_thread(look, body)
        del body  # that of a form, beside its file, would count once and be there twice

        def work(cancel: threading.Event, gate: Gate) -> Response:
            bound = replace(job, cancel=cancel)
            data, facts = convert_data(image, _WHERE, format_name, bound, gate)
            self.count_pixels(job, pixels, facts["size"][0] * facts["size"][1])
            headers = options.headers_of(job, facts)
            return Response(data, 200, headers, options.MEDIA_TYPES[format_name])

        return await self.run(exchange, work)

    def _limits_of(self, asked: UpscaleOptions | DownscaleOptions, format_name: str) -> Limits:
        """The limits of one request: of large results slow encoders would hold a worker."""
        if isinstance(asked, DownscaleOptions) or format_name not in _SLOW_FORMATS:
            return self.limits
        return replace(self.limits, hr_pixels=max(1, self.limits.hr_pixels // _SLOW_SHARE))

    async def problem(self) -> str | None:
        """Why no request should be sent here now; None where all is well."""
        return "the server is ending" if self.workers.is_closing else await self.health.problem()

    async def body(self, request: Request) -> bytes:
        """The body of a request that there is room for.

        Raises:
            RefusedError: there is none, or as `Exchange.body`.
        """
        coding = request.headers.get("content-encoding", "identity")
        if coding.strip().lower() != "identity":
            raise RefusedError(415, "compressed bodies are not taken: send the bytes as they are")
        self.workers.check_room()
        with self.metrics.stage("receive"):
            return await exchange_of(request).body()

    async def run(
        self, exchange: Exchange, work: Callable[[threading.Event, Gate], Response]
    ) -> Response:
        """Work that computes, in its turn; the result counts as held.

        Args:
            exchange: whose work it is.
            work: is given an event that ends it, and the gate to compute in.

        Raises:
            HcflowError, ClientGone: as `Workers.run` and the work.
        """
        asked, loop = time.monotonic(), asyncio.get_running_loop()

        def measured(cancel: threading.Event) -> Response:
            self.metrics.stages.labels("queue").observe(time.monotonic() - asked)
            gate = Gate(self._places, check_of(cancel))
            try:
                response = work(cancel, gate)
            except Exception as error:
                self.health.failed(error)
                raise
            finally:
                gate.finish(self.metrics)
            self.health.succeeded()
            # Before its thread is free, so that whose turn comes next is told of it.
            loop.call_soon_threadsafe(exchange.lease.add, len(response.body))
            return response

        return await self.workers.run(measured, exchange.gone)

    def count_pixels(self, job: Job, before: int, after: int) -> None:
        """Count the pixels of a conversion."""
        self.metrics.pixels.labels(job.direction, "in").inc(before)
        self.metrics.pixels.labels(job.direction, "out").inc(after)


def exchange_of(request: Request) -> Exchange:
    """The exchange of a request."""
    exchange = request.scope["hcflow.exchange"]
    assert isinstance(exchange, Exchange)
    return exchange


def refusal_of(error: Exception) -> RefusedError:
    """The answer to a request whose work has raised an error."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, SizeError):
        # Its advice is for who starts a server, not for who asks it.
        return RefusedError(413, f"{str(error).partition(': raise')[0]}: send a smaller image")
    if isinstance(error, ImageError | ParameterError):
        return RefusedError(422, str(error))
    if isinstance(error, MemoryError):
        return busy("out of memory: send a smaller image, or try again in a moment")
    if isinstance(error, HcflowError):
        return RefusedError(500, str(error))
    return RefusedError(500, "this is a fault of the program; its log says more")


def _check_header(image: bytes, job: Job, format_name: str) -> int:
    """The pixels that an image's header states, all frames together, before any is decoded.

    Raises:
        ImageError: no image, or one that is too large, or whose result would be.
    """
    try:
        opened = files.open_header(io.BytesIO(image), _WHERE, job.max_pixels)
    except SizeError as error:
        raise refusal_of(error) from None
    except ImageError as error:
        raise RefusedError(415, str(error)) from None
    sizes = [opened.size]
    if several := frames.find(image, _WHERE, job, format_name):
        pages = [(page.width, page.height) for page in several.pages]
        sizes = pages or sizes * several.number
    pixels = sum(width * height for width, height in sizes)
    if pixels > job.max_pixels:
        raise RefusedError(
            413,
            f"{_WHERE} has {len(sizes)} pages of {pixels} pixels in all, the limit is "
            f"{job.max_pixels}: send fewer",
        )
    if job.direction == "upscale" and (job.wanted.given or job.size is not None):
        _check_computed(sizes, job)
    return pixels


def _check_computed(sizes: list[tuple[int, int]], job: Job) -> None:
    times = Counter(sizes)
    found = {size: _size_computed(size, job) for size in times}
    pixels = sum(count * math.prod(found[size]) for size, count in times.items())
    if job.hr_pixels is not None and pixels > job.hr_pixels:
        height, width = found[sizes[0]]
        shown = f"{width}×{height}" if len(sizes) == 1 else f"{len(sizes)} frames of {pixels}"
        raise RefusedError(
            413,
            f"{_WHERE} would be computed at {shown} pixels, the limit is {job.hr_pixels}: ask for "
            "a smaller size",
        )


def _size_computed(size: tuple[int, int], job: Job) -> tuple[int, int]:
    """(height, width) that the network gives at least of an image, which may lie on its side."""
    scale = job.models.open(job.model).scale
    found, errors = [], []
    for width, height in (size, size[::-1]):
        try:
            cut = padding_cut((width, height), scale, job.size)
            full = padding.target_size(height, width, scale, cut)
            found.append(sizing_of(full, scale, job.wanted, job.size).network_size(scale))
        except ImageError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return min(found, key=math.prod)
