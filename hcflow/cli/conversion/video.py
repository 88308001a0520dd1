"""`--video`: frames from standard input to standard output, in order, each once it is done."""

from __future__ import annotations

import queue
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

import typer

from hcflow.cli import input_output
from runtime.convert.job import Job
from runtime.convert.sizing import padding_cut, sizing_of
from runtime.errors import ParameterError
from runtime.images import video
from runtime.images.pixels import padding
from runtime.images.video import Convert, Frame


@dataclass(frozen=True)
class Stream:
    """What the command line says of a stream; None is left to the stream."""

    kind: str
    frame_size: str | None
    matrix: str | None
    colour_range: str | None


def convert_video(
    source: str, output: str, job: Job, asked: Stream, jobs: int, *, vary_latents: bool = False
) -> None:
    """Convert every frame; all of them with the same latents unless `vary_latents`.

    The model is opened once the stream's head could be read.

    Raises:
        typer.BadParameter: not from and to pipes, or more than one sample.
        HcflowError: the stream ends within a frame, or is not a video; the model fails.
    """
    if (source, output) != (input_output.STANDARD, input_output.STANDARD):
        raise typer.BadParameter("--video works through pipes: give - -o -")
    input_output.check_standard_output("a video")
    if job.samples > 1:
        raise typer.BadParameter("--samples does not work with --video")
    size = None if asked.frame_size is None else input_output.parse_size(asked.frame_size)
    pipe = sys.stdin.buffer
    stream = video.open_stream(
        pipe,
        asked.kind,
        size=size,
        matrix=asked.matrix,
        colour_range=asked.colour_range,
        max_pixels=job.max_pixels,
    )
    model = job.models.open(job.model)
    if job.direction == "downscale":
        height, width = -(-stream.height // model.scale), -(-stream.width // model.scale)
    else:
        cut = padding_cut((stream.width, stream.height), model.scale, job.size)
        full = padding.target_size(stream.height, stream.width, model.scale, cut)
        sizing = sizing_of(full, model.scale, job.wanted, job.size)
        height, width = sizing.target

    def convert(frame: Frame, index: int) -> Frame:
        result: Frame
        if job.direction == "downscale":
            result = model.downscale(frame, **job.tiling_options())
        else:
            varied = {"seed": job.seed + index} if vary_latents and job.seed is not None else {}
            options = {**job.upscale_options(), "size": cut, **varied}
            result = sizing.finish(model, model.upscale(frame, **options), options)
        return result

    relay(pipe, sys.stdout.buffer, stream, stream.sized(width, height), convert, jobs)


def relay(
    source: BinaryIO,
    sink: BinaryIO,
    stream: video.Stream,
    result: video.Stream,
    convert: Convert,
    jobs: int,
) -> None:
    """Read, convert and write frames: `jobs` at a time, in order, one frame of latency each.

    Ctrl-C is raised at once, whatever frames are still computed.

    Raises:
        HcflowError: as `video.read_frame` and `convert`; every frame before has been written.
        BrokenPipeError: whoever reads has gone.
    """
    if jobs < 1:
        raise ParameterError(f"jobs is {jobs}: it must be 1 or more")
    waiting: queue.Queue[Future[bytes] | None] = queue.Queue()
    room = threading.Semaphore(jobs + 1)  # one more is read while the others are computed
    errors: list[BaseException] = []

    def work(data: bytes, index: int) -> bytes:
        return video.encode(convert(video.decode(data, stream), index), result)

    def write() -> None:
        try:
            sink.write(result.header())
            sink.flush()
            while (done := waiting.get()) is not None:
                sink.write(done.result())
                sink.flush()
                room.release()
        except BaseException as error:  # raised again below, in the caller's thread
            errors.append(error)
            room.release()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    workers = ThreadPoolExecutor(jobs)

    def read() -> None:
        index = 0
        while not errors:
            data = video.read_frame(source, stream, index)
            if data is None:
                break
            room.acquire()
            if not errors:
                waiting.put(workers.submit(work, data, index))
            index += 1

    def finish() -> None:
        waiting.put(None)
        writer.join()
        workers.shutdown(cancel_futures=True)

    try:
        try:
            read()
        except Exception:
            finish()
            raise
        finish()
    finally:
        workers.shutdown(wait=False, cancel_futures=True)
        waiting.put(None)  # the writer's end, after Ctrl-C too
    if errors:
        raise errors[0]
