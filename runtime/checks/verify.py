"""Whether a bundle gives the reference's numbers on this machine, by its test vectors."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.backends import open_graph, targets_of
from runtime.backends.session import closing
from runtime.bundle import test_vectors, uint8_images
from runtime.bundle.graph_kinds import preferred
from runtime.bundle.manifest import Deviation, Graph, Precision
from runtime.bundle.reader import Bundle
from runtime.bundle.test_vectors import Case
from runtime.checks import tile_error
from runtime.checks.parity import Comparison, compare, psnr
from runtime.errors import BackendError, BundleError
from runtime.inference.network import Network
from runtime.inference.report import Certified


@dataclass(frozen=True)
class Check:
    """One output of one graph on one backend, against the reference."""

    backend: str
    graph: Graph
    case: str
    tau: float
    output: str
    comparison: Comparison


@dataclass(frozen=True)
class RoundTrip:
    """PSNR in dB, peak 1, of hr against hr → forward → 8-bit image → inverse at τ = 0, clipped."""

    backend: str
    precision: Precision
    case: str
    psnr_db: float


@dataclass(frozen=True)
class TileCheck:
    """The worst difference between tiled and whole on one picture, with the graph's own grid."""

    backend: str
    graph: Graph
    deviation: Deviation

    @property
    def ok(self) -> bool:
        """Whether it is at most 1/255; below fp32, what neighbouring tiles may differ by."""
        return self.deviation.max_abs <= Certified.of(self.graph).disagreement


def graphs_for(bundle: Bundle, backend: str) -> list[Graph]:
    """The graphs of a bundle that a backend runs: none that was made for another."""
    return preferred(bundle.manifest.graphs, targets_of(backend))


def check_graphs(
    bundle: Bundle, backend: str, threads: int | None = None, device: int | None = None
) -> Iterator[Check]:
    """Run every graph that the backend takes on every case that fits, one at a time.

    Args:
        bundle: whose graphs.
        backend: that runs them.
        threads: of the backend.
        device: number of the GPU of a GPU backend; None is the first.

    Raises:
        BundleError: it is damaged, or has no test vector for one of its graphs.
        BackendError: the backend is not installed, or fails.
    """
    cases = test_vectors.read(bundle)
    for graph in graphs_for(bundle, backend):
        fitting = [case for case in cases if case.fits(graph)]
        if not fitting:
            raise BundleError(
                f"bundle '{bundle.manifest.name}' has no test vector for {graph.file}"
            )
        with closing(open_graph(backend, bundle, graph, threads, device)) as session:
            run: uint8_images.Runner = session.run
            if graph.io == uint8_images.IO:
                run = functools.partial(uint8_images.run, session.run)
            for case in fitting:
                outputs = run(_feeds(bundle, graph, case))
                for name, want in case.outputs.items():
                    if name not in outputs:
                        if graph.latents:
                            raise BackendError(f"{graph.file} gives no output '{name}'")
                        continue
                    comparison = compare(name, outputs[name], want, graph.precision, graph.io)
                    yield Check(backend, graph, case.name, case.tau, name, comparison)


def check_tiles(
    bundle: Bundle, backend: str, threads: int | None = None, device: int | None = None
) -> Iterator[TileCheck]:
    """Measure the tile error of every graph that has a tile grid, on noise, edges and frequencies.

    Raises:
        BundleError, BackendError: as `check_graphs`.
    """
    manifest = bundle.manifest
    for graph in graphs_for(bundle, backend):
        # A uint8 graph has the grid of the float32 graph that it was made from.
        if graph.tile is None or graph.overlap is None or graph.io == uint8_images.IO:
            continue
        with closing(open_graph(backend, bundle, graph, threads, device)) as session:
            measured_at = {row.tau for row in graph.deviations} | {row.tau for row in graph.seams}
            taus = sorted(measured_at or {0.0})
            levels = manifest.latents.levels
            for measured in tile_error.deviations(
                session.run, graph, levels, manifest.scale, graph.overlap, taus
            ):
                yield TileCheck(backend, graph, measured)


def round_trips(
    bundle: Bundle, backend: str, threads: int | None = None, device: int | None = None
) -> Iterator[RoundTrip]:
    """Downscale the test vectors' HR images to 8 bits and upscale them, for each precision.

    Only precisions that the bundle has in both directions are measured.
    """
    cases = [case for case in test_vectors.read(bundle) if case.direction == "forward"]
    for precision in _in_both_directions(graphs_for(bundle, backend)):
        network = Network(bundle, backend, precision, threads, device=device)
        for case in cases:
            hr = case.inputs["hr"]
            lr = network.encode(hr, latents=False)["lr"]
            lr = np.rint(np.clip(lr, 0, 1) * np.float32(255)) / np.float32(255)
            again = np.clip(network.decode(lr.astype(np.float32)), 0, 1)
            yield RoundTrip(backend, precision, case.name, psnr(again, hr))


def _in_both_directions(graphs: Sequence[Graph]) -> list[Precision]:
    floats = [g for g in graphs if g.io == "float32"]  # not every test vector has 8 bits
    inverse = [g.precision for g in floats if g.direction == "inverse"]
    forward = {g.precision for g in floats if g.direction == "forward"}
    return [p for p in dict.fromkeys(inverse) if p in forward]


def _feeds(bundle: Bundle, graph: Graph, case: Case) -> dict[str, NDArray[np.float32]]:
    """The case's inputs that the graph has; latents that a case of τ = 0 leaves out are zeros."""
    if graph.direction == "forward":
        return {"hr": case.inputs["hr"]}
    n, _, height, width = case.inputs["lr"].shape
    shapes = bundle.manifest.input_shapes(graph, n, height, width)
    return {
        name: case.inputs.get(name, np.zeros(shape, np.float32)) for name, shape in shapes.items()
    }
