"""`python -m export.build`, also `hcflow build`: a checkpoint in, a checked bundle out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hcflow.cli import engine_options as arguments
from runtime.bundle.manifest import Direction


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


class Io(StrEnum):
    """What images are at a graph's boundary."""

    float32 = "float32"
    uint8 = "uint8"


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
        Path | None, typer.Option(help="The bundle's folder.", show_default="bundles/NAME")
    ] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Also build fp16 graphs; the flow state stays float32.")
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Also build int8 graphs; --calibration unless the model ships with one."
        ),
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(help="A folder of photographs like those you will serve: ranges come of it."),
    ] = None,
    int8_budget: Annotated[
        float | None,
        typer.Option(min=0.0, help="Largest loss of INT8 in dB.", show_default="0.1"),
    ] = None,
    io: Annotated[
        Io,
        typer.Option(help="Images at the boundary; uint8: bytes in and out, rounded inside."),
    ] = Io.float32,
    engine: Annotated[
        Engine, typer.Option(help="Also compile engines for NVIDIA GPUs, into the bundle.")
    ] = Engine.none,
    smallest: arguments.Smallest = None,
    best: arguments.Best = None,
    largest: arguments.Largest = None,
    batch: arguments.Batch = 1,
    compute_capability: arguments.Capabilities = None,
    workspace: arguments.Workspace = None,
    optimization_level: arguments.Level = None,
    tf32: arguments.Tf32 = False,
    timing_cache: arguments.TimingCache = None,
    version_compatible: arguments.VersionCompatible = False,
    hardware_compatible: arguments.HardwareCompatible = arguments.Hardware.none,
    refit: arguments.Refit = False,
    tau: Annotated[
        float | None,
        typer.Option(min=0.0, help="Default temperature.", show_default="the checkpoint's own"),
    ] = None,
    no_latents: Annotated[
        bool, typer.Option("--no-latents", help="An inverse for τ = 0 only, without latent inputs.")
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(min=1, help="Side of a tile in LR pixels.", show_default="what 0.7 GB allows"),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            min=0, help="Of tiles, in LR pixels.", show_default="the smallest within 1/255"
        ),
    ] = None,
    tile_photographs: Annotated[
        Path | None,
        typer.Option(help="A folder of photographs that the overlap is chosen on as well."),
    ] = None,
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
    from hcflow.cli.tables import run
    from hcflow.models.shipped import DEFAULT

    shipped = None if checkpoint else model or DEFAULT

    engines = None
    if engine is Engine.none:
        _no_engine(
            {
                "--min": smallest,
                "--opt": best,
                "--max": largest,
                "--batch": batch != 1,
                "--compute-capability": compute_capability,
                "--workspace": workspace,
                "--optimization-level": optimization_level is not None,
                "--tf32": tf32,
                "--timing-cache": timing_cache,
                "--version-compatible": version_compatible,
                "--hardware-compatible": hardware_compatible is not arguments.Hardware.none,
                "--refit": refit,
            }
        )
    else:  # before the build: what is wrong here is known at once
        engines = arguments.gather(
            engine.value,
            smallest=smallest,
            best=best,
            largest=largest,
            batch=batch,
            compute_capability=compute_capability,
            workspace=workspace,
            optimization_level=optimization_level,
            tf32=tf32,
            timing_cache=timing_cache,
            version_compatible=version_compatible,
            hardware_compatible=hardware_compatible.value,
            refit=refit,
        )
    run(
        directions=direction.graphs(),
        checkpoint=checkpoint,
        model=model,
        output=output,
        precisions=("fp32", "fp16") if fp16 else ("fp32",),
        calibration=_calibration(fp16 or int8, calibration),
        int8_budget_db=_int8(int8, calibration, int8_budget, shipped),
        engines=engines,
        tau=tau,
        with_latents=not no_latents,
        tile=tile,
        overlap=overlap,
        tile_photographs=tile_photographs,
        accept_over_budget=accept_over_budget,
        as_json=as_json,
        io=io.value,
    )


def _no_engine(options: Mapping[str, object]) -> None:
    from export.errors import ExportError

    if given := [option for option, value in options.items() if value]:
        which = "is" if len(given) == 1 else "are"
        raise ExportError(f"{', '.join(given)} {which} for --engine: add it")


def _calibration(lower: bool, folder: Path | None) -> Path | None:
    from export.errors import ExportError

    if folder is not None and not lower:
        raise ExportError("--calibration is for --fp16 and --int8: add one of them")
    return folder


def _int8(
    int8: bool, calibration: Path | None, budget_db: float | None, shipped: str | None
) -> float | None:
    """The budget in dB of the INT8 graphs that are asked for; `shipped`: of the model so called."""
    from export.errors import ExportError
    from export.precision.evaluation import MOST_LOSS_DB
    from hcflow_ref.checkpoint.shipped import calibrations, names

    if not int8:
        if budget_db is not None:
            raise ExportError("--int8-budget is for --int8: add it")
        return None
    known = shipped is None or shipped in names()  # an unknown name has an error of its own
    if calibration is None and known and not (shipped and calibrations(shipped)):
        raise ExportError("--int8 needs --calibration DIR, a folder of photographs")
    return MOST_LOSS_DB["int8"] if budget_db is None else budget_db
