"""Images of any size, tile by tile: rows on demand go in, finished bands come out, top to bottom.

A band is one row of tiles. Memory holds the windows in flight, two bands and the rows that a window
needs, never the image. While the caller deals with a band the next one is being computed.

    for band in enlarge(network, rows, height, width, tau=0.0):
        file.write(band.planes)
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.manifest import Graph
from runtime.errors import ParameterError
from runtime.inference import memory, stitching
from runtime.inference.fallback import Outputs
from runtime.inference.grid import Tile
from runtime.inference.network import Network
from runtime.inference.plan import Plan, plan
from runtime.inference.report import Healed, Report
from runtime.inference.row_buffer import RollingRows, RowReader
from runtime.inference.stitching import Work
from runtime.inference.tau_map import TauMap
from runtime.inference.tile_runner import ForwardWindows, InverseWindows
from runtime.latents import check_tau

__all__ = ["Band", "Plan", "RowReader", "Spread", "draws", "enlarge", "plan", "reduce", "spread"]

Tensor = NDArray[np.float32]


@dataclass(frozen=True)
class Band:
    """A finished part of the output: `planes` float32 [3, rows, W], unclipped.

    `index` counts bands, `top` is the first row; `latents` are z1 … zL [C, f·rows, f·W] where
    `reduce` was asked for them.
    """

    index: int
    top: int
    planes: Tensor
    latents: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Spread:
    """Mean (`planes`) and standard deviation over draws of pictures clipped to [0, 1].

    float32 [3, rows, W] each.
    """

    index: int
    top: int
    planes: Tensor
    deviation: Tensor


def enlarge(
    network: Network,
    lr_rows: RowReader,
    height: int,
    width: int,
    *,
    tau: float = 0.0,
    seed: int = 0,
    sample: int = 0,
    tau_map: TauMap | None = None,
    latents: Sequence[Tensor] | None = None,
    plan: Plan | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    start_band: int = 0,
    report: Report | None = None,
) -> Iterator[Band]:
    """Enlarge an image of any size.

    Args:
        network: the model's network.
        lr_rows: gives the rows [start, stop) of the LR image. Called by the thread that iterates,
            for each row once and in order; rows of skipped bands are left out.
        height: LR rows.
        width: LR columns.
        tau: temperature of latents drawn by place; 0 takes none.
        seed: of the latents.
        sample: which of the seed's pictures.
        tau_map: what part of τ holds where.
        latents: z1 … zL [1, C, H·f, W·f] of the whole image in place of drawn ones.
        plan: from `plan(network, "inverse", height, width, …)`; None makes one.
        tile: of the plan to make, as `plan` takes it.
        overlap: likewise.
        start_band: bands before it are skipped; the others are what they would be without.
        report: takes notes.

    Yields:
        Bands top to bottom; `scale` × the LR image in all.

    Raises:
        ParameterError, ImageError, BundleError, BackendError: as `Model.upscale`; raised when
            iteration starts or reaches the tile at fault.
    """
    drawn = draws(
        network,
        lr_rows,
        height,
        width,
        tau=tau,
        seed=seed,
        samples=(sample,),
        tau_map=tau_map,
        latents=latents,
        plan=plan,
        tile=tile,
        overlap=overlap,
        start_band=start_band,
        report=report,
    )
    with closing(drawn):
        yield from map(itemgetter(0), drawn)


def draws(
    network: Network,
    lr_rows: RowReader,
    height: int,
    width: int,
    *,
    samples: Sequence[int],
    tau: float = 0.0,
    seed: int = 0,
    tau_map: TauMap | None = None,
    latents: Sequence[Tensor] | None = None,
    plan: Plan | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    start_band: int = 0,
    report: Report | None = None,
) -> Generator[tuple[Band, ...]]:
    """As `enlarge`, several samples at once: each tile is read once and drawn for all of them."""
    check_tau(tau)
    made = plan or _plan(
        network,
        "inverse",
        height,
        width,
        latents=latents is not None or tau > 0,
        tile=tile,
        overlap=overlap,
        samples=len(samples),
    )
    _check_plan(made, height, width)
    windows = InverseWindows(network, made.precision, height, width, tau, seed, tau_map, latents)

    def compute(tile: Tile, lr: Tensor) -> list[tuple[Outputs, Healed | None]]:
        return [windows.compute(tile, lr, sample) for sample in samples]

    work = Work(compute, {"hr": network.manifest.scale}, "hr", 1)
    rows = RollingRows(lr_rows, height, width)
    for index, outputs in stitching.run(made, rows, work, start_band, report):
        top = made.band_top(index)
        drawn = tuple(Band(index, top, each["hr"]) for each in outputs)
        del outputs  # who iterates decides how long a band stays in memory
        yield drawn
        del drawn
    _hold(network, windows.graph, made)


def spread(
    network: Network,
    lr_rows: RowReader,
    height: int,
    width: int,
    *,
    samples: Sequence[int],
    tau: float,
    seed: int = 0,
    tau_map: TauMap | None = None,
    plan: Plan | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    report: Report | None = None,
) -> Iterator[Spread]:
    """Mean and standard deviation over samples; memory does not grow with their number.

    The deviation is that of the population, √(Σ(x − mean)²/K), by Welford's recurrence.
    """
    check_tau(tau)
    made = plan or _plan(
        network,
        "inverse",
        height,
        width,
        latents=tau > 0,
        tile=tile,
        overlap=overlap,
        samples=2,
    )
    _check_plan(made, height, width)
    windows = InverseWindows(network, made.precision, height, width, tau, seed, tau_map, None)

    def compute(tile: Tile, lr: Tensor) -> list[tuple[Outputs, Healed | None]]:
        healed = None
        mean = square = np.zeros((), np.float32)
        for count, sample in enumerate(samples, start=1):
            outputs, again = windows.compute(tile, lr, sample)
            healed = again or healed
            values = np.clip(outputs["hr"], 0, 1)
            off = values - mean
            mean = mean + off / np.float32(count)
            square = square + off * (values - mean)
        return [({"hr": mean, "square": square}, healed)]

    scale = network.manifest.scale
    work = Work(compute, {"hr": scale, "square": scale}, "hr", 1)
    rows = RollingRows(lr_rows, height, width)
    for index, (outputs,) in stitching.run(made, rows, work, 0, report):
        deviation = np.sqrt(outputs["square"] / np.float32(len(samples)))
        band = Spread(index, made.band_top(index), outputs["hr"], deviation)
        del outputs, deviation
        yield band
        del band
    _hold(network, windows.graph, made)


def reduce(
    network: Network,
    hr_rows: RowReader,
    height: int,
    width: int,
    *,
    latents: bool = False,
    plan: Plan | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    start_band: int = 0,
    report: Report | None = None,
) -> Iterator[Band]:
    """Reduce an image of any size; sides that are no multiple of the scale are padded.

    Args:
        network: the model's network.
        hr_rows: gives the rows [start, stop) of the HR image, as `lr_rows` of `enlarge`.
        height: HR rows as they are, not padded.
        width: HR columns.
        latents: also give z1 … zL.
        plan: from `plan(network, "forward", height, width, …)`; None makes one.
        tile: of the plan to make, as `plan` takes it.
        overlap: likewise.
        start_band: bands before it are skipped.
        report: takes notes.

    Yields:
        Bands top to bottom; the image reduced by the scale, sides rounded up.

    Raises:
        ImageError, BundleError, BackendError: as `Model.downscale`.
    """
    made = plan or _plan(
        network, "forward", height, width, latents=latents, tile=tile, overlap=overlap
    )
    scale = network.manifest.scale
    _check_plan(made, -(-height // scale), -(-width // scale))
    windows = ForwardWindows(network, made.precision, latents)
    work = Work(lambda tile, hr: [windows.compute(tile, hr)], windows.factors, "lr", scale)
    rows = RollingRows(hr_rows, height, width, scale)
    for index, (outputs,) in stitching.run(made, rows, work, start_band, report):
        zs = tuple(outputs[name] for name in windows.factors if name != "lr")
        band = Band(index, made.band_top(index), outputs["lr"], zs)
        del outputs, zs
        yield band
        del band
    _hold(network, windows.graph, made)


_plan = plan  # under a name that no parameter hides


def _check_plan(plan: Plan, lr_height: int, lr_width: int) -> None:
    if (plan.grid.height, plan.grid.width) != (lr_height, lr_width):
        raise ParameterError(
            f"the plan is for {plan.grid.width}×{plan.grid.height} low-resolution pixels: this "
            f"image has {lr_width}×{lr_height}"
        )


def _hold(network: Network, graph: Graph, made: Plan) -> None:
    """Tell the network what its backend keeps now."""
    rows, columns = made.grid.window
    network.hold(graph, made.in_flight * memory.needed(graph, rows * columns))
