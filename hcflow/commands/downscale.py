"""`hcflow downscale`: HR images in, LR images out that `upscale` can undo."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from hcflow.cli import console, input_output
from hcflow.cli.conversion import dispatch
from hcflow.cli.conversion.options import ConversionOptions
from hcflow.cli.option_groups import option_groups
from runtime.convert import frames, image, large_file
from runtime.convert.image import Downscaled
from runtime.convert.job import Job
from runtime.convert.large_file import Converted
from runtime.images.codecs.formats import check_mode
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
    """Downscale an image, a folder's or list's images, or a video's frames; sides are rounded up.

    Write a lossless format (PNG): upscale cannot restore what a lossy one drops. The file records
    which model made it and the size of the original.
    """
    job = given.job("downscale", given.models(), round_trip=round_trip)
    dispatch.convert(given, job, lambda: _downscale_image(given, job))


def _downscale_image(given: ConversionOptions, job: Job) -> None:
    source, as_json = given.source, given.as_json
    output = given.output
    if output is None:
        output = input_output.derived(source, job, given.format_name, given.suffix)
    (name,), format_name = input_output.outputs(
        source,
        output,
        format_name=given.format_name,
        force=given.force,
        as_json=as_json,
    )
    input_output.check_quality(job.quality, format_name)
    elapsed = console.stopwatch()
    report = Report()
    facts: dict[str, Any] = {"input": source, "outputs": [name]}
    if input_output.wants_strips(source, name, job, format_name):
        streamed = console.run_with_bar(
            lambda tell: large_file.convert(
                job, source, name, format_name, progress=tell, report=report
            )
        )
        made, more = streamed, ""
        facts |= {"model": streamed.model.manifest.name, "size": list(streamed.size)}
    else:
        found = _downscale_in_memory(job, source, name, format_name, report)
        made, more = found.made, found.more
        facts |= found.facts
    if as_json:
        print(json.dumps({**facts, "tiles": report.as_json(), "seconds": elapsed()}))
    else:
        console.tell_result(name, made, report, elapsed(), more)


@dataclass(frozen=True)
class _Made:
    """The result, facts for `--json`, and what the line says more."""

    made: Converted
    facts: dict[str, Any]
    more: str


def _downscale_in_memory(
    job: Job, source: str, name: str, format_name: str, report: Report
) -> _Made:
    opened = input_output.source_of(source, job.max_pixels)
    where = input_output.named(source)
    several = frames.find(opened, where, job, format_name)
    if several is not None:
        made = input_output.convert_frames(job, several, name, format_name, report)
        facts = {"model": made.first.model.manifest.name, **made.as_json()}
        count = f"; {made.frames} {'pages' if several.pages else 'frames'}"
        return _Made(made.first, facts, count)
    with report.timed("decoding"):
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
    return _Made(Converted(small.size, network, small.record), facts, _figures(small))


def _figures(small: Downscaled) -> str:
    share = len(small.data) / small.bicubic_bytes - 1
    psnr = small.round_trip_psnr_db
    return f"; {len(small.data)} bytes ({share:+.1%} on bicubic's {small.bicubic_bytes})" + (
        "" if psnr is None else f", round trip {psnr:.2f} dB"
    )
