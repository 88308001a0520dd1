"""Tiles of a ready bundle measured again: `python -m benchmarks.tile_grids NAME`.

It runs what a build runs on the graphs below fp32 as they are, writes grids and figures into the
bundle's manifest, and leaves every other key. A graph's entry is written as soon as it is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export import tile_grid, tiled_loss
from export.checks.parallel import THREADS
from export.checks.seams import shows
from export.checks.tile_pictures import Array
from export.checks.tiled_run import Measured
from hcflow.models.shipped import resolve
from hcflow_ref.checkpoint import shipped
from hcflow_ref.checkpoint.load import Checkpoint, load
from runtime.backends import open_graph
from runtime.bundle.manifest import DIRECTIONS, FILE_NAME, Direction, Graph
from runtime.bundle.reader import Bundle
from runtime.system import atomic

WRITTEN = ("tile", "overlap", "grids", "deviations", "seams", "neighbours", "tiled_losses")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=shipped.names())
    parser.add_argument("--direction", choices=DIRECTIONS, help="only this one")
    parser.add_argument("--precision", choices=("fp16", "int8"), help="only this one")
    parser.add_argument("--tile-photographs", type=Path, help="also used to choose the overlap")
    parser.add_argument("--backend", default="onnxruntime", help="what runs the graphs")
    asked = parser.parse_args()
    measuring = Measuring(
        Bundle.open(resolve(asked.name)),
        load(shipped.weights(asked.name)),
        tile_grid.Options(calibration=asked.tile_photographs),
        asked.backend,
    )
    for direction in DIRECTIONS:
        if asked.direction in (None, direction):
            for line in measuring.measure(direction, asked.precision):
                print(line, flush=True)
    return 0


@dataclasses.dataclass(frozen=True)
class Measuring:
    """What is measured, by which graphs and on which backend."""

    bundle: Bundle
    checkpoint: Checkpoint
    options: tile_grid.Options
    backend: str

    def measure(self, direction: Direction, precision: str | None) -> Iterator[str]:
        """Measure one direction and write its entries; yields a line for each graph."""
        manifest, model = self.bundle.manifest, self.checkpoint.network
        exact = self.bundle.graph(direction, "fp32", True)
        if exact.overlap is None or exact.tile is None:
            yield f"{exact.title} has no grid"
            return
        smaller = tile_grid.recorded(exact.tile, exact.overlap)
        self._write(dataclasses.replace(exact, grids=smaller))
        tau = manifest.default_tau
        photographs = tiled_loss.evaluated(model, direction, True, (0.0, tau), None)
        if direction == "forward":
            photographs = dataclasses.replace(photographs, back=self._back())
        judged = tile_grid.Judged.by(photographs, self._opened(exact))
        taus = (0.0, tau or model.config.default_tau) if direction == "inverse" else (0.0,)
        for graph in reversed(manifest.graphs):
            if graph.direction != direction or graph.precision not in (
                ("fp16", "int8") if precision is None else (precision,)
            ):
                continue
            found = tile_grid.lower(self._opened(graph), taus, self.options, exact.overlap, judged)
            if found is None:
                yield f"{graph.title}: no overlap holds"
                continue
            tile = tile_grid.largest_tile(exact, found.overlap or 0)
            grids = tile_grid.recorded(tile, found.overlap or 0)
            self._write(dataclasses.replace(found, tile=tile, grids=grids, deviations=()))
            yield f"{found.title}: tile {tile}, overlap {found.overlap}"
            for row in found.seams:
                yield f"  {row}{' shows' if shows(row) else ''}"
            for loss in found.tiled_losses:
                yield f"  {loss}"

    def _opened(self, graph: Graph) -> Measured:
        manifest = self.bundle.manifest
        # OpenVINO runs one image at a time, ONNX Runtime as many as it is given.
        threads = THREADS if self.backend == "onnxruntime" else None
        run = open_graph(self.backend, self.bundle, graph, threads).run
        return Measured(run, graph, manifest.latents.levels, manifest.scale)

    def _back(self) -> Callable[[Array], Array]:
        """An LR image [1, 3, H, W] → HR by the fp32 inverse at τ = 0."""
        graph = self.bundle.graph("inverse", "fp32", None)
        session = open_graph(self.backend, self.bundle, graph, None)

        def back(lr: Array) -> Array:
            shapes = self.bundle.manifest.input_shapes(graph, 1, *lr.shape[2:])
            zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
            hr: Array = session.run({**zeros, "lr": lr})["hr"]
            return hr

        return back

    def _write(self, graph: Graph) -> None:
        path = Path(self.bundle.folder) / FILE_NAME
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        entry: Mapping[str, Any] = dataclasses.asdict(graph)
        for each in facts["graphs"]:
            if each["file"] == graph.file:
                each.update({key: entry[key] for key in WRITTEN})
        text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        atomic.write(path, text.encode())


if __name__ == "__main__":
    raise SystemExit(main())
