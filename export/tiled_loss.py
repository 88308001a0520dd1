"""What tiles below fp32 cost: PSNR of whole photographs, tiled, less that of fp32 untiled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.checks.parallel import parallel_map
from export.checks.tile_pictures import Array
from export.checks.tiled_run import Measured, run_on_grid
from export.folded.fold import GraphSpec
from export.precision import evaluation
from export.precision.evaluation import MOST_LOSS_DB, Trial
from hcflow_ref.images.photographs import photographs
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from runtime.bundle.manifest import Direction, Loss, Precision
from runtime.checks.parity import psnr
from runtime.inference.grid import Grid, Tiling

TILE = 48
"""LR pixels: small, so that a photograph has many tiles, and more borders than an image will."""

MOST_OF_ONE = 2.0
"""No photograph may lose more than so many times what all may lose on average."""


@dataclass(frozen=True)
class Evaluated:
    """Whole photographs that tiles are measured on.

    Attributes:
        trials: photographs by name, with a graph's inputs for them.
        back: for a forward graph, its LR image [1, 3, H, W] → HR by the fp32 inverse.
        most_loss_db: by precision, what they may lose on average.
    """

    trials: Sequence[tuple[str, Trial]]
    back: Callable[[Array], Array] | None
    most_loss_db: Mapping[Precision, float]

    def restored(self, measured: Measured, tiling: Tiling) -> list[Array]:
        """The photographs as a graph restores them, [1, 3, H, W] in [0, 1].

        Args:
            measured: the graph; of a forward graph, what the fp32 inverse makes of its LR image.
            tiling: with tile and overlap; without, images are untiled.
        """
        name, border = "lr" if measured.factor == 1 else "hr", measured.graph.border
        tile, overlap = tiling.tile, tiling.overlap or 0
        jobs = []
        for _, trial in self.trials:
            picture = trial.inputs[name][0]
            size = measured.lr_size(picture)
            grid = Grid.whole(*size, border)
            if tile is not None:
                grid = Grid(*size, tile, overlap, border)
            jobs.append((picture, trial.tau, grid))
        largest = max(math.prod(grid.window) for *_, grid in jobs)
        found = parallel_map(
            lambda job: run_on_grid(measured, *job)[0], jobs, measured.graph, largest
        )
        images = [image[None] for image in found]
        if self.back is not None:
            images = [self.back((np.rint(each * 255) / 255).astype(np.float32)) for each in images]
        return [image.clip(0, 1) for image in images]


def evaluated(
    model: HCFlow | IRN,
    direction: Direction,
    latents: bool,
    taus: Sequence[float],
    int8_budget_db: float | None,
) -> Evaluated:
    """The four evaluation photographs: they only judge, the overlap is chosen without them."""
    spec = GraphSpec(direction, latents=latents)
    trials = []
    for name, image in photographs(model.config.scale).items():
        truth = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        used = dict.fromkeys(taus) if direction == "inverse" and latents else (0.0,)
        trials += [(name, evaluation.inputs_of(model, spec, truth, tau)) for tau in used]
    eight_bits = MOST_LOSS_DB["int8"] if int8_budget_db is None else int8_budget_db
    budgets: dict[Precision, float] = {
        "fp16": MOST_LOSS_DB["fp16"],
        "int8": eight_bits,
        "fp8": eight_bits,
    }
    back = evaluation.restorer(model) if direction == "forward" else None
    return Evaluated(trials, back, budgets)


def losses(
    exact: Sequence[Array], low: Measured, photographs: Evaluated, overlap: int
) -> list[Loss]:
    """What each photograph loses in tiles of `TILE` below fp32.

    Args:
        exact: the photographs as the fp32 graph of the same direction restores them, untiled.
        low: the graph below fp32.
        photographs: what is measured on.
        overlap: in LR pixels.
    """
    rows = []
    inner = slice(low.scale, -low.scale)
    tiled = photographs.restored(low, Tiling(TILE, overlap))
    for (name, trial), *images in zip(photographs.trials, exact, tiled, strict=True):
        untiled, cut, truth = (each[:, :, inner, inner] for each in (*images, trial.truth))
        between = psnr(cut, untiled)
        loss = psnr(untiled, truth) - psnr(cut, truth)
        worst = float(np.abs(cut - untiled).max())
        rows.append(Loss(name, trial.tau, None if between == np.inf else between, loss, worst))
    return rows


def within(rows: Sequence[Loss], most_db: float) -> bool:
    """Whether photographs lose at most `most_db` on average, and none over twice that."""
    values: NDArray[np.float64] = np.array([row.loss_db for row in rows])
    return not rows or bool(values.mean() <= most_db and values.max() <= MOST_OF_ONE * most_db)
