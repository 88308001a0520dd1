"""Options that more than one command takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import typer

from runtime.backends import NAMES
from runtime.bundle.manifest import Direction
from runtime.images.files import FORMATS

SAMPLING = "Sampling"
COMPUTING = "Computation"
VIDEO = "Video"
"""Panels of the help."""


class Directions(StrEnum):
    """Which graphs a command works on."""

    inverse = "inverse"
    forward = "forward"
    both = "both"

    def graphs(self) -> tuple[Direction, ...]:
        """The directions themselves."""
        if self is Directions.both:
            return "inverse", "forward"
        return ("inverse",) if self is Directions.inverse else ("forward",)


Input = Annotated[
    str,
    typer.Argument(
        metavar="INPUT", help="Image file or folder; - is standard input.", show_default=False
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="File or folder to write; - is standard output.", show_default=False
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Bundle folder or model name.", show_default="the shipped model"),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=f"{', '.join(FORMATS)}.",
        show_default="by the suffix; PNG on standard output",
    ),
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Largest input accepted, in pixels.")]
Force = Annotated[bool, typer.Option("--force", help="Allow the output to replace the input.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Bundle = Annotated[
    str | None,
    typer.Argument(help="Bundle folder or model name.", show_default="the shipped model"),
]

Tau = Annotated[
    float | None,
    typer.Option(
        help="Temperature τ of the latents, 0 or more.",
        show_default="the model's",
        rich_help_panel=SAMPLING,
    ),
]

Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processor threads.",
        show_default="all this process may use",
        rich_help_panel=COMPUTING,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        help=f"One of {', '.join(NAMES)}. auto takes the fastest that works here: without a GPU, "
        "OpenVINO if it is installed.",
        rich_help_panel=COMPUTING,
    ),
]
PrecisionName = Annotated[
    Literal["fp32", "fp16", "int8", "auto"] | None,
    typer.Option(
        "--precision",
        metavar="fp32|fp16|int8|auto",
        help="Precision of the graph. auto takes the fastest here within the model's budgets.",
        show_default="fp32",
        rich_help_panel=COMPUTING,
    ),
]
Io = Annotated[
    Literal["float32", "uint8"] | None,
    typer.Option(
        "--io",
        metavar="float32|uint8",
        help="Type of the graph's input and output. uint8 graphs take 8-bit images only.",
        show_default="float32 where the model has it",
        rich_help_panel=COMPUTING,
    ),
]
CompileEngines = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="First compile missing TensorRT engines for this machine's GPU.",
        rich_help_panel=COMPUTING,
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        min=1,
        help="Processes for a folder, or frames at a time for a video.",
        rich_help_panel=COMPUTING,
    ),
]
Strips = Annotated[
    bool | None,
    typer.Option(
        "--strips/--no-strips",
        help="Read and write by strips, so that the image need not fit into memory (needs pyvips).",
        show_default="for large images, where pyvips is installed",
        rich_help_panel=COMPUTING,
    ),
]
Tile = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Tile size in LR pixels. The result may differ by up to 1/255.",
        show_default="what the model was certified for",
        rich_help_panel=COMPUTING,
    ),
]
Overlap = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Tile overlap in LR pixels.",
        show_default="what the model was certified for",
        rich_help_panel=COMPUTING,
    ),
]

Video = Annotated[
    str | None,
    typer.Option(
        metavar="y4m|rgb24|rgb48le|gray",
        help="The input is a video in this format, from standard input to standard output.",
        rich_help_panel=VIDEO,
    ),
]
FrameSize = Annotated[
    str | None,
    typer.Option(metavar="WxH", help="Frame size of a raw video.", rich_help_panel=VIDEO),
]
Matrix = Annotated[
    str | None,
    typer.Option(
        metavar="bt601|bt709|bt2020",
        help="Colour matrix of a Y4M video.",
        show_default="bt601 below 720 rows, else bt709",
        rich_help_panel=VIDEO,
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="limited|full",
        help="Colour range of a Y4M video.",
        show_default="the stream's, else limited",
        rich_help_panel=VIDEO,
    ),
]


def load(
    backend: str, precision: str | None, threads: int | None, io: str | None, compile_engines: bool
) -> dict[str, Any]:
    """The options of `hcflow.load`; the last two only where given.

    A folder's list of finished results depends on each.
    """
    found: dict[str, Any] = {"backend": backend, "precision": precision, "threads": threads}
    return (
        found
        | ({} if io is None else {"io": io})
        | ({"compile_engines": True} if compile_engines else {})
    )
