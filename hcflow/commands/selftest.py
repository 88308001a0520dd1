"""`hcflow selftest`: whether everything works on this machine, with a report for bug reports."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import runtime
from hcflow.cli import console, options
from hcflow.models.shipped import resolve
from runtime import backends
from runtime.backends.cuda.device import Device, gpu_missing
from runtime.bundle.engines.entry import LIBRARIES
from runtime.checks.engine_checks import SIDE
from runtime.checks.outcome import Result
from runtime.checks.selftest import selftest as run_checks
from runtime.errors import HcflowError
from runtime.system import atomic

FAILED = 1
INCOMPLETE = 3
"""Every check that could be tried passed, and some could not be tried."""

LARGEST = (32, 32)
"""Largest LR size of the engines that are compiled: the largest test vector is 16×24."""

TOOLS = (
    *("hcflow-deploy", "numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("tensorrt", "tensorrt-rtx-cu13", "cuda-bindings", "cuda-core", "torch", "onnx"),
)


def selftest(
    *,
    bundle: options.Bundle = None,
    report: Annotated[Path, typer.Option("--report", help="File for the report.")] = Path(
        "hcflow-selftest.json"
    ),
    threads: options.Threads = None,
    device: options.Device = None,
    build: Annotated[
        bool,
        typer.Option(
            "--compile/--no-compile", help="On a GPU, first compile every graph into the cache."
        ),
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Check everything that this machine can run with a bundle, and write a report.

    Exit code 0: every check passed. 1: a check failed. 3: no check failed, but some could not be
    tried, for example without a GPU.
    """
    opened = runtime.Bundle.open(resolve(bundle))
    results = console.run(
        f"testing '{opened.manifest.name}'",
        lambda: [
            *(compile_all(opened, device) if build else ()),
            *run_checks(opened, threads, device),
        ],
    )
    facts = {
        "machine": _machine(device or 0),
        "versions": _versions(),
        "bundle": opened.manifest.name,
        "graphs": [g.file for g in opened.manifest.graphs],
        "results": [asdict(result) for result in results],
    }
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    # A name that is no UTF-8 holds surrogates: JSON escapes them in the same way.
    atomic.write(report, text.encode(errors="backslashreplace"))
    if as_json:
        console.print_json(text)
    else:
        _show(results)
        print(f"report: {console.shown(str(report))}")
    outcomes = Counter(result.outcome for result in results)
    raise typer.Exit(FAILED if outcomes["failed"] else INCOMPLETE if outcomes["not tried"] else 0)


def compile_all(opened: runtime.Bundle, device: int | None = None) -> list[Result]:
    """Compile every graph with every library that finds a GPU; each graph is one check."""
    found = list[Result]()
    if device is not None and gpu_missing(device) is not None:
        return found
    for library in (name for name in LIBRARIES if name in backends.available()):
        from export.engine import compilers
        from export.engine.bundle_engines import compile_bundle
        from export.engine.options import EngineOptions
        from export.engine.profile import Sizes

        sizes = Sizes((1, 1), (SIDE, SIDE), LARGEST)
        targets = compilers.default_targets(library, device or 0)
        sized = EngineOptions(library, sizes, compute_capabilities=targets, device=device or 0)
        for direction, precision in dict.fromkeys(
            (g.direction, g.precision) for g in opened.manifest.graphs
        ):
            name = f"{library} {direction} {precision}: compiles"
            try:
                made = compile_bundle(
                    opened, sized, directions=(direction,), precisions=(precision,)
                )
            except HcflowError as error:
                found.append(Result(name, "failed", str(error)))
                continue
            seconds = sum(each.engine.build_seconds for each in made)
            found.append(Result(name, "ok", f"{seconds:.1f} s"))
    return found


def _show(results: Sequence[Result]) -> None:
    colours = {"ok": "green", "failed": "bold red", "not tried": "yellow"}
    table = Table(title="selftest")
    for heading in ("check", "outcome", "detail"):
        table.add_column(heading, overflow="fold")
    for result in results:
        outcome = f"[{colours[result.outcome]}]{result.outcome}[/]"
        table.add_row(
            escape(console.shown(result.name)), outcome, escape(console.shown(result.detail))
        )
    Console().print(table)


def _machine(ordinal: int) -> dict[str, str]:
    gpu = gpu_missing(ordinal)
    if gpu is None:
        device = Device.open(ordinal)
        gpu = (
            f"{device.name}, compute capability {device.compute_capability}, "
            f"{device.multiprocessors} multiprocessors"
        )
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "gpu": gpu,
    }


def _versions() -> dict[str, str]:
    found = {}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found
