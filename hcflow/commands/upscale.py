"""`hcflow upscale`: LR images in, HR images out: a file, a folder, a list, a video."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from hcflow.cli import console, input_output, options
from hcflow.cli.conversion import dispatch
from hcflow.cli.conversion.options import ConversionOptions
from hcflow.cli.option_groups import option_groups
from hcflow.models import shipped
from hcflow.models.load import Models
from runtime.convert import frames, image, large_file, uncertainty
from runtime.convert.job import Job
from runtime.convert.large_file import Converted, converted
from runtime.convert.restore import Restoration, restoration_of
from runtime.convert.sizing import WantedSize
from runtime.images.codecs.formats import Photo, check_mode
from runtime.inference.report import Report
from runtime.latents import fresh_seed
from runtime.model import Model

_sampling = functools.partial(typer.Option, rich_help_panel=options.SAMPLING)
_sizing = functools.partial(typer.Option, rich_help_panel=options.SIZE)


@option_groups
def upscale(
    *,
    tau: options.Tau = None,
    seed: Annotated[
        str,
        _sampling(metavar="N|random", help="Seed of the latents; random draws one and prints it."),
    ] = "0",
    samples: Annotated[
        int | None,
        _sampling(
            min=1,
            help="Number of images to draw: OUTPUT-1, OUTPUT-2, …",
            show_default=f"1, or {uncertainty.SAMPLES} for --uncertainty",
        ),
    ] = None,
    tau_map: Annotated[
        str | None,
        _sampling(help="Gray image, stretched over the input: τ where it is white, 0 where black."),
    ] = None,
    heat_map: Annotated[
        str | None,
        _sampling(
            "--uncertainty",
            metavar="HEATMAP",
            help="Write the standard deviation of --samples draws here, and their mean to OUTPUT.",
        ),
    ] = None,
    given: ConversionOptions,
    scale: Annotated[
        float | None,
        _sizing(
            help="Factor of both sides: what the network gives is resampled down to it, or above "
            "its scale enlarged a second time.",
            show_default="the model's",
        ),
    ] = None,
    width: Annotated[
        int | None, _sizing(min=1, help="Width of the result; the height follows.")
    ] = None,
    height: Annotated[
        int | None, _sizing(min=1, help="Height of the result; the width follows.")
    ] = None,
    max_side: Annotated[int | None, _sizing(min=1, help="Longer side of the result.")] = None,
    size: Annotated[
        str | None,
        _sizing(
            metavar="WxH",
            help="Exact size of the result: up to the padding of a downscale it is cut, else "
            "resampled.",
        ),
    ] = None,
    obey_record: Annotated[
        bool,
        typer.Option(
            "--recall/--no-recall",
            help="Read model and exact size from the record that downscale put in the file.",
        ),
    ] = True,
    vary_latents: Annotated[
        bool,
        typer.Option(
            "--vary-latents",
            help="Draw other latents for every frame.",
            rich_help_panel=options.VIDEO,
        ),
    ] = False,
) -> None:
    """Upscale an image, the images of a folder or list, or a video's frames by the model's scale.

    A file that downscale made goes back to its own model, any other to sr_x4. The same input, τ and
    seed give the same bytes, whatever the number of threads and jobs.
    """
    sizes = {"--scale": scale, "--width": width, "--height": height, "--max-side": max_side}
    chosen = [name for name, value in {**sizes, "--size": size}.items() if value is not None]
    if len(chosen) > 1:
        raise typer.BadParameter(f"{' and '.join(chosen)}: give one of them")
    number = _parse_seed(seed)
    random_options = {
        "--samples": (samples or 1) > 1,
        "--uncertainty": heat_map,
        "--tau-map": tau_map,
        "--vary-latents": vary_latents,
    }
    _refuse_without_tau(tau, random_options)
    models = given.models(shipped.UPSCALES)
    job = given.job(
        "upscale",
        models,
        tau=tau,
        seed=number,
        samples=samples or (uncertainty.SAMPLES if heat_map else 1),
        size=None if size is None else input_output.parse_size(size),
        wanted=WantedSize(scale, width, height, max_side),
        tau_map=None if tau_map is None else input_output.read(tau_map, given.max_pixels).image,
        obey_record=obey_record,
    )
    checked = replace(job, models=_with_tau(models, tau, random_options))
    dispatch.convert(
        given,
        checked,
        lambda: _upscale_image(given, checked, heat_map),
        folder_job=job,  # each image's record may choose a model, so that none is refused here
        image_options={"--uncertainty": heat_map},
        vary_latents=vary_latents,
    )


def _upscale_image(given: ConversionOptions, job: Job, heat_map: str | None) -> None:
    source, output, as_json = given.source, given.output, given.as_json
    input_output.refuse(
        {"--strips": heat_map is not None and job.strips}, "does not work with --uncertainty"
    )
    samples = 1 if heat_map else job.samples
    if output is None:
        output = input_output.derived(source, job, given.format_name, given.suffix, samples)
    names, format_name = input_output.outputs(
        source,
        output,
        samples=samples,
        format_name=given.format_name,
        force=job.force,
        as_json=as_json,
    )
    input_output.check_quality(job.quality, format_name)
    elapsed = console.stopwatch()
    report = Report()
    figures = dict[str, Any]()
    if heat_map is not None:
        made, figures = _measure_uncertainty(
            job, source, names[0], format_name, heat_map, report, as_json
        )
    elif input_output.wants_strips(source, output, job, format_name):
        made = console.run_with_bar(
            lambda tell: large_file.convert(
                job, source, output, format_name, progress=tell, report=report
            )
        )
    else:
        made, figures = _upscale_in_memory(job, source, names, format_name, report)
    if as_json:
        facts = {
            "model": made.model.manifest.name,
            "input": source,
            "outputs": names,
            "size": list(made.size),
            "tau": made.model.default_tau if job.tau is None else job.tau,
            "seed": job.seed,
            "origin": None if made.record is None else asdict(made.record),
            "tiles": report.as_json(),
            **figures,
            "seconds": elapsed(),
        }
        print(json.dumps(facts))
    else:
        seconds = elapsed()
        for name in names:
            console.tell_result(name, made, report, seconds, _frames(figures))


def _frames(figures: Mapping[str, Any]) -> str:
    """What the line says of a file of several frames."""
    return f"; {figures['frames']} frames" if "frames" in figures else ""


def _upscale_in_memory(
    job: Job, source: str, names: Sequence[str], format_name: str, report: Report
) -> tuple[Converted, dict[str, Any]]:
    """Write one sample to each name; of several frames their number is a fact for `--json`."""
    opened = input_output.source_of(source, job.max_pixels)
    where = input_output.named(source)
    several = frames.find(opened, where, job, format_name)
    if several is not None:
        made = input_output.convert_frames(job, several, names[0], format_name, report)
        return made.first, {"frames": made.frames}
    with report.timed("decoding"):
        photo = input_output.read(opened, job.max_pixels, salvage=job.salvage)
    check_mode(photo.result_mode, format_name)
    frames.warn_of_losses(where, format_name)

    def work() -> tuple[Restoration, list[Photo]]:
        found = restoration_of(job, photo, where, (format_name,))
        return found, image.upscale(job, photo, found, report=report)

    found, images = console.run(f"upscaling {photo.size[0]}×{photo.size[1]}", work)
    for each, name in zip(images, names, strict=True):
        with report.timed("encoding"):
            input_output.write(each, name, format_name)
    return converted(images[0].size, found), {}


def _measure_uncertainty(
    job: Job,
    source: str,
    name: str,
    format_name: str,
    heat_map: str,
    report: Report,
    as_json: bool,
) -> tuple[Converted, dict[str, Any]]:
    """Write the mean of the samples and the heat map of their deviation; facts for `--json`."""
    (heat_name,), heat_format = input_output.outputs(
        source, heat_map, force=job.force, as_json=as_json
    )
    if os.path.realpath(heat_name) == os.path.realpath(name):
        raise typer.BadParameter(f"'{heat_name}' cannot be both the picture and its heat map")
    photo = input_output.read(source, job.max_pixels, salvage=job.salvage)
    check_mode(photo.result_mode, format_name)
    found = restoration_of(job, photo, input_output.named(source), (format_name, heat_format))
    drawn = console.run(
        f"drawing {job.samples} samples of {photo.size[0]}×{photo.size[1]}",
        lambda: uncertainty.measure(job, photo, found, report),
    )
    input_output.write(drawn.mean, name, format_name)
    input_output.write(drawn.heat_map, heat_name, heat_format)
    if not as_json and os.path.isfile(name) and os.path.isfile(heat_name):
        print(
            f"{console.shown(heat_name)}: mean deviation {drawn.average:.4f}, white is "
            f"{drawn.largest:.4f}"
        )
    figures = {"uncertainty": heat_name, "largest": drawn.largest, "mean": drawn.average}
    return converted(drawn.mean.size, found), figures


def _with_tau(models: Models, tau: float | None, random_options: Mapping[str, object]) -> Models:
    """The models, each refused where its default τ makes an option have no effect."""

    def check(model: Model) -> None:
        _refuse_without_tau(model.default_tau if tau is None else tau, random_options)

    return models.checked(check)


def _refuse_without_tau(tau: float | None, random_options: Mapping[str, object]) -> None:
    """Refuse what has no effect where all samples are the same; τ = None is not known yet."""
    if tau == 0:
        input_output.refuse(random_options, "has no effect at τ = 0: give a --tau above 0")


def _parse_seed(text: str) -> int:
    """The seed that is asked for; one that is drawn is printed at once, whatever follows."""
    if text == "random":
        drawn = fresh_seed()
        print(f"hcflow: seed {drawn}", file=sys.stderr, flush=True)
        return drawn
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"--seed '{text}': give a whole number, or random") from None
