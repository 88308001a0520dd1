"""Images of any size, tile by tile: rows are read on demand, results come top to bottom.

A row of tiles gives a block of output rows. Memory holds the windows in flight, two blocks and the
rows that a window needs, never the image. While the caller uses a block the next is computed.

    for block in upscale(network, picture, Sampling(tau=0.0)):
        file.write(block.planes)
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np

from runtime.bundle.manifest import Graph
from runtime.errors import ParameterError
from runtime.images.pixels import arrays
from runtime.inference import memory, stitching
from runtime.inference.cancel import Cancel, check_of
from runtime.inference.grid import DEFAULT_TILING, Tile, Tiling
from runtime.inference.latent_source import Sampling
from runtime.inference.network import Network
from runtime.inference.plan import Plan, plan_for
from runtime.inference.report import Fallback, Report
from runtime.inference.row_buffer import RowBuffer, RowReader
from runtime.inference.stitching import Work
from runtime.inference.tile_runner import ForwardRunner, InverseRunner, Outputs
from runtime.latents import Array


@dataclass(frozen=True)
class RowBlock:
    """Finished rows of the output.

    Attributes:
        index: of the row of tiles that gave them.
        top: first output row.
        planes: float32 [3, rows, W], not clipped.
        latents: z1 … zL [C, f·rows, f·W] where `downscale` was asked for them.
    """

    index: int
    top: int
    planes: Array
    latents: tuple[Array, ...] = ()


@dataclass(frozen=True)
class MeanBlock:
    """Finished rows of the mean over samples.

    Attributes:
        index: of the row of tiles that gave them.
        top: first output row.
        planes: mean of the images clipped to [0, 1], float32 [3, rows, W].
        deviation: their standard deviation, of the same shape.
        luma_variance: of their luma [rows, W].
        luma_covariance: of their luma with the sum of their channels [rows, W].
    """

    index: int
    top: int
    planes: Array
    deviation: Array
    luma_variance: Array
    luma_covariance: Array


def upscale(  # noqa: PLR0913 - keywords of the public API
    network: Network,
    image: RowReader,
    sampling: Sampling,
    *,
    sample: int = 0,
    plan: Plan | None = None,
    tiling: Tiling = DEFAULT_TILING,
    first_row: int = 0,
    report: Report | None = None,
    cancel: Cancel | None = None,
) -> Iterator[RowBlock]:
    """Upscale an image of any size.

    Args:
        network: the model's network.
        image: the LR image. It is read by the thread that iterates, each row once and in order;
            rows that only skipped tiles need are left out.
        sampling: its latents.
        sample: which of the seed's images.
        plan: from `plan_for(network, "inverse", …)`; None makes one.
        tiling: of the plan to make.
        first_row: rows of tiles before it are skipped; the others are what they would be without.
        report: filled while the image is computed.
        cancel: asked before every tile, from the threads that compute them.

    Yields:
        Blocks top to bottom; in all `scale` × the LR image.

    Raises:
        ParameterError, ImageError, BundleError, BackendError: as `Model.upscale`; raised when
            iteration starts or reaches the tile at fault.
    """
    blocks = upscale_samples(
        network,
        image,
        sampling,
        samples=(sample,),
        plan=plan,
        tiling=tiling,
        first_row=first_row,
        report=report,
        cancel=cancel,
    )
    with closing(blocks):
        yield from map(itemgetter(0), blocks)


def upscale_samples(  # noqa: PLR0913 - keywords of the public API
    network: Network,
    image: RowReader,
    sampling: Sampling,
    *,
    samples: Sequence[int],
    plan: Plan | None = None,
    tiling: Tiling = DEFAULT_TILING,
    first_row: int = 0,
    report: Report | None = None,
    cancel: Cancel | None = None,
) -> Generator[tuple[RowBlock, ...]]:
    """As `upscale`, several samples at once: each tile is read once and run for all of them."""
    plan = _inverse_plan(plan, network, image, sampling, tiling, len(samples))
    size, check = (image.height, image.width), check_of(cancel)
    runner = InverseRunner(network, plan.precision, *size, sampling, check)

    def compute(tile: Tile, lr: Array) -> list[tuple[Outputs, Fallback | None]]:
        return [runner.compute(tile, lr, sample) for sample in samples]

    work = Work(compute, {"hr": network.manifest.scale}, "hr", 1)
    for index, outputs in _run(network, runner.graph, plan, image, work, first_row, report):
        top = plan.block_top(index)
        blocks = tuple(RowBlock(index, top, each["hr"]) for each in outputs)
        del outputs  # the caller decides how long a block stays in memory
        yield blocks
        del blocks


def uncertainty(
    network: Network,
    image: RowReader,
    sampling: Sampling,
    *,
    samples: Sequence[int],
    plan: Plan | None = None,
    tiling: Tiling = DEFAULT_TILING,
    report: Report | None = None,
    cancel: Cancel | None = None,
) -> Iterator[MeanBlock]:
    """Mean and standard deviation over samples; memory does not grow with their number.

    The deviation is that of the population, √(Σ(x − mean)²/K), by Welford's recurrence.
    """
    plan = _inverse_plan(plan, network, image, sampling, tiling, 2)
    size, check = (image.height, image.width), check_of(cancel)
    runner = InverseRunner(network, plan.precision, *size, sampling, check)

    def compute(tile: Tile, lr: Array) -> list[tuple[Outputs, Fallback | None]]:
        fallback = None
        mean = square = np.zeros((), np.float32)
        for count, sample in enumerate(samples, start=1):
            outputs, last = runner.compute(tile, lr, sample)
            fallback = last or fallback
            values = np.clip(outputs["hr"], 0, 1)
            off = values - mean
            mean = mean + off / np.float32(count)
            square = square + _products(off, values - mean)
        return [({"hr": mean, "square": square}, fallback)]

    scale = network.manifest.scale
    work = Work(compute, {"hr": scale, "square": scale}, "hr", 1)
    for index, (outputs,) in _run(network, runner.graph, plan, image, work, 0, report):
        *variance, luma_variance, luma_covariance = outputs["square"] / np.float32(len(samples))
        block = MeanBlock(
            index,
            plan.block_top(index),
            outputs["hr"],
            np.sqrt(variance),
            luma_variance,
            luma_covariance,
        )
        del outputs, variance, luma_variance, luma_covariance
        yield block
        del block


def _products(before: Array, after: Array) -> Array:
    """Of [1, 3, h, w] twice: products of R, G, B, of luma, and of luma and the channels' sum."""
    luma = arrays.luma(after[0])
    shared = np.stack([arrays.luma(before[0]) * luma, before[0].sum(axis=0) * luma])
    return np.concatenate([before * after, shared[None]], axis=1)


def downscale(
    network: Network,
    image: RowReader,
    *,
    latents: bool = False,
    plan: Plan | None = None,
    tiling: Tiling = DEFAULT_TILING,
    first_row: int = 0,
    report: Report | None = None,
    cancel: Cancel | None = None,
) -> Iterator[RowBlock]:
    """Downscale an image of any size; sides that are no multiple of the scale are padded.

    Args:
        network: the model's network.
        image: the HR image as it is, not padded; read as by `upscale`.
        latents: also give z1 … zL.
        plan: from `plan_for(network, "forward", …)`; None makes one.
        tiling: of the plan to make.
        first_row: rows of tiles before it are skipped.
        report: filled while the image is computed.
        cancel: as for `upscale`.

    Yields:
        Blocks top to bottom; in all the image downscaled by the scale, sides rounded up.

    Raises:
        ImageError, BundleError, BackendError: as `Model.downscale`.
    """
    if latents:  # of the image alone: with the same ones, `upscale` undoes it exactly
        tiling = replace(tiling, border=0)
    plan = plan or plan_for(
        network, "forward", image.height, image.width, latents=latents, tiling=tiling
    )
    _check_border(plan, latents)
    runner = ForwardRunner(network, plan.precision, latents, check_of(cancel))
    factor = network.manifest.scale
    work = Work(lambda tile, hr: [runner.compute(tile, hr)], runner.factors, "lr", factor)
    for index, (outputs,) in _run(network, runner.graph, plan, image, work, first_row, report):
        zs = tuple(outputs[name] for name in runner.factors if name != "lr")
        block = RowBlock(index, plan.block_top(index), outputs["lr"], zs)
        del outputs, zs
        yield block
        del block


def _inverse_plan(
    plan: Plan | None,
    network: Network,
    image: RowReader,
    sampling: Sampling,
    tiling: Tiling,
    samples: int,
) -> Plan:
    """The caller's plan, or one that is made."""
    given = sampling.latents is not None
    if given:  # they have no values beyond the image
        tiling = replace(tiling, border=0)
    plan = plan or plan_for(
        network,
        "inverse",
        image.height,
        image.width,
        latents=sampling.needs_latents,
        tiling=tiling,
        samples=samples,
    )
    _check_border(plan, given)
    return plan


def _check_border(plan: Plan, latents: bool) -> None:
    """Raise `ParameterError` for a border where latents are given or asked for."""
    if latents and plan.grid.border:
        raise ParameterError(
            f"the plan pads the image by {plan.grid.border} low-resolution pixels, and latents are "
            "those of the image alone: plan with Tiling(border=0)"
        )


def _run(
    network: Network,
    graph: Graph,
    plan: Plan,
    image: RowReader,
    work: Work,
    first_row: int,
    report: Report | None,
) -> Iterator[tuple[int, list[Outputs]]]:
    """Every row of tiles as `stitching.run` gives it, of an image that the plan has to fit."""
    grid = plan.grid
    height, width = (-(-side // work.input_factor) for side in (image.height, image.width))
    if (grid.height, grid.width) != (height, width):
        raise ParameterError(
            f"the plan is for {grid.width}×{grid.height} low-resolution pixels: this image has "
            f"{width}×{height}"
        )
    rows = RowBuffer(image, work.input_factor, grid.border * work.input_factor)
    yield from stitching.run(plan, rows, work, first_row, report)
    if report is not None:
        report.backend = network.opened_on(graph)
    network.hold(graph, plan.in_flight * memory.needed(graph, math.prod(grid.window)))
