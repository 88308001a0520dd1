"""`hcflow downscale`: HR images in, LR images out that `upscale` can undo."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer

from hcflow.cli import console, input_output, options
from hcflow.models.load import Models
from runtime.convert import image, large_file
from runtime.convert.image import Downscaled
from runtime.convert.job import Job
from runtime.images.files import MAX_PIXELS, check_mode
from runtime.inference.grid import Tiling
from runtime.inference.report import Report


def downscale(
    *,
    source: options.Input,
    output: options.Output,
    model: options.ModelName = None,
    threads: options.Threads = None,
    backend: options.Backend = "onnxruntime",
    precision: options.PrecisionName = None,
    io: options.Io = None,
    compile_engines: options.CompileEngines = False,
    format_name: options.Format = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    round_trip: Annotated[
        bool,
        typer.Option(
            "--round-trip/--no-round-trip",
            help="Upscale the result again and record its PSNR; takes as long again.",
        ),
    ] = True,
    tile: options.Tile = None,
    overlap: options.Overlap = None,
    jobs: options.Jobs = 1,
    strips: options.Strips = None,
    video: options.Video = None,
    frame_size: options.FrameSize = None,
    matrix: options.Matrix = None,
    colour_range: options.Range = None,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Downscale an image, every image of a folder, or a video's frames; sides are rounded up.

    Write a lossless format (PNG): upscale cannot restore what a lossy one drops. The file records
    which model made it and the size of the original.
    """
    job = Job(
        "downscale",
        Models(options.load(backend, precision, threads, io, compile_engines)),
        model,
        tiling=Tiling(tile, overlap),
        max_pixels=max_pixels,
        round_trip=round_trip,
        strips=strips,
        force=force,
    )
    input_output.check_video_options(
        video,
        {"--frame-size": frame_size, "--matrix": matrix, "--range": colour_range},
        {"--strips": strips, "--format": format_name, "--json": as_json},
    )
    if video is not None:
        from hcflow.cli.video import Stream, convert_video

        stream = Stream(video, frame_size, matrix, colour_range)
        convert_video(source, output, job, stream, jobs)
    elif input_output.is_folder(source):
        from hcflow.cli.folder import convert_folder

        convert_folder(source, output, job, format_name=format_name, jobs=jobs, as_json=as_json)
    else:
        (name,), format_name = input_output.outputs(
            source, output, format_name=format_name, force=force, as_json=as_json
        )
        _downscale_image(job, source, name, format_name, as_json)


def _downscale_image(job: Job, source: str, name: str, format_name: str, as_json: bool) -> None:
    elapsed = console.stopwatch()
    report = Report()
    facts: dict[str, Any] = {"input": source, "outputs": [name]}
    if input_output.wants_strips(source, name, job, format_name):
        streamed = console.run_with_bar(
            lambda tell: large_file.convert(
                job, source, name, format_name, progress=tell, report=report
            )
        )
        facts |= {"model": streamed.model.manifest.name, "size": list(streamed.size)}
    else:
        photo = input_output.read(source, job.max_pixels)
        check_mode(photo.result_mode, format_name)
        network = job.models.open(job.model)
        small = console.run(
            f"downscaling {photo.size[0]}×{photo.size[1]} by {network.scale}",
            lambda: image.downscale(job, network, photo, format_name, report),
        )
        input_output.write_bytes(small.data, name)
        facts |= {"model": network.manifest.name, "input_size": list(photo.size)}
        facts |= small.as_json()
        if not as_json and os.path.isfile(name):  # not where the image itself may be shown
            print(_summary(name, small))
    if as_json:
        print(json.dumps({**facts, "tiles": report.as_json(), "seconds": elapsed()}))


def _summary(name: str, small: Downscaled) -> str:
    share = len(small.data) / small.bicubic_bytes - 1
    psnr = small.round_trip_psnr_db
    return (
        f"{console.shown(name)}: {small.size[0]}×{small.size[1]}, {len(small.data)} bytes "
        f"({share:+.1%} on bicubic's {small.bicubic_bytes})"
        + ("" if psnr is None else f", round trip {psnr:.2f} dB")
    )
