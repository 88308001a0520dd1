"""The options that `hcflow upscale` and `hcflow downscale` share."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from hcflow.cli import input_output, options
from hcflow.models import shipped
from hcflow.models.load import Models, computation
from runtime.convert.job import Direction, Job
from runtime.images.codecs.files import MAX_PIXELS
from runtime.images.codecs.formats import FORMATS
from runtime.inference.grid import Tiling

_computing = functools.partial(typer.Option, rich_help_panel=options.COMPUTING)
_list = functools.partial(typer.Option, rich_help_panel=options.LIST)
_video = functools.partial(typer.Option, rich_help_panel=options.VIDEO)


@dataclass(frozen=True)
class ConversionOptions:
    """The options as the command line gives them; each field is one option."""

    input_name: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT", help="Image file or folder; - is standard input.", show_default=False
        ),
    ] = None
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File or folder to write; - is standard output.",
            show_default="beside the input: photo_x4.png, photo_down4.png",
        ),
    ] = None
    model: options.ModelName = None
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{', '.join(FORMATS)}.",
            show_default="by the suffix of -o, else PNG",
        ),
    ] = None
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Quality of a JPEG, WebP or AVIF.",
            show_default="JPEG 95, AVIF 90, WebP lossless",
        ),
    ] = None
    suffix: Annotated[
        str | None,
        typer.Option(
            help="End of the result's name where -o is left out.", show_default="_x4, _down4"
        ),
    ] = None
    max_pixels: options.MaxPixels = MAX_PIXELS
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Allow the output to replace the input, and without -o any file of its name.",
        ),
    ] = False
    salvage: Annotated[
        bool,
        typer.Option("--salvage", help="Read what is there of a file that lacks rows of pixels."),
    ] = False
    as_json: options.Json = False
    threads: options.Threads = None
    backend: options.FastestBackend = None
    precision: options.FastestPrecision = None
    device: options.Device = None
    exact: options.Exact = False
    io: Annotated[
        Literal["float32", "uint8"] | None,
        _computing(
            "--io",
            metavar="float32|uint8",
            help="Type of the graph's input and output. uint8 graphs take 8-bit images only.",
            show_default="float32 where the model has it",
        ),
    ] = None
    compile_engines: Annotated[
        bool,
        _computing(
            "--compile",
            help="First compile missing TensorRT engines for this machine's GPU, in the precision "
            "that is then used.",
        ),
    ] = False
    jobs: Annotated[
        int, _computing(min=1, help="Processes for a folder, or frames at a time for a video.")
    ] = 1
    timeout: Annotated[
        float | None,
        _computing(
            min=1,
            metavar="SECONDS",
            help="In a folder: an image that takes longer has failed, and the rest goes on.",
            show_default="no limit",
        ),
    ] = None
    strips: Annotated[
        bool | None,
        _computing(
            "--strips/--no-strips",
            help="Read and write in strips, so that the image need not fit into memory (needs "
            "pyvips).",
            show_default="for large images, where pyvips is installed",
        ),
    ] = None
    tile: Annotated[
        int | None,
        _computing(
            min=1,
            help="Tile size in LR pixels. The result may differ by up to 1/255.",
            show_default="what the model was certified for",
        ),
    ] = None
    overlap: Annotated[
        int | None,
        _computing(
            min=0,
            help="Tile overlap in LR pixels.",
            show_default="what the model was certified for",
        ),
    ] = None
    manifest: Annotated[
        str | None,
        _list(
            metavar="LIST",
            help="In place of INPUT: a list of images as text, JSONL or Parquet, here or in object "
            "storage, or what `hcflow manifest` wrote (docs/batch.md).",
        ),
    ] = None
    shard: Annotated[
        str | None,
        _list(
            metavar="i/N",
            help="Of N parts of the list the one with this number, from 0.",
            show_default="the whole list",
        ),
    ] = None
    ray: Annotated[
        str | None,
        _list(
            metavar="ADDRESS",
            help="Let a Ray cluster convert the list; local starts one here.",
        ),
    ] = None
    video: Annotated[
        str | None,
        _video(
            metavar="y4m|rgb24|rgb48le|gray",
            help="The input is a video in this format, from standard input to standard output.",
        ),
    ] = None
    frame_size: Annotated[str | None, _video(metavar="WxH", help="Frame size of a raw video.")] = (
        None
    )
    matrix: Annotated[
        str | None,
        _video(
            metavar="bt601|bt709|bt2020",
            help="Colour matrix of a Y4M video.",
            show_default="bt601 below 720 rows, else bt709",
        ),
    ] = None
    colour_range: Annotated[
        str | None,
        _video(
            "--range",
            metavar="limited|full",
            help="Colour range of a Y4M video.",
            show_default="the stream's, else limited",
        ),
    ] = None

    @property
    def source(self) -> str:
        """The image, folder or video to convert.

        Raises:
            typer.BadParameter: none is given.
        """
        if self.input_name is None:
            raise typer.BadParameter("Missing argument 'INPUT', or a list with --manifest")
        return self.input_name

    def models(self, default: str = shipped.DEFAULT) -> Models:
        """What opens models as they ask for; `default` is the model where none is named.

        Raises:
            typer.BadParameter: `--exact` with another backend or precision.
        """
        if self.exact:
            chosen = {
                "--backend": self.backend,
                "--precision": self.precision,
                "--device": self.device is not None,
            }
            input_output.refuse(chosen, "is decided by --exact: give one or the other")
        load: dict[str, Any] = {
            **computation(self.exact),
            **{k: v for k in ("backend", "precision") if (v := getattr(self, k)) is not None},
            "threads": self.threads,
        }
        # Only where given: a folder's list of finished results depends on each.
        load |= {} if self.io is None else {"io": self.io}
        load |= {} if self.device is None else {"device": self.device}
        load |= {"compile_engines": True} if self.compile_engines else {}
        return Models(load, default)

    def job(self, direction: Direction, models: Models, **settings: Any) -> Job:
        """The job that they ask for; `settings` are further fields of it."""
        return Job(
            direction,
            models,
            self.model,
            tiling=Tiling(self.tile, self.overlap),
            max_pixels=self.max_pixels,
            strips=self.strips,
            force=self.force,
            quality=self.quality,
            salvage=self.salvage,
            **settings,
        )
