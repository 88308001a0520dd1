"""What `hcflow build` prints: one line a graph, and with `--verbose` tables of every figure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from hcflow.cli import engine_progress
from hcflow.cli.console import shown
from runtime.bundle.graph_entry import IMAGES
from runtime.bundle.manifest import Direction, Graph, Manifest, Precision

if TYPE_CHECKING:
    from export.engine.bundle_engines import Made


def print_build(
    folder: Path,
    manifest: Manifest,
    directions: Collection[Direction],
    precisions: Collection[Precision],
    engines: Sequence[Made],
    verbose: bool,
) -> None:
    """Say on standard output what a build made.

    Args:
        folder: the bundle.
        manifest: of the bundle, which may hold older graphs too.
        directions: of the graphs that were built.
        precisions: likewise.
        engines: what was compiled of them.
        verbose: whether tables follow.
    """
    out = Console()
    built = [g for g in manifest.graphs if g.direction in directions and g.precision in precisions]
    for graph in built:
        out.print(summary(graph), highlight=False)
    for made in engines:
        out.print(engine_progress.summary(made), highlight=False)
    if verbose:
        for graph in built:
            out.print(parity_table(graph))
        out.print(precision_table(manifest.graphs))
        if engines:
            out.print(engine_progress.table(engines))
            engine_progress.print_programs(out, engines)
            engine_progress.print_commands(out, engines)
    print(f"bundle: {shown(str(folder))}")  # rich would wrap a path and read emoji in it
    if not all(graph.within_budget for graph in manifest.graphs):
        out.print("[yellow]kept although a graph is over budget; the manifest says so[/]")


def summary(graph: Graph) -> str:
    """`inverse fp32: 147.9 dB, within budget`: the image's worst PSNR against the reference."""
    figures = [row.psnr_db for row in graph.parity if row.output in IMAGES]
    worst = min((figure for figure in figures if figure is not None), default=None)
    psnr = "exact" if worst is None else f"{worst:.1f} dB"
    return f"{graph.full_title}: {psnr}, {'within' if graph.within_budget else 'over'} budget"


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
            graph.full_title,
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
    table = Table(title=f"{graph.full_title}, {graph.nodes} nodes")
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
