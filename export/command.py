"""What `hcflow build` does with its options: resolve, build with progress, print the table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from export.errors import ExportError
from export.flow import Direction
from export.pipeline import Request, build
from hcflow_ref.checkpoint import load
from hcflow_ref.errors import CheckpointError
from hcflow_ref.models import DEFAULT, weights
from runtime.manifest import Graph, Precision


def run(
    *,
    directions: Sequence[Direction],
    checkpoint: Path | None,
    model: str | None,
    output: Path | None,
    precisions: Sequence[Precision],
    int8: bool,
    engine: str,
    tau: float | None,
    with_latents: bool,
    accept_over_budget: bool,
    as_json: bool,
) -> None:
    """Build a bundle and print its parity table.

    Raises:
        ExportError: the options, the checkpoint or the result will not do.
    """
    if int8:
        raise ExportError("--int8 is not available in this version; fp32 and --fp16 are")
    if engine != "none":
        raise ExportError(
            f"--engine {engine} is not available in this version: it builds ONNX graphs, which "
            "trtexec and polygraphy compile"
        )
    if checkpoint is not None and model is not None:
        raise ExportError("give --checkpoint or --model, not both")
    if tau and not with_latents:
        raise ExportError(f"--no-latents builds for τ = 0 only: leave --tau {tau:g} out")
    console = Console(stderr=True)
    with console.status("loading PyTorch and the checkpoint") as status:
        try:
            path = weights(model or DEFAULT) if checkpoint is None else checkpoint
            name = path.stem
            folder = output if output is not None else Path("bundles") / name
            manifest = build(
                load(path),
                folder,
                Request(name, directions, precisions, tau, with_latents, accept_over_budget),
                status.update if console.is_terminal else console.print,
            )
        except CheckpointError as error:
            raise ExportError(str(error)) from error
    if as_json:
        sys.stdout.write(manifest.to_json())
        return
    stdout = Console()
    for graph in manifest.graphs:
        if graph.direction in directions and graph.precision in precisions:
            stdout.print(parity_table(graph))
    stdout.print(f"bundle: {folder}", markup=False)
    if not all(graph.within_budget for graph in manifest.graphs):
        stdout.print("[yellow]kept although it is over budget; the manifest says so[/]")


def parity_table(graph: Graph) -> Table:
    """A graph against the float64 reference, one row an output."""
    table = Table(title=f"{graph.direction} {graph.precision}, {graph.nodes} nodes")
    for heading in ("case", "τ", "output"):
        table.add_column(heading, no_wrap=True)
    for heading in ("PSNR dB", "max error", "relative", "budget"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in graph.parity:
        table.add_row(
            row.case,
            f"{row.tau:g}",
            row.output,
            "exact" if row.psnr_db is None and row.ok else _figure(row.psnr_db, ".1f"),
            _figure(row.max_abs, ".1e"),
            _figure(row.max_rel, ".1e"),
            "[green]ok[/]" if row.ok else "[bold red]missed[/]",
        )
    return table


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
