"""Options that more than one command takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import typer

from runtime.backends import NAMES
from runtime.bundle.manifest import Direction
from runtime.images.files import FORMATS


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
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Processor threads.", show_default="all this process may use"),
]
Backend = Annotated[
    str,
    typer.Option(
        help=f"One of {', '.join(NAMES)}; auto takes the fastest that works here: without a GPU "
        "OpenVINO, where it is installed."
    ),
]
PrecisionName = Annotated[
    Literal["fp32", "fp16", "int8", "auto"] | None,
    typer.Option(
        "--precision",
        metavar="fp32|fp16|int8|auto",
        help="Precision of the graph; auto: the fastest here within the model's budgets.",
        show_default="fp32",
    ),
]
Io = Annotated[
    Literal["float32", "uint8"] | None,
    typer.Option(
        "--io",
        metavar="float32|uint8",
        help="What the graph takes and gives; uint8: bytes, for images of 8 bits a channel.",
        show_default="float32 where the model has it",
    ),
]
CompileEngines = Annotated[
    bool,
    typer.Option(
        "--compile", help="On a GPU: first compile the engines that the backend lacks here."
    ),
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Largest input accepted, in pixels.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=f"{', '.join(FORMATS)}.",
        show_default="by the suffix; PNG on standard output",
    ),
]
Jobs = Annotated[
    int, typer.Option(min=1, help="Processes for a folder, frames at a time for a video.")
]
Strips = Annotated[
    bool | None,
    typer.Option(
        "--strips/--no-strips",
        help="Read and write by strips, beyond memory (needs pyvips).",
        show_default="for large images, where pyvips is installed",
    ),
]
Video = Annotated[
    str | None,
    typer.Option(metavar="y4m|rgb24|rgb48le|gray", help="The input is a video of this kind."),
]
FrameSize = Annotated[str | None, typer.Option(metavar="WxH", help="Size of a raw video's frames.")]
Matrix = Annotated[
    str | None,
    typer.Option(
        metavar="bt601|bt709|bt2020",
        help="Colour matrix of a Y4M video.",
        show_default="bt601 below 720 rows, else bt709",
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="limited|full",
        help="Colour range of a Y4M video.",
        show_default="the stream's, else limited",
    ),
]
Tile = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Side of a tile in low-resolution pixels; the result may differ by up to 1/255.",
        show_default="what the model was certified for",
    ),
]
Overlap = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="What is computed beyond a tile on each side, in low-resolution pixels.",
        show_default="what the model was certified for",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Allow the output to replace the input.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Bundle = Annotated[
    str | None,
    typer.Argument(help="Bundle folder or model name.", show_default="the shipped model"),
]


def load(
    backend: str, precision: str | None, threads: int | None, io: str | None, compile_engines: bool
) -> dict[str, Any]:
    """The options of `hcflow.load`, the last two where given: records of folders hang on them."""
    found: dict[str, Any] = {"backend": backend, "precision": precision, "threads": threads}
    return (
        found
        | ({} if io is None else {"io": io})
        | ({"compile_engines": True} if compile_engines else {})
    )
