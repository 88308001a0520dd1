"""`hcflow upscale`: a small image in, a large one out."""

from __future__ import annotations

import json
import re
import sys
from typing import Annotated

import typer

import hcflow
from hcflow import console
from hcflow.commands import endpoints, options
from runtime.files import MAX_PIXELS, check_mode
from runtime.latents import fresh_seed
from runtime.pixels import result_mode


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
        int, typer.Option(min=1, help="Different images to draw: OUTPUT-1, OUTPUT-2, …")
    ] = 1,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="Exact size of the result, to undo a downscale's padding."
        ),
    ] = None,
    threads: options.Threads = None,
    backend: options.Backend = "onnxruntime",
    precision: options.PrecisionName = None,
    format_name: options.Format = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Upscale an image by the model's scale.

    The same input, τ and seed give the same bytes, whatever the number of threads.
    """
    height_width = None if size is None else _parse_size(size)
    number = _parse_seed(seed)
    names, format_name = endpoints.outputs(
        source, output, samples=samples, format_name=format_name, force=force, as_json=as_json
    )
    network = hcflow.load(model, backend=backend, precision=precision, threads=threads)
    photo = endpoints.read(source, max_pixels)
    check_mode(result_mode(photo.image), format_name)
    elapsed = console.stopwatch()
    images = console.run(
        f"upscaling {photo.image.width}×{photo.image.height} by {network.scale}",
        lambda: network.upscale(
            photo.image, tau=tau, seed=number, samples=samples, size=height_width
        ),
    )
    seconds = elapsed()
    images = [images] if samples == 1 else images
    for image, name in zip(images, names, strict=True):
        endpoints.write(image, photo, name, format_name)
    if seed == "random":
        print(f"hcflow: seed {number}", file=sys.stderr)
    if as_json:
        report = {
            "model": network.manifest.name,
            "input": source,
            "outputs": names,
            "size": list(images[0].size),
            "tau": network.default_tau if tau is None else tau,
            "seed": number,
            "seconds": seconds,
        }
        print(json.dumps(report))


def _parse_seed(text: str) -> int:
    if text == "random":
        return fresh_seed()
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"--seed '{text}': a whole number, or random") from None


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if match is None:
        raise typer.BadParameter(f"--size '{text}': width x height in pixels, as 640x480")
    return int(match[2]), int(match[1])
