"""`hcflow compile`: engines for NVIDIA GPUs from a bundle's graphs; needs no PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import runtime
from hcflow.cli import options
from hcflow.cli.console import shown
from hcflow.cli.engine_options import Compiler, EngineArguments
from hcflow.cli.option_groups import option_groups
from hcflow.cli.options import Directions
from hcflow.models.shipped import resolve
from runtime.bundle.manifest import Precision


@option_groups
def compile_engines(
    *,
    bundle: options.Bundle = None,
    engine: Annotated[
        Compiler, typer.Option(help="auto: TensorRT if a GPU is found, else TensorRT-RTX.")
    ] = "auto",
    direction: Annotated[Directions, typer.Option(help="Which graphs.")] = Directions.both,
    precision: Annotated[
        Precision | None, typer.Option(help="Which graphs.", show_default="all there are")
    ] = None,
    engine_arguments: EngineArguments,
    refit_from: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="Reuse BUNDLE's engines with this bundle's weights. Needs a GPU, the same "
            "architecture, and engines compiled with --refit.",
        ),
    ] = None,
    into_bundle: Annotated[
        bool, typer.Option("--into-bundle", help="Write the engines into the bundle.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also compile graphs whose engines are already cached.")
    ] = False,
    commands: Annotated[
        bool,
        typer.Option(
            "--commands", help="Also print the commands of NVIDIA's own tools for the same."
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Compile a bundle's graphs into engines, for this machine or, with TensorRT-RTX, for others.

    Engines go to the user's cache, where the backends tensorrt and tensorrt-rtx find them. Of
    TensorRT-RTX's the kernels are listed, with the least time that they can take on nine GPUs: a
    prediction by data sheets.
    Sizes are LR pixels in both directions.
    """
    from hcflow.cli import engine_progress, predictions

    if refit_from is not None:
        engine_arguments.refuse_in_refit({"--again": again, "--commands": commands})
    opened = runtime.Bundle.open(resolve(bundle))
    precisions = None if precision is None else (precision,)
    gathered = engine_arguments.resolve(engine)
    if refit_from is None:
        made = engine_progress.run(
            opened,
            gathered,
            directions=direction.graphs(),
            precisions=precisions,
            into_bundle=into_bundle,
            again=again,
        )
    else:
        from export.engine.refit import refit_bundle

        made = refit_bundle(
            opened,
            runtime.Bundle.open(refit_from),
            gathered.library,
            directions=direction.graphs(),
            precisions=precisions,
            into_bundle=into_bundle,
            device=gathered.device,
        )
    if as_json:
        rows = [
            {
                "path": str(each.path),
                "cached": each.cached,
                "commands": list(each.commands),
                **each.engine.to_mapping(),
                "predicted": predictions.plain(opened.manifest, each.engine),
            }
            for each in made
        ]
        print(json.dumps({"engines": rows}))
        return
    out = Console()
    out.print(engine_progress.table(made))
    engine_progress.print_programs(out, made)
    predictions.show(out, opened.manifest, [each.engine for each in made])
    for each in made:
        print(shown(str(each.path)))
    if commands:
        engine_progress.print_commands(out, made)
