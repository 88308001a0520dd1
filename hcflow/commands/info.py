"""`hcflow info`: what a bundle is and contains."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import runtime
from hcflow.cli import options
from hcflow.cli.console import print_json, shown
from hcflow.models.shipped import resolve
from runtime.bundle.manifest import Graph, Manifest


def info(
    *,
    bundle: options.Bundle = None,
    as_json: options.Json = False,
) -> None:
    """Show what a bundle is and contains."""
    opened = runtime.Bundle.open(resolve(bundle))
    if as_json:
        print_json(opened.manifest.to_json())
        return
    out = Console()
    out.print(_summary(opened.manifest))
    out.print(_graphs(opened.manifest.graphs))
    for graph in opened.manifest.unknown:
        out.print(
            f"skipped: {shown(graph.title)}, which this hcflow-deploy does not know: upgrade",
            markup=False,
        )


def _summary(manifest: Manifest) -> Table:
    levels = ", ".join(
        f"z{i}: {level.channels} channels at {level.factor}×"
        for i, level in enumerate(manifest.latents.levels, start=1)
    )
    table = Table(title=escape(shown(manifest.name)), show_header=False)
    rows = {
        "task": f"{manifest.task} ×{manifest.scale}",
        "default τ": f"{manifest.default_tau:g}",
        "latents": f"{levels} of the LR size ({manifest.latents.scheme})",
        "checkpoint": manifest.checkpoint.sha256,
        **manifest.checkpoint.provenance,
        "built with": ", ".join(f"{tool} {v}" for tool, v in manifest.tools.items()),
    }
    for key, value in rows.items():
        table.add_row(escape(shown(key)), escape(shown(value)))
    return table


def _graphs(graphs: tuple[Graph, ...]) -> Table:
    table = Table(title="graphs")
    columns = ("graph", "MB", "nodes", "casts", "MB per LR megapixel", "border", "worst PSNR dB")
    for column in (*columns, "worst loss dB", "budget"):
        table.add_column(column, justify="left" if column in ("graph", "budget") else "right")
    for graph in graphs:
        finite = [p.psnr_db for p in graph.parity if p.psnr_db is not None]
        table.add_row(
            graph.full_title,
            f"{graph.bytes / 1e6:.1f}",
            str(graph.nodes),
            str(graph.casts),
            str(graph.bytes_per_lr_pixel),
            str(graph.border),
            f"{min(finite):.1f}" if finite else "",
            f"{max(row.loss_db for row in graph.losses):.3f}" if graph.losses else "",
            "ok" if graph.within_budget else "[bold red]missed",
        )
    return table
