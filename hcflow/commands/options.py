"""Options that more than one command takes."""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.backends import NAMES
from runtime.files import FORMATS
from runtime.manifest import Precision

Input = Annotated[
    str,
    typer.Argument(metavar="INPUT", help="Image file; - is standard input.", show_default=False),
]
Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="Image file to write; - is standard output.", show_default=False
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
Backend = Annotated[str, typer.Option(help=f"One of {', '.join(NAMES)}.")]
PrecisionName = Annotated[
    Precision | None,
    typer.Option("--precision", help="Precision of the graph.", show_default="fp32"),
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
Force = Annotated[bool, typer.Option("--force", help="Allow the output to replace the input.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Bundle = Annotated[
    str | None,
    typer.Argument(help="Bundle folder or model name.", show_default="the shipped model"),
]
