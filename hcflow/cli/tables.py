"""What `hcflow build` does with its options: resolve, build with progress, print the table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from export import tile_grid
from export.engine.options import EngineOptions
from export.errors import ExportError
from export.pipeline import Request, build
from export.precision import calibration_cache
from hcflow.cli import engine_progress
from hcflow.cli.console import shown
from hcflow.models.shipped import DEFAULT
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from hcflow_ref.errors import CheckpointError
from runtime.bundle.manifest import Direction, Graph, Precision
from runtime.bundle.reader import Bundle


def run(
    *,
    directions: Sequence[Direction],
    checkpoint: Path | None,
    model: str | None,
    output: Path | None,
    precisions: Sequence[Precision],
    calibration: Path | None,
    int8_budget_db: float | None,
    engines: EngineOptions | None,
    tau: float | None,
    with_latents: bool,
    tile: int | None,
    overlap: int | None,
    tile_photographs: Path | None,
    accept_over_budget: bool,
    as_json: bool,
    io: str = "float32",
) -> None:
    """Build a bundle and print its parity table.

    Raises:
        ExportError: the options, the checkpoint or the result will not do.
    """
    if checkpoint is not None and model is not None:
        raise ExportError("give --checkpoint or --model, not both")
    if tau and not with_latents:
        raise ExportError(f"--no-latents builds for τ = 0 only: leave --tau {tau:g} out")
    console = Console(stderr=True)

    def note(line: str) -> None:
        console.print(shown(line), markup=False, highlight=False, soft_wrap=True)

    with console.status("loading PyTorch and the checkpoint") as status:
        try:
            path = weights(model or DEFAULT) if checkpoint is None else checkpoint
            name = path.stem
            folder = output if output is not None else Path("bundles") / name
            loaded = load(path)
            shipped = checkpoint is None and calibration is None and int8_budget_db is not None
            manifest = build(
                loaded,
                folder,
                Request(
                    name,
                    directions,
                    precisions,
                    tau,
                    with_latents,
                    accept_over_budget,
                    tile_grid.Options(tile, overlap, tile_photographs),
                    calibration,
                    int8_budget_db,
                    io,
                    calibration_cache.of_shipped(name, loaded.sha256) if shipped else {},
                ),
                (lambda line: status.update(Text(line))) if console.is_terminal else note,
                note,
            )
        except CheckpointError as error:
            raise ExportError(str(error)) from error
    int8: tuple[Precision, ...] = () if int8_budget_db is None else ("int8",)
    made_in = tuple(dict.fromkeys(("fp32", *precisions, *int8)))
    made = []
    if engines is not None:
        made = engine_progress.run(
            Bundle.open(folder),
            engines,
            directions=directions,
            precisions=made_in,
            into_bundle=True,
        )
        manifest = Bundle.open(folder).manifest
    if as_json:
        sys.stdout.write(manifest.to_json())
        return
    stdout = Console()
    for graph in manifest.graphs:
        if graph.direction in directions and graph.precision in made_in:
            stdout.print(parity_table(graph))
    stdout.print(precision_table(manifest.graphs))
    if made:
        stdout.print(engine_progress.table(made))
        stdout.print("the same by NVIDIA's own tools:")
        for line in (line for each in made for line in each.commands):
            stdout.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    stdout.print(f"bundle: {folder}", markup=False)
    if not all(graph.within_budget for graph in manifest.graphs):
        stdout.print("[yellow]kept although it is over budget; the manifest says so[/]")


def precision_table(graphs: Sequence[Graph]) -> Table:
    """What each graph is and costs: size, nodes, casts, and dB on the evaluation photographs."""
    table = Table(title="precisions, on crops of the evaluation photographs")
    table.add_column("graph", no_wrap=True)
    headings = ("MB", "nodes", "casts", "PSNR to fp32, dB", "largest error", "largest loss, dB")
    for heading in headings:
        table.add_column(heading, justify="right")
    for graph in graphs:
        psnr = [row.psnr_fp32_db for row in graph.losses if row.psnr_fp32_db is not None]
        table.add_row(
            graph.title,
            f"{graph.bytes / 1e6:.1f}",
            str(graph.nodes),
            str(graph.casts),
            _figure(min(psnr, default=None), ".1f"),
            _figure(max((row.max_abs or 0.0 for row in graph.losses), default=None), ".4f"),
            _figure(max((row.loss_db for row in graph.losses), default=None), ".3f"),
        )
    return table


def parity_table(graph: Graph) -> Table:
    """A graph against the float64 reference, one row an output."""
    table = Table(title=f"{graph.title}, {graph.nodes} nodes")
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
