"""`python -m export.build`, also `hcflow build`: a checkpoint in, a checked bundle out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from runtime.manifest import Direction


class Directions(StrEnum):
    """Which graphs a build makes."""

    inverse = "inverse"
    forward = "forward"
    both = "both"

    def graphs(self) -> tuple[Direction, ...]:
        """The directions themselves."""
        if self is Directions.both:
            return "inverse", "forward"
        return ("inverse",) if self is Directions.inverse else ("forward",)


class Engine(StrEnum):
    """Engine compilers that a build may be asked for."""

    none = "none"
    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"


def build(
    direction: Annotated[
        Directions, typer.Option(help="inverse upscales, forward downscales.")
    ] = Directions.both,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A .pth or .safetensors file; all else is read off it.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A shipped model by name; the default where neither is given."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The bundle's folder. [default: bundles/NAME]")
    ] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Also build fp16 graphs; the flow state stays float32.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Not available in this version.")] = False,
    engine: Annotated[
        Engine, typer.Option(help="Engine compiler; this version builds graphs only.")
    ] = Engine.none,
    tau: Annotated[
        float | None,
        typer.Option(min=0.0, help="Default temperature. [default: the checkpoint's own]"),
    ] = None,
    no_latents: Annotated[
        bool, typer.Option("--no-latents", help="An inverse for τ = 0 only, without latent inputs.")
    ] = False,
    accept_over_budget: Annotated[
        bool,
        typer.Option("--accept-over-budget", help="Keep a bundle that misses the budget, marked."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Build a bundle of ONNX graphs from a checkpoint, and check every graph on the reference.

    The graphs are compared with the float64 reference on a real photograph and on odd sizes. When
    one misses its budget nothing is written and the exit code is 1.
    """
    from export.command import run  # noqa: PLC0415  (torch and onnx load only when they are used)

    run(
        directions=direction.graphs(),
        checkpoint=checkpoint,
        model=model,
        output=output,
        precisions=("fp32", "fp16") if fp16 else ("fp32",),
        int8=int8,
        engine=engine.value,
        tau=tau,
        with_latents=not no_latents,
        accept_over_budget=accept_over_budget,
        as_json=as_json,
    )


if __name__ == "__main__":
    from hcflow.cli import run_command  # the same errors and exit codes as `hcflow build`

    run_command(build)
