"""`hcflow selftest`: does everything work on this machine? One report, to attach to a bug."""

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
from hcflow import console
from hcflow.commands import options
from hcflow.models import resolve
from runtime import atomic
from runtime.device import Device, gpu_missing
from runtime.selftest import Result
from runtime.selftest import selftest as run_checks

FAILED = 1
INCOMPLETE = 3
"""Everything that could be tried holds, and something could not be."""

TOOLS = (
    *("hcflow-deploy", "numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("tensorrt", "tensorrt-rtx-cu13", "cuda-bindings", "cuda-core", "torch", "onnx"),
)


def selftest(
    *,
    bundle: options.Bundle = None,
    report: Annotated[Path, typer.Option("--report", help="Where the report goes.")] = Path(
        "hcflow-selftest.json"
    ),
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Try everything that this machine allows with a bundle, and write one report.

    Exit code 0: everything was tried and holds. 1: something does not hold. 3: what was tried
    holds, and something could not be tried, as without a GPU.
    """
    opened = runtime.Bundle.open(resolve(bundle))
    results = console.run(
        f"testing '{opened.manifest.name}'", lambda: list(run_checks(opened, threads))
    )
    facts = {
        "machine": _machine(),
        "versions": _versions(),
        "bundle": opened.manifest.name,
        "graphs": [g.file for g in opened.manifest.graphs],
        "results": [asdict(result) for result in results],
    }
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    atomic.write(report, text.encode())
    if as_json:
        print(text, end="")
    else:
        _show(results)
        Console().print(f"report: {report}", markup=False)
    outcomes = Counter(result.outcome for result in results)
    raise typer.Exit(FAILED if outcomes["failed"] else INCOMPLETE if outcomes["not tried"] else 0)


def _show(results: Sequence[Result]) -> None:
    colours = {"ok": "green", "failed": "bold red", "not tried": "yellow"}
    table = Table(title="selftest")
    for heading in ("check", "outcome", "detail"):
        table.add_column(heading, overflow="fold")
    for result in results:
        outcome = f"[{colours[result.outcome]}]{result.outcome}[/]"
        table.add_row(escape(result.name), outcome, escape(result.detail))
    Console().print(table)


def _machine() -> dict[str, str]:
    missing = gpu_missing()
    gpu = missing or f"{Device.open().name}, {Device.open().compute_capability}"
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
