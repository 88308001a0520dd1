"""What a request asks for: the options of its query, and the format that it accepts."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hcflow.serving.limits import Limits, RefusedError
from hcflow.serving.served import ServedModels
from runtime.convert.job import Direction, Job
from runtime.convert.sizing import WantedSize
from runtime.errors import ParameterError
from runtime.images.codecs import lossy
from runtime.latents import fresh_seed

MEDIA_TYPES = {
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "JPEG": "image/jpeg",
    "AVIF": "image/avif",
    "JPEG2000": "image/jp2",
    "BMP": "image/bmp",
    "PPM": "image/x-portable-anymap",
    "GIF": "image/gif",
}
"""Formats of results and their media types; of those that are accepted alike the first is taken."""

FAST_PNG = 1


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: Annotated[str | None, Field(description="Name of a served model; else the first.")] = (
        None
    )
    quality: Annotated[int | None, Field(ge=1, le=100, description="Of a JPEG, AVIF or WebP.")] = (
        None
    )
    png_level: Annotated[
        int, Field(ge=0, le=9, description="How hard a PNG is compressed; 6 takes four times 1.")
    ] = FAST_PNG


class UpscaleOptions(_Options):
    """The query of `/v1/upscale`."""

    tau: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, description="Of the latents; else the model's."),
    ] = None
    seed: Annotated[
        Annotated[int, Field(ge=0, lt=1 << 64)] | Literal["random"],
        Field(description="Of the latents; random draws one and names it in HCFlow-Seed."),
    ] = 0
    size: Annotated[
        str | None,
        Field(pattern=r"^[1-9]\d{0,8}x[1-9]\d{0,8}$", description="Width x height, as 640x480."),
    ] = None
    scale: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="Factor of both sides; else the model's."),
    ] = None
    width: Annotated[int | None, Field(ge=1, description="The height follows.")] = None
    height: Annotated[int | None, Field(ge=1, description="The width follows.")] = None
    max_side: Annotated[int | None, Field(ge=1, description="The longer side.")] = None


class DownscaleOptions(_Options):
    """The query of `/v1/downscale`."""


def job_of(options: UpscaleOptions | DownscaleOptions, models: ServedModels, limits: Limits) -> Job:
    """What is done for a request.

    Raises:
        ParameterError: options that do not go together, or no such model.
    """
    model = models.open(options.model)
    direction: Direction = "downscale"
    more: dict[str, Any] = {"max_pixels": limits.hr_pixels}
    if isinstance(options, UpscaleOptions):
        direction = "upscale"
        wanted = WantedSize(options.scale, options.width, options.height, options.max_side)
        if options.size is not None and wanted.given:
            raise ParameterError(f"size and {' and '.join(wanted.given)}: give one of them")
        size = None
        if options.size is not None:
            width, _, height = options.size.partition("x")
            size = int(height), int(width)
        more = {
            "max_pixels": max(1, limits.hr_pixels // model.scale**2),
            "tau": options.tau,
            "seed": fresh_seed() if options.seed == "random" else options.seed,
            "size": size,
            "wanted": wanted,
        }
    return Job(
        direction,
        models,
        options.model,
        quality=options.quality,
        png_level=options.png_level,
        hr_pixels=limits.hr_pixels,
        round_trip=False,
        **more,
    )


def cancelled_by(job: Job, event: threading.Event) -> Job:
    """The same job, which ends once the event is set."""
    return replace(job, cancel=event)


def check_quality(options: UpscaleOptions | DownscaleOptions, format_name: str) -> None:
    """Raise `ParameterError` for a quality of a format without loss."""
    if options.quality is not None and format_name not in lossy.FORMATS:
        raise ParameterError(f"quality is for {', '.join(lossy.FORMATS)}: {format_name} has none")


def format_accepted(lines: list[str]) -> str:
    """The format that `Accept` likes best; PNG where it says nothing.

    Raises:
        RefusedError: none that can be written.
    """
    wanted = [part for part in ",".join(lines).split(",") if part.strip()]
    if not wanted:
        return "PNG"
    weights: dict[str, float] = {}
    for part in wanted:
        media, _, parameters = part.strip().lower().partition(";")
        found = re.search(r"(?:^|;)\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", parameters)
        weights[media.strip()] = min(float(found[1]), 1.0) if found else 1.0

    def weight(format_name: str) -> float:
        media = MEDIA_TYPES[format_name]
        return weights.get(media, weights.get("image/*", weights.get("*/*", 0.0)))

    best = max(MEDIA_TYPES, key=weight)  # of several the first
    if weight(best) <= 0:
        raise RefusedError(406, f"none of these is accepted: {', '.join(MEDIA_TYPES.values())}")
    return best


def headers_of(job: Job, facts: Mapping[str, Any]) -> dict[str, str]:
    """What an answer's headers say of how the image was made."""
    headers = {"hcflow-model": str(facts["model"]).encode("ascii", "replace").decode()}
    if job.direction == "upscale":
        headers["hcflow-seed"] = str(job.seed)
    return headers
