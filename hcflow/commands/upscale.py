"""`hcflow upscale`: small images in, large ones out: a file, a folder, a video."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from hcflow.cli import console, input_output, options
from hcflow.models.load import Models
from runtime.convert import image, large_file
from runtime.convert import uncertainty as uncertain
from runtime.convert.image import Recalled
from runtime.convert.job import Job
from runtime.convert.large_file import Streamed
from runtime.convert.uncertainty import SAMPLES
from runtime.images.files import MAX_PIXELS, Photo, check_mode
from runtime.inference.report import Report
from runtime.latents import fresh_seed
from runtime.model import Model


def upscale(
    *,
    source: options.Input,
    output: options.Output,
    model: options.ModelName = None,
    tau: Annotated[
        float | None,
        typer.Option(help="Temperature, 0 or more.", show_default="the model's"),
    ] = None,
    seed: Annotated[
        str, typer.Option(metavar="N|random", help="Seed of the latents; random reports its draw.")
    ] = "0",
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Different images to draw: OUTPUT-1, OUTPUT-2, …",
            show_default=f"1, or {SAMPLES} for --uncertainty",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="Exact size of the result, to undo a downscale's padding."
        ),
    ] = None,
    threads: options.Threads = None,
    backend: options.Backend = "onnxruntime",
    precision: options.PrecisionName = None,
    io: options.Io = None,
    compile_engines: options.CompileEngines = False,
    format_name: options.Format = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    obey_record: Annotated[
        bool,
        typer.Option(
            "--recall/--no-recall",
            help="Take model and exact size from the record `downscale` left in the file.",
        ),
    ] = True,
    tau_map: Annotated[
        str | None,
        typer.Option(help="Gray image over the picture: τ where it is white, 0 where black."),
    ] = None,
    uncertainty: Annotated[
        str | None,
        typer.Option(
            metavar="HEATMAP",
            help="Write the deviation of --samples draws here, and their mean to OUTPUT.",
        ),
    ] = None,
    tile: options.Tile = None,
    overlap: options.Overlap = None,
    jobs: options.Jobs = 1,
    strips: options.Strips = None,
    video: options.Video = None,
    frame_size: options.FrameSize = None,
    matrix: options.Matrix = None,
    colour_range: options.Range = None,
    vary_latents: Annotated[
        bool, typer.Option("--vary-latents", help="Other latents in every frame of a video.")
    ] = False,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Upscale an image, every image of a folder, or a video's frames by the model's scale.

    The same input, τ and seed give the same bytes, whatever the number of threads and jobs.
    """
    number = _parse_seed(seed)
    models = Models(options.load(backend, precision, threads, io, compile_engines))
    drawing = {
        "--samples": (samples or 1) > 1,
        "--uncertainty": uncertainty,
        "--tau-map": tau_map,
        "--vary-latents": vary_latents,
    }
    _refuse_at_rest(tau, drawing)
    samples = samples or (SAMPLES if uncertainty else 1)
    choice: dict[str, Any] = {
        "tau": tau,
        "seed": number,
        "samples": samples,
        "size": None if size is None else input_output.parse_size(size),
    }
    # Only what is given: a folder's record of finished files hangs on every option.
    chart = None if tau_map is None else input_output.read(tau_map, max_pixels).image
    given = {"tile": tile, "overlap": overlap, "tau_map": chart}
    choice |= {k: v for k, v in given.items() if v is not None}
    job = Job("upscale", models, model, choice, max_pixels, True, obey_record, strips, force=force)
    single = replace(job, models=_drawing_models(models, tau, drawing))
    if video is not None:
        from hcflow.cli import video as pipe

        input_output.refuse(
            {
                "--uncertainty": uncertainty,
                "--strips": strips,
                "--format": format_name,
                "--json": as_json,
            },
            "does not go with --video",
        )
        head = pipe.Stream(video, frame_size, matrix, colour_range)
        pipe.convert_video(source, output, single, head, jobs, vary_latents=vary_latents)
        return
    input_output.refuse(
        {
            "--frame-size": frame_size,
            "--matrix": matrix,
            "--range": colour_range,
            "--vary-latents": vary_latents,
        },
        "is of a video: give its kind with --video",
    )
    if input_output.is_folder(source):
        from hcflow.cli import folder

        input_output.refuse({"--uncertainty": uncertainty}, "is of one image, not of a folder")
        folder.convert_folder(
            source, output, job, format_name=format_name, jobs=jobs, as_json=as_json
        )
        return
    input_output.refuse(
        {"--strips": uncertainty is not None and strips}, "does not go with --uncertainty"
    )
    names, format_name = input_output.outputs(
        source,
        output,
        samples=1 if uncertainty else samples,
        format_name=format_name,
        force=force,
        as_json=as_json,
    )
    elapsed = console.stopwatch()
    noted = Report()
    single = replace(single, options={**choice, "report": noted})
    figures = dict[str, Any]()
    if uncertainty is not None:
        (heat_name,), heat_format = input_output.outputs(
            source, uncertainty, force=force, as_json=as_json
        )
        if os.path.realpath(heat_name) == os.path.realpath(names[0]):
            raise typer.BadParameter(f"'{heat_name}' cannot be both the picture and its heat map")
        made, drawn = _draw(single, source, (format_name, heat_format))
        input_output.write(drawn.mean, names[0], format_name)
        input_output.write(drawn.heat, heat_name, heat_format)
        figures = {"uncertainty": heat_name, "largest": drawn.largest, "mean": drawn.average}
        if not as_json and os.path.isfile(names[0]) and os.path.isfile(heat_name):
            _tell_deviation(drawn, heat_name)
    elif input_output.wants_strips(source, output, single, format_name):
        made = console.run_with_bar(
            lambda tell: large_file.convert(single, source, output, str(format_name), tell)
        )
    else:
        made = _upscale(single, source, names, format_name)
    if as_json:
        report = {
            "model": made.model.manifest.name,
            "input": source,
            "outputs": names,
            "size": list(made.size),
            "tau": made.model.default_tau if tau is None else tau,
            "seed": number,
            "origin": None if made.origin is None else asdict(made.origin),
            "tiles": noted.as_json(),
            **figures,
            "seconds": elapsed(),
        }
        print(json.dumps(report))


def _upscale(job: Job, source: str, names: Sequence[str], format_name: str) -> Streamed:
    """One image in memory, drawn once for every name."""
    photo = input_output.read(source, job.max_pixels)
    check_mode(photo.result_mode, format_name)
    result = console.run(
        f"upscaling {photo.size[0]}×{photo.size[1]}",
        lambda: image.enlarge(_recalled(photo, source, job, (format_name,)), job.options),
    )
    for each, name in zip(result.photos, names, strict=True):
        input_output.write(each, name, format_name)
    return Streamed(result.photos[0].size, result.model, result.origin)


def _draw(job: Job, source: str, formats: Sequence[str]) -> tuple[Streamed, uncertain.Uncertain]:
    """One image drawn many times: the mean and the deviation of what comes out."""
    photo = input_output.read(source, job.max_pixels)
    check_mode(photo.result_mode, formats[0])
    small = _recalled(photo, source, job, formats)
    drawn = console.run(
        f"drawing {photo.size[0]}×{photo.size[1]} {job.options['samples']} times",
        lambda: uncertain.measure(small, job.options),
    )
    return Streamed(drawn.mean.size, small.model, small.origin), drawn


def _tell_deviation(drawn: uncertain.Uncertain, heat_name: str) -> None:
    print(
        f"{console.shown(heat_name)}: deviation {drawn.average:.4f} on average, white is "
        f"{drawn.largest:.4f}"
    )


def _recalled(
    photo: Photo,
    source: str,
    job: Job,
    formats: Sequence[str],
) -> Recalled:
    """`convert.recalled` for a file of the command line."""
    return image.recalled(
        job.models,
        job.model,
        photo,
        input_output.named(source),
        job.options["size"],
        obey_record=job.obey_record,
        formats=formats,
    )


def _drawing_models(models: Models, tau: float | None, drawing: Mapping[str, object]) -> Models:
    """The models, refused where what needs draws that differ would change nothing."""

    def check(model: Model) -> None:
        _refuse_at_rest(model.default_tau if tau is None else tau, drawing)

    return models.checked(check)


def _refuse_at_rest(tau: float | None, drawing: Mapping[str, object]) -> None:
    """Refuse what makes a difference only where draws differ; None is not known yet."""
    if tau == 0:
        input_output.refuse(drawing, "changes nothing at τ = 0: give a --tau above 0")


def _parse_seed(text: str) -> int:
    """The seed that is asked for; one that is drawn is told at once, whatever follows."""
    if text == "random":
        drawn = fresh_seed()
        print(f"hcflow: seed {drawn}", file=sys.stderr, flush=True)
        return drawn
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"--seed '{text}': a whole number, or random") from None
