"""`python -m export.build`, also `hcflow build`: a checkpoint in, a checked bundle out."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from hcflow.cli.console import print_json, shown
from hcflow.cli.engine_options import EngineArguments, engine_option
from hcflow.cli.option_groups import option_groups
from hcflow.cli.options import Directions
from runtime.bundle.manifest import Precision
from runtime.bundle.reader import Bundle

_model = functools.partial(typer.Option, rich_help_panel="Model and bundle")
_graphs = functools.partial(typer.Option, rich_help_panel="Graphs")
_calibration = functools.partial(typer.Option, rich_help_panel="Calibration")
_tiles = functools.partial(typer.Option, rich_help_panel="Tiles")


@option_groups
def build(
    *,
    checkpoint: Annotated[
        Path | None,
        _model(help="A .pth or .safetensors file; the architecture is detected from its keys."),
    ] = None,
    model: Annotated[
        str | None,
        _model(help="A shipped model by name.", show_default="the default model"),
    ] = None,
    output: Annotated[
        Path | None, _model(help="The bundle's folder.", show_default="bundles/NAME")
    ] = None,
    tau: Annotated[
        float | None,
        _model(min=0.0, help="Default temperature.", show_default="the checkpoint's own"),
    ] = None,
    direction: Annotated[
        Directions, _graphs(help="inverse upscales, forward downscales.")
    ] = Directions.both,
    fp16: Annotated[
        bool, _graphs("--fp16", help="Also build fp16 graphs; the flow state is float32.")
    ] = False,
    int8: Annotated[
        bool,
        _graphs(
            "--int8",
            help="Also build int8 graphs; needs --calibration unless the model ships with one.",
        ),
    ] = False,
    fp8: Annotated[
        bool,
        _graphs(
            "--fp8",
            help="Also build fp8 graphs, for TensorRT-RTX on GPUs of compute capability 8.9 and "
            "12.0; needs --calibration as --int8 does.",
        ),
    ] = False,
    io: Annotated[
        Literal["float32", "uint8"],
        _graphs(help="dtype of the graph's images; uint8 graphs round inside the graph."),
    ] = "float32",
    no_latents: Annotated[
        bool, _graphs("--no-latents", help="Build the inverse without latents, for τ = 0 only.")
    ] = False,
    calibration: Annotated[
        Path | None,
        _calibration(help="Folder of photographs like yours, used to choose the ranges."),
    ] = None,
    int8_budget: Annotated[
        float | None,
        _calibration(min=0.0, help="Maximum loss of INT8 in dB.", show_default="0.1"),
    ] = None,
    fp8_budget: Annotated[
        float | None,
        _calibration(min=0.0, help="Maximum loss of FP8 in dB.", show_default="0.1"),
    ] = None,
    accept_over_budget: Annotated[
        bool,
        _graphs("--accept-over-budget", help="Keep graphs that miss the budget and mark them."),
    ] = False,
    tile: Annotated[
        int | None,
        _tiles(min=1, help="Tile size in LR pixels.", show_default="what fits in 0.7 GB"),
    ] = None,
    overlap: Annotated[
        int | None,
        _tiles(
            min=0,
            help="Tile overlap in LR pixels.",
            show_default="the smallest with an error up to 1/255",
        ),
    ] = None,
    tile_photographs: Annotated[
        Path | None,
        _tiles(help="Folder of photographs, also used to choose the overlap."),
    ] = None,
    engine: Annotated[
        Literal["none", "auto", "tensorrt", "tensorrt-rtx"],
        engine_option(help="Also compile engines into the bundle."),
    ] = "none",
    engine_arguments: EngineArguments,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print tables of every figure.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Build a bundle of ONNX graphs from a checkpoint, and check every graph on the reference.

    The graphs are compared with the float64 reference on a real photograph and on odd sizes. If
    one misses its budget, nothing is written and the exit code is 1.
    """
    from export.errors import ExportError
    from hcflow.models.shipped import DEFAULT
    from hcflow_ref.checkpoint.shipped import calibrations, weights
    from hcflow_ref.errors import CheckpointError

    if checkpoint is not None and model is not None:
        raise ExportError("give --checkpoint or --model, not both")
    if tau and no_latents:
        raise ExportError(f"--no-latents builds for τ = 0 only: leave --tau {tau:g} out")
    for option, given, purposes in (
        ("--calibration", calibration is not None, {"--fp16": fp16, "--int8": int8, "--fp8": fp8}),
        ("--int8-budget", int8_budget is not None, {"--int8": int8}),
        ("--fp8-budget", fp8_budget is not None, {"--fp8": fp8}),
    ):
        if given and not any(purposes.values()):
            raise ExportError(f"{option} is for {', '.join(purposes)}: add one of them")
    engines = None
    if engine == "none":
        engine_arguments.refuse()
    else:  # before the build: what is wrong here is known at once
        engines = engine_arguments.resolve(engine)
    console = Console(stderr=True)

    def note(line: str) -> None:
        console.print(shown(line), markup=False, highlight=False, soft_wrap=True)

    with console.status("loading PyTorch and the checkpoint") as status:
        try:
            path = weights(model or DEFAULT) if checkpoint is None else checkpoint
            cached = checkpoint is None and (int8 or fp8) and calibration is None
            if (int8 or fp8) and calibration is None and not (cached and calibrations(path.stem)):
                option = "--int8" if int8 else "--fp8"
                raise ExportError(f"{option} needs --calibration DIR, a folder of photographs")
            from export import pipeline, tile_grid
            from export.precision.calibration_cache import of_shipped
            from export.precision.evaluation import MOST_LOSS_DB
            from hcflow_ref.checkpoint.load import load

            loaded = load(path)
            budget = MOST_LOSS_DB["int8"] if int8_budget is None else int8_budget
            budget_of_fp8 = MOST_LOSS_DB["fp8"] if fp8_budget is None else fp8_budget
            request = pipeline.Request(
                _printable_name(path.stem),
                direction.graphs(),
                ("fp32", "fp16") if fp16 else ("fp32",),
                tau=tau,
                with_latents=not no_latents,
                accept_over_budget=accept_over_budget,
                tiling=tile_grid.Options(tile, overlap, tile_photographs),
                calibration=calibration,
                int8_budget_db=budget if int8 else None,
                int8_for_rtx=int8 and engines is not None and engines.library == "tensorrt-rtx",
                fp8_budget_db=budget_of_fp8 if fp8 else None,
                io=io,
                cached_calibrations=of_shipped(path.stem, loaded.sha256) if cached else {},
            )
            folder = Path("bundles") / path.stem if output is None else output
            stage = (lambda line: status.update(Text(line))) if console.is_terminal else note
            manifest = pipeline.build(loaded, folder, request, stage, note)
        except CheckpointError as error:
            raise ExportError(str(error)) from error
    precisions = (*request.precisions, *_eight_bits(int8, fp8))
    made = []
    if engines is not None:
        from hcflow.cli import engine_progress

        made = engine_progress.run(
            Bundle.open(folder),
            engines,
            directions=request.directions,
            precisions=precisions,
            into_bundle=True,
        )
        manifest = Bundle.open(folder).manifest
        for line in engine_progress.no_gain(made):
            note(line)
    if as_json:
        print_json(manifest.to_json())
        return
    from hcflow.cli.tables import print_build

    print_build(folder, manifest, request.directions, precisions, made, verbose)


def _printable_name(stem: str) -> str:
    """A bundle's name by its checkpoint's, with `_` for what a manifest's name may not hold."""
    return "".join(c if c.isprintable() and c != "\\" else "_" for c in stem)


def _eight_bits(int8: bool, fp8: bool) -> tuple[Precision, ...]:
    asked: dict[Precision, bool] = {"int8": int8, "fp8": fp8}
    return tuple(precision for precision, wanted in asked.items() if wanted)
