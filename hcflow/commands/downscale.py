"""`hcflow downscale`: HR images in, LR images out that `upscale` can undo."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from hcflow.cli import console, conversion, input_output
from hcflow.cli.conversion import ConversionOptions
from hcflow.cli.option_groups import option_groups
from runtime.convert import frames, image, large_file
from runtime.convert.image import Downscaled
from runtime.convert.job import Job
from runtime.images.codecs.files import check_mode
from runtime.inference.report import Report


@option_groups
def downscale(
    *,
    given: ConversionOptions,
    round_trip: Annotated[
        bool,
        typer.Option(
            "--round-trip/--no-round-trip",
            help="Upscale the result again and record its PSNR; takes as long again.",
        ),
    ] = True,
) -> None:
    """Downscale an image, every image of a folder, or a video's frames; sides are rounded up.

    Write a lossless format (PNG): upscale cannot restore what a lossy one drops. The file records
    which model made it and the size of the original.
    """
    job = given.job("downscale", given.models(), round_trip=round_trip)
    conversion.run(given, job, lambda: _downscale_image(given, job))


def _downscale_image(given: ConversionOptions, job: Job) -> None:
    source, as_json = given.source, given.as_json
    (name,), format_name = input_output.outputs(
        source,
        given.output,
        format_name=given.format_name,
        force=given.force,
        as_json=as_json,
    )
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
        made = _downscale_in_memory(job, source, name, format_name, report)
        facts |= made.facts
        if not as_json and os.path.isfile(name):  # not where the image itself may be shown
            print(made.summary)
    if as_json:
        print(json.dumps({**facts, "tiles": report.as_json(), "seconds": elapsed()}))


@dataclass(frozen=True)
class _Made:
    """Facts for `--json`, and the line that says the same."""

    facts: dict[str, Any]
    summary: str


def _downscale_in_memory(
    job: Job, source: str, name: str, format_name: str, report: Report
) -> _Made:
    opened = input_output.source_of(source)
    where = input_output.named(source)
    several = frames.find(opened, where, job, format_name)
    if several is not None:
        made = input_output.convert_frames(job, several, name, format_name, report)
        width, height = made.size
        line = f"{console.shown(name)}: {made.frames} frames of {width}×{height}"
        if several.pages:
            line = f"{console.shown(name)}: {made.frames} pages, the first {width}×{height}"
        return _Made({"model": made.model.manifest.name, **made.as_json()}, line)
    photo = input_output.read(opened, job.max_pixels, salvage=job.salvage)
    check_mode(photo.result_mode, format_name)
    frames.warn_of_losses(where, format_name)
    network = job.models.open(job.model)
    small = console.run(
        f"downscaling {photo.size[0]}×{photo.size[1]} by {network.scale}",
        lambda: image.downscale(job, network, photo, format_name, report),
    )
    input_output.write_bytes(small.data, name)
    facts = {"model": network.manifest.name, "input_size": list(photo.size), **small.as_json()}
    return _Made(facts, _summary(name, small))


def _summary(name: str, small: Downscaled) -> str:
    share = len(small.data) / small.bicubic_bytes - 1
    psnr = small.round_trip_psnr_db
    return (
        f"{console.shown(name)}: {small.size[0]}×{small.size[1]}, {len(small.data)} bytes "
        f"({share:+.1%} on bicubic's {small.bicubic_bytes})"
        + ("" if psnr is None else f", round trip {psnr:.2f} dB")
    )
