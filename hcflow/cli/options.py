"""Options that more than one command takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import typer

from runtime.backends import NAMES
from runtime.bundle.manifest import Direction

SIZE = "Size of the result"
SAMPLING = "Sampling"
COMPUTING = "Computation"
VIDEO = "Video"
LIST = "Lists of images"
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


ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Bundle folder or model name.", show_default="the shipped model"),
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Largest input accepted, in pixels.")]
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
Device = Annotated[
    int | None,
    typer.Option(
        "--device",
        min=0,
        help="Number of the GPU, as CUDA counts them.",
        show_default="0, the first",
        rich_help_panel=COMPUTING,
    ),
]
_BACKEND_HELP = (
    f"One of {', '.join(NAMES)}. auto selects the fastest that works here: an engine that fits "
    "this GPU; without a GPU, OpenVINO if it is installed."
)
Backend = Annotated[
    str,
    typer.Option(
        help=_BACKEND_HELP,
        rich_help_panel=COMPUTING,
    ),
]
_PRECISION_HELP = (
    "Precision of the graph. auto selects the fastest here within the model's budgets."
)
PrecisionName = Annotated[
    Literal["fp32", "fp16", "int8", "fp8", "auto"] | None,
    typer.Option(
        "--precision",
        metavar="fp32|fp16|int8|fp8|auto",
        help=_PRECISION_HELP,
        show_default="fp32",
        rich_help_panel=COMPUTING,
    ),
]
FastestBackend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        help=_BACKEND_HELP,
        show_default="auto",
        rich_help_panel=COMPUTING,
    ),
]
FastestPrecision = Annotated[
    Literal["fp32", "fp16", "int8", "fp8", "auto"] | None,
    typer.Option(
        "--precision",
        metavar="fp32|fp16|int8|fp8|auto",
        help=_PRECISION_HELP,
        show_default="auto",
        rich_help_panel=COMPUTING,
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="fp32 in ONNX Runtime: the same bytes on every machine of one kind.",
        rich_help_panel=COMPUTING,
    ),
]
