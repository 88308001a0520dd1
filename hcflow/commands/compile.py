"""`hcflow compile`: engines for NVIDIA GPUs from a bundle's graphs; needs no PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import runtime
from hcflow.cli import engine_options as arguments
from hcflow.cli import options
from hcflow.commands.build import Directions
from hcflow.models.shipped import resolve
from runtime.bundle.manifest import Precision


def compile_engines(
    *,
    bundle: options.Bundle = None,
    engine: Annotated[
        arguments.Compiler,
        typer.Option(help="auto: TensorRT where a GPU answers, else TensorRT-RTX."),
    ] = arguments.Compiler.auto,
    direction: Annotated[Directions, typer.Option(help="Which graphs.")] = Directions.both,
    precision: Annotated[
        Precision | None, typer.Option(help="Which graphs.", show_default="all there are")
    ] = None,
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
    refit_from: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="Put this bundle's weights into the engines of another one of the same "
            "architecture, which were compiled with --refit; needs a GPU.",
        ),
    ] = None,
    into_bundle: Annotated[
        bool, typer.Option("--into-bundle", help="Keep the engines in the bundle.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Compile also what is in the cache already.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Compile a bundle's graphs into engines, for this machine or, with TensorRT-RTX, for others.

    Engines go to the user's cache, where the backends tensorrt and tensorrt-rtx find them.
    Sizes are LR pixels in both directions.
    """
    from hcflow.cli import engine_progress

    opened = runtime.Bundle.open(resolve(bundle))
    precisions = None if precision is None else (precision,)
    gathered = arguments.gather(
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
        )
    if as_json:
        rows = [
            {
                "path": str(each.path),
                "cached": each.cached,
                "commands": list(each.commands),
                **each.engine.to_mapping(),
            }
            for each in made
        ]
        print(json.dumps({"engines": rows}))
        return
    out = Console()
    out.print(engine_progress.table(made))
    for each in made:
        out.print(str(each.path), markup=False, soft_wrap=True)
    if refit_from is None:
        out.print("\nthe same by NVIDIA's own tools:")
    for line in (line for each in made for line in each.commands):
        out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
