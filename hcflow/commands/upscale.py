"""`hcflow upscale`: small images in, large ones out: a file, a folder, a video."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from hcflow.cli import console, input_output, options
from runtime.convert import file, image, large_file
from runtime.convert import uncertainty as uncertain
from runtime.convert.image import Recalled
from runtime.convert.job import Recipe
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
    load = options.load(backend, precision, threads, io, compile_engines)
    drawing = {
        "--samples": (samples or 1) > 1,
        "--uncertainty": uncertainty,
        "--tau-map": tau_map,
        "--vary-latents": vary_latents,
    }
    open_model = _opening(load, tau, drawing)
    samples = samples or (SAMPLES if uncertainty else 1)
    choice: dict[str, Any] = {
        "tau": tau,
        "seed": number,
        "samples": samples,
        "size": None if size is None else input_output.parse_size(size),
    }
    # Only what is given: a folder's record of finished files hangs on every option.
    given = {
        "tile": tile,
        "overlap": overlap,
        "tau_map": None if tau_map is None else input_output.read(tau_map, max_pixels).image,
    }
    choice |= {k: v for k, v in given.items() if v is not None}
    recipe = Recipe(
        "upscale", model, load, choice, max_pixels, True, obey_record, strips, force=force
    )
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
        pipe.convert_video(
            source, output, recipe, head, jobs, open_model, vary_latents=vary_latents
        )
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
            source, output, recipe, format_name=format_name, jobs=jobs, as_json=as_json
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
    figures = dict[str, Any]()
    choice["report"] = noted = Report()
    if uncertainty is not None:
        (heat_name,), heat_format = input_output.outputs(
            source, uncertainty, force=force, as_json=as_json
        )
        if os.path.realpath(heat_name) == os.path.realpath(names[0]):
            raise typer.BadParameter(f"'{heat_name}' cannot be both the picture and its heat map")
        photo = input_output.read(source, max_pixels)
        check_mode(photo.result_mode, format_name)
        small = _recalled(photo, source, recipe, open_model, (format_name, heat_format))
        drawn = console.run(
            f"drawing {photo.size[0]}×{photo.size[1]} {samples} times",
            lambda: uncertain.measure(small, choice),
        )
        input_output.write(drawn.mean, names[0], format_name)
        input_output.write(drawn.heat, heat_name, heat_format)
        network, made_size, record = small.model, drawn.mean.size, small.origin
        figures |= {"uncertainty": heat_name, "largest": drawn.largest, "mean": drawn.average}
        _tell_deviation(drawn, heat_name, quiet=as_json or not os.path.isfile(names[0]))
    elif input_output.wants_strips(source, output, recipe, format_name):
        streamed = console.run_with_bar(
            lambda tell: large_file.convert(
                recipe, open_model, source, output, str(format_name), tell
            )
        )
        network, made_size, record = streamed.model, streamed.size, streamed.origin
    else:
        photo = input_output.read(source, max_pixels)
        check_mode(photo.result_mode, format_name)
        result = console.run(
            f"upscaling {photo.size[0]}×{photo.size[1]}",
            lambda: image.enlarge(
                _recalled(photo, source, recipe, open_model, (format_name,)), choice
            ),
        )
        for each, name in zip(result.photos, names, strict=True):
            input_output.write(each, name, format_name)
        network, made_size, record = result.model, result.photos[0].size, result.origin
    if as_json:
        report = {
            "model": network.manifest.name,
            "input": source,
            "outputs": names,
            "size": list(made_size),
            "tau": network.default_tau if tau is None else tau,
            "seed": number,
            "origin": None if record is None else asdict(record),
            "tiles": noted.as_json(),
            **figures,
            "seconds": elapsed(),
        }
        print(json.dumps(report))


def _tell_deviation(drawn: uncertain.Uncertain, heat_name: str, *, quiet: bool) -> None:
    if not quiet and os.path.isfile(heat_name):
        print(
            f"{console.shown(heat_name)}: deviation {drawn.average:.4f} on average, white is "
            f"{drawn.largest:.4f}"
        )


def _recalled(
    photo: Photo,
    source: str,
    recipe: Recipe,
    open_model: Callable[[str | None], Model],
    formats: Sequence[str],
) -> Recalled:
    """`convert.recalled` for a file of the command line."""
    return image.recalled(
        open_model,
        recipe.model,
        photo,
        input_output.named(source),
        recipe.options["size"],
        obey_record=recipe.obey_record,
        formats=formats,
    )


def _opening(
    load: Mapping[str, Any], tau: float | None, drawing: Mapping[str, object]
) -> Callable[[str | None], Model]:
    """`Models.open`; what needs draws that differ is refused at τ = 0, asked for or the model's."""
    _refuse_at_rest(tau, drawing)
    models = file.Models(load)

    def opened(name: str | None) -> Model:
        model = models.open(name)
        _refuse_at_rest(model.default_tau if tau is None else tau, drawing)
        return model

    return opened


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
