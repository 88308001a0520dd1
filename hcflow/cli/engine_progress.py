"""Compile with a progress bar, then say what was made, and NVIDIA's commands for the same."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from export.engine.bundle_engines import Made, compile_bundle
from export.engine.options import EngineOptions
from hcflow.cli.console import shown
from runtime.bundle.engines.entry import Engine
from runtime.bundle.manifest import Direction, Precision
from runtime.bundle.reader import Bundle


def run(
    bundle: Bundle,
    options: EngineOptions,
    *,
    directions: Sequence[Direction],
    precisions: Sequence[Precision] | None,
    into_bundle: bool,
    again: bool = False,
) -> list[Made]:
    """`compile_bundle` with a progress bar on stderr; see there for what it raises."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[phase]}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        tasks = {}

        def show(graph: str, phase: str, share: float) -> None:
            if graph not in tasks:
                tasks[graph] = bar.add_task(f"{options.library}: {graph}", total=1.0, phase="")
            bar.update(tasks[graph], completed=share, phase=phase)

        made = compile_bundle(
            bundle,
            options,
            directions=directions,
            precisions=precisions,
            into_bundle=into_bundle,
            again=again,
            progress=show,
        )
    for warning in dict.fromkeys(warning for each in made for warning in each.warnings):
        console.print(f"{options.library} warns: {shown(warning)}", markup=False, emoji=False)
    return made


def summary(made: Made) -> str:
    """`tensorrt-rtx inverse fp32: 12.3 MB, compiled in 2.0 s`."""
    engine = made.engine
    how = "from the cache" if made.cached else f"compiled in {engine.build_seconds:.1f} s"
    name = f"{engine.library} {engine.direction} {engine.precision}"
    return f"{name}: {engine.bytes / 1e6:.1f} MB, {how}"


def no_gain(made: Sequence[Made]) -> list[str]:
    """A line for each INT8 engine of TensorRT-RTX that moves no fewer bytes than fp16."""
    moved = {
        (each.engine.direction, each.engine.precision): each.engine.program.bytes
        for each in made
        if each.engine.library == "tensorrt-rtx" and each.engine.program is not None
    }
    lines = []
    for (direction, precision), low in moved.items():
        half = moved.get((direction, "fp16"))
        if precision != "int8" or low is None:
            continue
        if half is None:
            lines.append(
                f"tensorrt-rtx {direction} int8 moves {low / 1e6:.0f} MB: add --fp16 and --fp8 to "
                "compare; where it was measured, fp16 moved less (docs/precision.md)"
            )
        elif low >= half:
            lines.append(
                f"tensorrt-rtx {direction} int8 gains nothing: it moves {low / 1e6:.0f} MB, fp16 "
                f"{half / 1e6:.0f} MB; use --precision fp16, or build --fp8"
            )
    return lines


def print_commands(out: Console, made: Sequence[Made]) -> None:
    """The commands of NVIDIA's own tools that compile the same graphs."""
    flat = all(each.engine.form == "flat" for each in made)
    what = "the same engines" if flat else "the bundle's graphs, their dense blocks flat,"
    out.print(f"\nNVIDIA's own tools compile {what} with:")
    for line in (line for each in made for line in each.commands):
        print(f"  {shown(line)}")


def table(made: Sequence[Made]) -> Table:
    """What was compiled: one row an engine."""
    first = made[0].engine
    gpus = ", ".join(first.compute_capabilities)
    rows = Table(title=f"{first.library} {first.version}, compute capability {gpus}")
    for heading in ("engine", "largest"):
        rows.add_column(heading)
    for heading in ("MB", "seconds", "scratch MB", "weights MB"):
        rows.add_column(heading, justify="right")
    rows.add_column("convolutions run in")
    for each in made:
        engine = each.engine
        name, largest = next(iter(engine.profiles[-1].items()))
        layers = engine.layers
        rows.add_row(
            f"{engine.direction} {engine.precision}",
            f"{name} {'×'.join(map(str, largest.largest))}",
            f"{engine.bytes / 1e6:.1f}",
            "cached" if each.cached else f"{engine.build_seconds:.1f}",
            _megabytes(engine.memory.scratch),
            _megabytes(engine.memory.weights),
            "known on a GPU only" if layers is None else _counts(layers),
        )
    return rows


def print_programs(out: Console, made: Sequence[Made]) -> None:
    """One line an engine: the kernels its compiler made of the graph, where they are known."""
    for each in made:
        engine = each.engine
        title = f"{engine.direction} {engine.precision}, dense blocks {engine.form}"
        out.print(f"{title}: {_program(engine)}", markup=False)


def _program(engine: Engine) -> str:
    """`212 fp16 and 14 fp32 convolutions (185 fused), 183 other kernels; 453.5 MB …`."""
    program = engine.program
    if program is None:
        return f"kernels unknown: not read from engines of {engine.library} {engine.version}"
    name, shapes = next(iter(engine.profiles[0].items()))
    size = f"at {name} {'×'.join(map(str, shapes.best))}"
    moved = "" if program.bytes is None else f"; {program.bytes / 1e6:.1f} MB moved {size}"
    return (
        f"{_counts(program.convolutions)} convolutions ({program.fused} fused), "
        f"{program.others} other kernels{moved}"
    )


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(numbers.items()))


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.1f}"
