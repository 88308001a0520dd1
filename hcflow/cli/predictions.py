"""Predicted floors of engines on cards that people have, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from runtime.bundle.engines import cache
from runtime.bundle.engines.entry import Engine
from runtime.bundle.manifest import Manifest
from runtime.bundle.reader import Bundle
from runtime.inference import predicted

if TYPE_CHECKING:
    from hcflow.measure.profile import Profile

NOTE = (
    "Predicted, not measured: the longer of the convolutions' operations and the activations' "
    "bytes at the peaks of NVIDIA's data sheets. A run takes longer."
)


def engines(bundle: Bundle, profiles: Sequence[Profile]) -> list[Engine]:
    """An engine with a known program of every graph that was profiled."""
    asked = {(p.setting.direction, p.setting.precision, p.setting.io) for p in profiles}
    found = []
    for graph in bundle.manifest.graphs:
        if (graph.direction, graph.precision, graph.io) in asked:
            every = cache.of_graph(graph.sha256, bundle.folder)
            found += [engine for engine, _ in every if engine.program is not None][:1]
    return found


def show(out: Console, manifest: Manifest, engines: Sequence[Engine]) -> None:
    """Print the floors of every engine whose program is known; nothing where there is none."""
    found = {
        f"{engine.direction} {engine.precision}": floors
        for engine in engines
        if (floors := _floors(manifest, engine)) is not None
    }
    if not found:
        return
    sizes = " / ".join(predicted.SIZES)
    table = Table(title=f"predicted floor, ms at {sizes}", box=SIMPLE_HEAD)
    table.add_column("card")
    for title in found:
        table.add_column(title, justify="right")
    for card in predicted.CARDS:
        table.add_row(card, *(_cell(floors[card].values()) for floors in found.values()))
    out.print(table)
    out.print(NOTE, highlight=False)


def plain(manifest: Manifest, engine: Engine) -> dict[str, dict[str, float | None]] | None:
    """Card → size → seconds, as JSON has it; None where the engine's program is not known."""
    floors = _floors(manifest, engine)
    if floors is None:
        return None
    return {
        card: {size: each.seconds if each else None for size, each in row.items()}
        for card, row in floors.items()
    }


def _floors(
    manifest: Manifest, engine: Engine
) -> dict[str, dict[str, predicted.Floor | None]] | None:
    graph = next((each for each in manifest.graphs if each.sha256 == engine.graph), None)
    if graph is None or engine.program is None:
        return None
    return predicted.floors(engine, graph, manifest.scale)


def _cell(floors: Iterable[predicted.Floor | None]) -> str:
    return " / ".join("–" if each is None else f"{each.seconds * 1e3:.2f}" for each in floors)
