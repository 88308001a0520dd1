"""`hcflow upscale`: LR images in, HR images out: a file, a folder, a video."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from hcflow.cli import console, conversion, input_output, options
from hcflow.cli.conversion import ConversionOptions
from hcflow.cli.option_groups import option_groups
from hcflow.models import shipped
from hcflow.models.load import Models
from runtime.convert import frames, image, large_file, uncertainty
from runtime.convert.job import Job
from runtime.convert.large_file import Converted
from runtime.convert.restore import Restoration, restoration_of
from runtime.images.codecs.files import Photo, check_mode
from runtime.inference.report import Report
from runtime.latents import fresh_seed
from runtime.model import Model

_sampling = functools.partial(typer.Option, rich_help_panel=options.SAMPLING)


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
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="Exact size of the result, to undo a downscale's padding."
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
    """Upscale an image, every image of a folder, or a video's frames by the model's scale.

    The same input, τ and seed give the same bytes, whatever the number of threads and jobs.
    """
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
        tau_map=None if tau_map is None else input_output.read(tau_map, given.max_pixels).image,
        obey_record=obey_record,
    )
    checked = replace(job, models=_with_tau(models, tau, random_options))
    conversion.run(
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
    names, format_name = input_output.outputs(
        source,
        output,
        samples=1 if heat_map else job.samples,
        format_name=given.format_name,
        force=job.force,
        as_json=as_json,
    )
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


def _upscale_in_memory(
    job: Job, source: str, names: Sequence[str], format_name: str, report: Report
) -> tuple[Converted, dict[str, Any]]:
    """Write one sample to each name; of several frames their number is a fact for `--json`."""
    opened = input_output.source_of(source)
    where = input_output.named(source)
    several = frames.find(opened, where, job, format_name)
    if several is not None:
        made = input_output.convert_frames(job, several, names[0], format_name, report)
        return Converted(made.size, made.model, made.record), {"frames": made.frames}
    photo = input_output.read(opened, job.max_pixels, salvage=job.salvage)
    check_mode(photo.result_mode, format_name)
    frames.warn_of_losses(where, format_name)

    def work() -> tuple[Restoration, list[Photo]]:
        found = restoration_of(job, photo, where, (format_name,))
        return found, image.upscale(job, photo, found, report=report)

    found, images = console.run(f"upscaling {photo.size[0]}×{photo.size[1]}", work)
    for each, name in zip(images, names, strict=True):
        input_output.write(each, name, format_name)
    return Converted(images[0].size, found.model, found.record), {}


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
    return Converted(drawn.mean.size, found.model, found.record), figures


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
