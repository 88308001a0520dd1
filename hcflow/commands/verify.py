"""`hcflow verify`: whether a bundle gives the numbers of the reference on this machine."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import runtime
from hcflow.cli import console, options
from hcflow.models.shipped import resolve
from runtime import backends
from runtime.bundle.graph_entry import IMAGES
from runtime.bundle.manifest import finite
from runtime.checks.verify import (
    Check,
    RoundTrip,
    TileCheck,
    check_graphs,
    check_tiles,
    round_trips,
)
from runtime.inference.report import BUDGET


@dataclass(frozen=True)
class _Report:
    """The results of one backend; `skipped` says why there are none."""

    backend: str
    checks: tuple[Check, ...] = ()
    trips: tuple[RoundTrip, ...] = ()
    tiles: tuple[TileCheck, ...] = ()
    skipped: str | None = None


def verify(
    *,
    bundle: options.Bundle = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Check only this backend.", show_default="all that work here"),
    ] = None,
    device: options.Device = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Run a bundle's test vectors on this machine and compare the results with the reference.

    Exit code 1 when a graph misses its budget.
    """
    opened = runtime.Bundle.open(resolve(bundle))
    names = [backend] if backend else backends.available() or ["onnxruntime"]
    if device is not None and not backend:  # of a backend that is named, it is checked below
        names = [name for name in names if name in backends.ON_GPU] or ["auto"]
    reports = []
    for name in names:
        try:
            report = console.run(
                f"verifying '{opened.manifest.name}' on {name}",
                functools.partial(_report, opened, name, threads, device),
            )
        except runtime.BackendError as error:
            if name == names[0]:
                raise
            report = _Report(name, skipped=str(error))
        reports.append(report)
    ok = all(check.comparison.ok for report in reports for check in report.checks)
    ok = ok and all(check.ok for report in reports for check in report.tiles)
    if as_json:
        print(json.dumps({"bundle": str(opened.folder), "ok": ok, "backends": _plain(reports)}))
    else:
        _show(reports)
        for line in _unchecked(opened, reports):
            Console().print(line, markup=False, highlight=False)
    raise typer.Exit(0 if ok else 1)


def _unchecked(bundle: runtime.Bundle, reports: Sequence[_Report]) -> Iterator[str]:
    """A line for each graph that no backend of this machine runs."""
    checked = {check.graph.file for report in reports for check in report.checks}
    for graph in bundle.manifest.graphs:
        if graph.target is not None and graph.file not in checked:
            yield f"{graph.full_title}: not checked, it runs on tensorrt-rtx and tensorrt alone"
    for unknown in bundle.manifest.unknown:
        yield f"{console.shown(unknown.title)}: not checked, this hcflow-deploy does not know it"


def _report(
    bundle: runtime.Bundle, backend: str, threads: int | None, device: int | None
) -> _Report:
    return _Report(
        backend,
        tuple(check_graphs(bundle, backend, threads, device)),
        tuple(round_trips(bundle, backend, threads, device)),
        tuple(check_tiles(bundle, backend, threads, device)),
    )


def _show(reports: list[_Report]) -> None:
    out = Console()
    for report in reports:
        if report.skipped:
            print(f"{report.backend}: skipped: {console.shown(report.skipped)}")
            continue
        table = Table(title=report.backend)
        for column in ("graph", "case", "output"):
            table.add_column(column)
        for column in ("PSNR dB", "max abs", "max rel", "budget"):
            table.add_column(column, justify="right", no_wrap=True)
        for check in report.checks:
            c = check.comparison
            table.add_row(
                check.graph.full_title,
                escape(console.shown(check.case)),
                escape(check.output),
                "identical" if c.psnr_db is None else f"{c.psnr_db:.1f}",
                f"{c.max_abs:.1e}",
                "" if c.max_rel is None else f"{c.max_rel:.1e}",
                "ok" if c.ok else "[bold red]missed",
            )
        out.print(table)
        if len({check.graph.precision for check in report.checks}) > 1:
            out.print(_precisions(report.checks))
        for line in _grids(report.tiles):
            out.print(line)
        for trip in report.trips:
            case = escape(console.shown(trip.case))
            out.print(
                f"round trip {trip.precision}, {case}: hr → 8-bit lr → hr: {trip.psnr_db:.2f} dB"
            )


def _precisions(checks: Sequence[Check]) -> Table:
    """Each graph's size, its image's error on this machine, and its losses when it was built."""
    table = Table(
        title="precisions; loss and PSNR to fp32: on crops of four photographs, when built"
    )
    table.add_column("graph", no_wrap=True)
    headings = ("MB", "nodes", "casts", "PSNR here", "max abs here", "PSNR to fp32", "loss, dB")
    for column in headings:
        table.add_column(column, justify="right")
    for graph in dict.fromkeys(check.graph for check in checks):
        here = [c.comparison for c in checks if c.graph == graph and c.output in IMAGES]
        psnr = [c.psnr_db for c in here if c.psnr_db is not None]
        built = [row.psnr_fp32_db for row in graph.losses if row.psnr_fp32_db is not None]
        table.add_row(
            graph.title,
            f"{graph.bytes / 1e6:.1f}",
            str(graph.nodes),
            str(graph.casts),
            f"{min(psnr):.1f}" if psnr else "identical",
            f"{max((c.max_abs for c in here), default=0.0):.1e}",
            f"{min(built):.1f}" if built else "",
            f"{max(row.loss_db for row in graph.losses):.3f}" if graph.losses else "",
        )
    return table


def _grids(checks: Sequence[TileCheck]) -> Iterator[str]:
    """A line for each graph with a tile grid: its worst difference."""
    for graph in dict.fromkeys(check.graph for check in checks):
        worst = max(check.deviation.max_abs for check in checks if check.graph == graph)
        verdict = "ok" if worst <= BUDGET else "[bold red]missed[/]"
        yield (
            f"tiles {graph.title}, {graph.tile} with overlap "
            f"{graph.overlap}: at most {worst * 255:.3f}/255 from the whole image: {verdict}"
        )


def _plain(reports: list[_Report]) -> list[dict[str, Any]]:
    """The reports as JSON: figures that JSON cannot hold become null."""
    return [
        {
            "backend": report.backend,
            "skipped": report.skipped,
            "checks": [
                {
                    "graph": check.graph.file,
                    "direction": check.graph.direction,
                    "precision": check.graph.precision,
                    "case": check.case,
                    "tau": check.tau,
                    "output": check.output,
                    **finite(asdict(check.comparison)),
                }
                for check in report.checks
            ],
            "precisions": [
                {
                    "graph": graph.file,
                    "precision": graph.precision,
                    "bytes": graph.bytes,
                    "nodes": graph.nodes,
                    "casts": graph.casts,
                    "losses_when_built": [finite(asdict(row)) for row in graph.losses],
                }
                for graph in dict.fromkeys(check.graph for check in report.checks)
            ],
            "tiles": [
                {
                    "graph": check.graph.file,
                    "tile": check.graph.tile,
                    "overlap": check.graph.overlap,
                    **finite(asdict(check.deviation)),
                    "ok": check.ok,
                }
                for check in report.tiles
            ],
            "round_trips": [
                {"precision": t.precision, "case": t.case, "psnr_db": finite(t.psnr_db)}
                for t in report.trips
            ],
        }
        for report in reports
    ]
