"""`hcflow profile`: where a bundle's time goes on this machine, and how far from the floor."""

from __future__ import annotations

import functools
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import runtime
from hcflow.cli import console, options
from hcflow.cli.options import Directions
from hcflow.models.shipped import resolve
from runtime import backends
from runtime.bundle.manifest import PRECISIONS
from runtime.checks import layer_times
from runtime.errors import BundleError, ParameterError
from runtime.system import atomic, machine

if TYPE_CHECKING:
    from hcflow.measure.profile import Profile
    from hcflow_ref.network.hcflow import HCFlow
    from hcflow_ref.network.irn import IRN

TOP = 5
"""Layers of each setting that the terminal shows."""

WHAT, REFERENCE = "What is measured", "PyTorch for comparison"
"""Panels of the help."""


def profile(
    *,
    bundle: options.Bundle = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="Backend to measure; repeatable.", show_default="all", rich_help_panel=WHAT
        ),
    ] = None,
    direction: Annotated[
        Directions, typer.Option(help="Direction of the graphs.", rich_help_panel=WHAT)
    ] = Directions.inverse,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="Precision of the graphs; repeatable.", show_default="all", rich_help_panel=WHAT
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HxW",
            help="Size of the LR image; repeatable.",
            show_default="64x64",
            rich_help_panel=WHAT,
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Batch size; repeatable.", show_default="1", rich_help_panel=WHAT),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            min=0.01, help="Measuring time of each setting.", rich_help_panel=options.COMPUTING
        ),
    ] = 2.0,
    threads: options.Threads = None,
    device: options.Device = None,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference",
            help="Also measure PyTorch, eager and with torch.compile.",
            rich_help_panel=REFERENCE,
        ),
    ] = False,
    torch_compile: Annotated[
        bool,
        typer.Option(
            "--torch-compile/--no-torch-compile",
            help="With --reference: measure torch.compile, which takes minutes to compile.",
            rich_help_panel=REFERENCE,
        ),
    ] = True,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint that --reference runs.",
            show_default="the shipped model's",
            rich_help_panel=REFERENCE,
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write an HTML page with charts to this file.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Measure a bundle on this machine: latency, throughput, memory, layers and the floor.

    Each setting is warmed up and then run for --seconds. "÷ floor" is the median latency divided by
    the least time that the graph's work can take: its operations at the machine's peak, or its
    bytes at the memory's peak, whichever is longer. Sizes are in LR pixels in both directions.
    """
    from export.engine.profile import parse  # onnx loads only when it is used
    from hcflow.measure import profile as measure
    from hcflow.pages.profile import page

    opened = runtime.Bundle.open(resolve(bundle))
    names = backend or backends.available()
    _check(names, precision or ())
    for name in backend or ():
        backends.check_device(name, device)
    sizes = [parse("--size", text) for text in size or ["64x64"]]
    network = _network(opened, checkpoint) if reference else None
    used = threads or machine.usable_cpus()
    profiles: list[Profile] = []
    wanted = list(
        measure.settings(names, opened, direction.graphs(), precision, sizes, batch or [1], device)
    )
    if not wanted:
        raise ParameterError(
            f"bundle '{opened.manifest.name}' has no such graph: see 'hcflow info'"
        )
    for setting in wanted:
        title = f"profiling {setting.backend} {setting.direction} {setting.precision}"
        work = functools.partial(measure.profile, opened, setting, threads, seconds)
        profiles.append(console.run(title, work))
    if network is not None:
        first = {(s.direction, s.height, s.width, s.batch): s for s in reversed(wanted)}
        for setting in reversed(first.values()):
            for compiled in (False, True) if torch_compile else (False,):
                work = functools.partial(
                    measure.reference, network, opened, setting, seconds, used, compiled
                )
                profiles.append(console.run("profiling PyTorch", work))
    facts = [f"{_processor()}, {used} threads", f"{opened.manifest.name}, {seconds:g} s a setting"]
    if html is not None:
        title = f"hcflow profile: {opened.manifest.name}"
        atomic.write(html, page(title, facts, profiles).encode())
    if as_json:
        print(json.dumps({"machine": facts, "profiles": [p.plain() for p in profiles]}))
    else:
        _show(profiles, facts, opened)
        if html is not None:
            print(f"page: {console.shown(str(html))}")
    if all(p.skipped is not None for p in profiles):
        raise typer.Exit(1)


def _check(names: Sequence[str], precisions: Sequence[str]) -> None:
    for name in names:
        backends.check_name(name)
    for precision in precisions:
        if precision not in PRECISIONS:
            raise ParameterError(f"unknown precision '{precision}': one of {', '.join(PRECISIONS)}")


def _network(opened: runtime.Bundle, checkpoint: Path | None) -> HCFlow | IRN:
    from hcflow.models.shipped import DEFAULT
    from hcflow_ref.checkpoint.load import load
    from hcflow_ref.checkpoint.shipped import weights
    from hcflow_ref.errors import CheckpointError

    try:
        found = load(checkpoint or weights(DEFAULT))
    except CheckpointError as error:
        raise BundleError(str(error)) from error
    if found.sha256 != opened.manifest.checkpoint.sha256:
        raise ParameterError(
            f"bundle '{opened.manifest.name}' was not built from '{checkpoint or DEFAULT}': "
            "give its checkpoint with --checkpoint"
        )
    return found.network


def _show(profiles: Sequence[Profile], facts: Sequence[str], bundle: runtime.Bundle) -> None:
    from hcflow.cli import predictions
    from hcflow.pages.profile import HEADINGS, cells, label

    out = Console()
    # Ten columns that stay readable on a terminal of eighty.
    table = Table(title=escape(console.shown("; ".join(facts))), box=SIMPLE_HEAD, padding=0)
    table.add_column("setting", overflow="fold", min_width=11)
    for heading in HEADINGS:
        table.add_column(heading, justify="right", overflow="fold", min_width=5)
    for p in profiles:
        if p.skipped is None:
            table.add_row(escape(label(p)), *cells(p))
    out.print(table)
    for p in profiles:
        if p.skipped is not None:
            out.print(console.shown(f"{label(p)}: skipped: {p.skipped}"), markup=False)
        if p.layers:
            total = sum(layer.seconds for layer in p.layers) or 1.0
            kinds = list(layer_times.by_kind(p.layers).items())[:4]
            shares = ", ".join(f"{kind} {100 * s / total:.0f} %" for kind, s in kinds)
            out.print(f"{label(p)}: {shares}; slowest layers:", markup=False)
            for layer in p.layers[:TOP]:
                line = f"  {layer.seconds * 1e3:8.3f} ms  {layer.kind}  {layer.name}"
                out.print(console.shown(line), markup=False, emoji=False, highlight=False)
    ceilings = dict.fromkeys(p.ceiling for p in profiles if p.ceiling)
    out.print(f"floor by: {'; '.join(ceilings)}", markup=False)
    for p in profiles:
        if p.predicted is not None and p.latency is not None:
            ratio = p.latency.p50 / p.predicted
            line = f"measured ÷ predicted by its kernels ({p.predicted * 1e3:.2f} ms): {ratio:.2f}"
            out.print(f"{label(p)}: {line}", markup=False)
    predictions.show(out, bundle.manifest, predictions.engines(bundle, profiles))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.machine()
