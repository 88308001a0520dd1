"""`hcflow downscale`: large images in, small ones out that `upscale` can undo."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer

from hcflow.cli import console, input_output, options
from hcflow.models.load import Models
from runtime.convert import image, large_file
from runtime.convert.job import Job
from runtime.images.files import MAX_PIXELS, check_mode
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
            help="Measure what upscaling the file will give, and record it; takes as long again.",
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

    Keep the result in a lossless format (PNG): what a lossy one drops, upscale cannot bring back.
    The file then knows which model made it, and how large it was.
    """
    models = Models(options.load(backend, precision, threads, io, compile_engines))
    grid = {"tile": tile, "overlap": overlap}
    choice: dict[str, Any] = {name: value for name, value in grid.items() if value is not None}
    job = Job(
        "downscale", models, model, choice, max_pixels, round_trip, strips=strips, force=force
    )
    if video is not None:
        from hcflow.cli import video as pipe

        input_output.refuse(
            {"--strips": strips, "--format": format_name, "--json": as_json},
            "does not go with --video",
        )
        stream = pipe.Stream(video, frame_size, matrix, colour_range)
        pipe.convert_video(source, output, job, stream, jobs)
        return
    input_output.refuse(
        {"--frame-size": frame_size, "--matrix": matrix, "--range": colour_range},
        "is of a video: give its kind with --video",
    )
    if input_output.is_folder(source):
        from hcflow.cli import folder

        folder.convert_folder(
            source, output, job, format_name=format_name, jobs=jobs, as_json=as_json
        )
        return
    (name,), format_name = input_output.outputs(
        source, output, format_name=format_name, force=force, as_json=as_json
    )
    elapsed = console.stopwatch()
    report: dict[str, Any] = {"input": source, "outputs": [name]}
    noted = Report()
    choice["report"] = noted
    if input_output.wants_strips(source, output, job, format_name):
        streamed = console.run_with_bar(
            lambda tell: large_file.convert(job, source, output, str(format_name), tell)
        )
        report |= {"model": streamed.model.manifest.name, "size": list(streamed.size)}
    else:
        photo = input_output.read(source, max_pixels)
        check_mode(photo.result_mode, format_name)
        network = models.open(model)
        reduced = console.run(
            f"downscaling {photo.size[0]}×{photo.size[1]} by {network.scale}",
            lambda: image.reduce(
                network, photo, str(format_name), round_trip=round_trip, options=choice
            ),
        )
        input_output.write_bytes(reduced.data, name)
        report |= {"model": network.manifest.name, "input_size": list(photo.size)}
        report |= image.figures_of(reduced)
        if not as_json and os.path.isfile(name):  # not where the image itself may be shown
            print(_summary(name, reduced))
    if as_json:
        print(json.dumps({**report, "tiles": noted.as_json(), "seconds": elapsed()}))


def _summary(name: str, reduced: image.Reduced) -> str:
    share = len(reduced.data) / reduced.bicubic_bytes - 1
    psnr = reduced.round_trip_psnr_db
    return (
        f"{console.shown(name)}: {reduced.size[0]}×{reduced.size[1]}, {len(reduced.data)} bytes "
        f"({share:+.1%} on bicubic's {reduced.bicubic_bytes})"
        + ("" if psnr is None else f", round trip {psnr:.2f} dB")
    )
