"""The tile grids of a graph, certified: the smallest overlap that holds, and its figures.

In fp32 no pixel may differ from the untiled image by more than 1/255. Below fp32, whose rounding
differs by more than that, tile borders may not show (`checks.seams`), and tiled photographs keep to
the precision's budget (`tiled_loss`). The overlap is chosen on test patterns and, where the user
has some, photographs; never on the evaluation photographs. The tile is as large as the memory of
`WINDOW_BYTES` allows; smaller ones are recorded for less memory. A lower precision has the grid of
its direction's fp32 graph or a larger overlap.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export import tiled_loss
from export.artifact import NUMERICS, Artifact
from export.checks import seams, tile_pictures
from export.checks.parallel import THREADS, parallel_map
from export.checks.tile_pictures import Array
from export.checks.tiled_run import Measured
from export.errors import ExportError
from export.tiled_loss import Evaluated
from runtime.backends import open_session
from runtime.bundle.graph_entry import MOST_OVERLAP
from runtime.bundle.manifest import Deviation, Graph, Level, Loss, RecordedGrid
from runtime.checks import tile_error
from runtime.checks.tile_error import Runner, Scene, worst_by_distance
from runtime.inference import memory
from runtime.inference.grid import DEFAULT_TILING
from runtime.inference.report import BUDGET

LADDER = (4, 8, 12, 16, 24, 32, 48)
"""Overlaps that are tried, in LR pixels."""

MARGIN = 4
"""The worst deviation seen must be so many times below the budget: other images are worse."""

WINDOW_BYTES = 700_000_000
"""Memory that one window may take by the estimate; OpenVINO takes half as much again."""

SMALLEST_TILE = 16
MOST_GRIDS = 4
"""Recorded grids of a graph: tiles of a half, a quarter and an eighth for less memory."""

LARGEST_WINDOW = 512
LARGEST_OVERLAP = LARGEST_WINDOW // 4
"""Largest overlap a user may give: it is measured on a picture four times as large, run whole."""

_Curve = tuple[str, float, NDArray[np.float64]]
"""Picture, τ, and the worst deviation by distance."""


@dataclass(frozen=True)
class Options:
    """The user's choices for the grid.

    Attributes:
        tile: side of a core in LR pixels; `None` is as large as memory allows.
        overlap: `None` is the smallest that keeps to the budget.
        calibration: a folder of photographs, also used to choose the overlap.
    """

    tile: int | None = None
    overlap: int | None = None
    calibration: Path | None = None


def check(options: Options, scale: int, report: Callable[[str], None]) -> None:
    """Check before any work that the grid can be made as asked.

    Args:
        options: the user's.
        scale: HR pixels an LR pixel.
        report: called with a line about each file that is not a photograph.

    Raises:
        ExportError: the overlap is too large for the tile, or to be measured; the calibration
            folder cannot be read, or has no photograph that is large enough.
    """
    overlap = options.overlap or 0
    if overlap > LARGEST_OVERLAP:
        raise ExportError(
            f"--overlap {overlap}: at most {LARGEST_OVERLAP} LR pixels can be measured"
        )
    if options.tile is not None and overlap > MOST_OVERLAP * options.tile:
        raise ExportError(
            f"--overlap {overlap} is more than {MOST_OVERLAP} times --tile {options.tile}: give a "
            "larger tile or a smaller overlap"
        )
    side = tile_error.scene_for(overlap).picture * scale
    folder = options.calibration
    if folder is not None and not tile_pictures.photographs(folder, side, report):
        raise ExportError(
            f"'{folder}' has no photograph of at least {side}×{side} pixels to certify tiles on"
        )


def certify(
    artifacts: Sequence[Artifact],
    levels: Sequence[Level],
    scale: int,
    taus: Sequence[float],
    options: Options,
    note: Callable[[str], None],
    photographs: Callable[[], Evaluated] | None = None,
) -> list[Artifact]:
    """Give the graphs of one direction their grids, and measure them on every one.

    Args:
        artifacts: of one direction, fp32 first.
        levels: of the latents.
        scale: HR pixels an LR pixel.
        taus: temperatures that an inverse with latents is measured at.
        options: the user's, as `check` lets them pass.
        note: called with a line when no overlap holds, or no photograph is large enough.
        photographs: what graphs below fp32 are judged on; None judges tile borders alone.

    Returns:
        The artifacts with `tile`, `overlap`, `grids` and their figures; without them where no
        overlap of the ladder holds: such a graph runs images whole. A grid of the user's that does
        not hold is marked in `within_budget`.
    """
    direction = artifacts[0].entry.direction

    @functools.cache
    def chosen_on(scene: Scene) -> list[tuple[str, Array]]:
        found = tile_pictures.pictures(direction, scale, scene, options.calibration)
        if options.calibration is not None and len(found) == 1:
            side = scene.picture * scale
            note(
                f"{direction}: '{options.calibration}' has no photograph of {side}×{side} pixels, "
                f"needed for an overlap above {tile_error.SMALL.reach}: only test patterns are used"
            )
        return found

    @functools.cache
    def reported(scene: Scene) -> list[tuple[str, Array]]:
        return tile_pictures.reported(direction, scale, scene)

    opened = [Measured(_session(built), built.entry, tuple(levels), scale) for built in artifacts]
    certified: list[Artifact] = []
    least = 0
    judged: Judged | None = None
    for built, graph in zip(artifacts, opened, strict=True):
        inverse = built.entry.direction == "inverse" and built.entry.latents
        used = tuple(taus) if inverse else (0.0,)
        if built is artifacts[0]:
            entry = _exact(graph, used, options, chosen_on, reported)
            least = 0 if entry is None else entry.overlap or 0
        else:
            if judged is None and photographs is not None:
                judged = Judged.by(photographs(), opened[0])
            entry = lower(graph, used, options, least, judged)
        if entry is None:
            beyond = "" if options.tile is None else f" of {options.tile}"
            kept = "to 1/255" if built is artifacts[0] else "without visible borders and in budget"
            note(
                f"{built.entry.title}: no overlap up to {_ladder(options)[-1]} keeps tiles{beyond} "
                f"{kept}; images will be run whole"
            )
            certified.append(built)
            continue
        tile = options.tile or largest_tile(artifacts[0].entry, entry.overlap or 0)
        entry = replace(entry, tile=tile, grids=recorded(tile, entry.overlap or 0))
        within = entry.within_budget and not over_budget(entry)
        certified.append(replace(built, entry=replace(entry, within_budget=within)))
    return certified


def _session(built: Artifact) -> Runner:
    return open_session("onnxruntime", built.image_graph, NUMERICS, THREADS).run


def _exact(
    measured: Measured,
    taus: Sequence[float],
    options: Options,
    chosen_on: Callable[[Scene], list[tuple[str, Array]]],
    reported: Callable[[Scene], list[tuple[str, Array]]],
) -> Graph | None:
    """The entry of an fp32 graph with the overlap at which every pixel keeps to its budget."""
    fixed, ladder = options.overlap, _ladder(options)
    scenes = dict.fromkeys(tile_error.scene_for(each) for each in ladder)
    for scene in scenes if fixed is None else (tile_error.scene_for(fixed),):
        curves = _curves(measured, chosen_on(scene), taus, scene)
        overlap = _smallest(curves, scene, ladder) if fixed is None else fixed
        if overlap is not None:
            curves += _curves(measured, reported(scene), taus, scene)
            rows = tuple(Deviation(name, tau, float(curve[overlap])) for name, tau, curve in curves)
            return replace(measured.graph, overlap=overlap, deviations=rows)
    return None


@dataclass(frozen=True)
class Judged:
    """Photographs that graphs below fp32 are judged on, and how the fp32 graph restores them."""

    photographs: Evaluated
    exact: Sequence[Array]

    @classmethod
    def by(cls, photographs: Evaluated, exact: Measured) -> Judged:
        """Run the fp32 graph on the photographs."""
        return cls(photographs, photographs.restored(exact, DEFAULT_TILING))


def lower(
    measured: Measured,
    taus: Sequence[float],
    options: Options,
    least: int,
    judged: Judged | None,
) -> Graph | None:
    """The entry of a graph below fp32 with an overlap at which no tile border shows.

    Args:
        measured: the graph.
        taus: temperatures that it is measured at.
        options: the user's.
        least: the fp32 graph's overlap.
        judged: None judges tile borders alone.

    Returns:
        The entry with `overlap`, `seams`, `neighbours` and `tiled_losses`; None where no overlap
        holds.
    """
    direction, scale = measured.graph.direction, measured.scale
    fixed = options.overlap
    ladder = [each for each in _ladder(options) if each >= least] if fixed is None else [fixed]
    strips = functools.partial(tile_pictures.strips, direction, scale, options.calibration)
    found = seams.choose(measured, strips, taus, ladder)
    if found is None or (fixed is None and any(map(seams.shows, found.seams))):
        return None
    reported = functools.partial(tile_pictures.reported_strips, direction, scale)
    also = seams.choose(measured, reported, taus, [found.overlap])
    rows: list[Loss] = []
    within = True
    if judged is not None:
        photographs = judged.photographs
        rows = tiled_loss.losses(judged.exact, measured, photographs, found.overlap)
        within = tiled_loss.within(rows, photographs.most_loss_db[measured.graph.precision])
    if not within and fixed is None:
        return None
    return replace(
        measured.graph,
        overlap=found.overlap,
        seams=(*found.seams, *(also.seams if also else ())),
        neighbours=max(found.neighbours, also.neighbours if also else 0.0),
        tiled_losses=tuple(rows),
        within_budget=measured.graph.within_budget and within,
    )


def _ladder(options: Options) -> list[int]:
    """The overlaps that a tile of the user's may have."""
    tile = options.tile
    return [each for each in LADDER if tile is None or each <= MOST_OVERLAP * tile]


def over_budget(graph: Graph) -> list[str]:
    """One line for each figure of a grid that misses its budget."""
    tiles = f"{graph.title}, tiles of {graph.tile} with overlap {graph.overlap}"
    exact = [
        f"{tiles}, {row.case}, τ {row.tau:g}: {row.max_abs * 255:.2f}/255 from the whole image"
        for row in graph.deviations
        if not row.max_abs <= BUDGET
    ]
    borders = [
        f"{tiles}, {row.case}, τ {row.tau:g}: tile borders show, {row.figure} "
        f"{row.border * 255:.3f}/255 there and {row.elsewhere * 255:.3f}/255 elsewhere"
        for row in graph.seams
        if row.case != tile_pictures.EVALUATED and seams.shows(row)
    ]
    return exact + borders


def recorded(tile: int, overlap: int) -> tuple[RecordedGrid, ...]:
    """The grid of a tile, and those of a half, a quarter and an eighth of it for less memory."""
    grids = [RecordedGrid(tile, overlap)]
    while len(grids) < MOST_GRIDS:
        tile = tile // 16 * 8
        if tile < SMALLEST_TILE or overlap > MOST_OVERLAP * tile:
            break
        grids.append(RecordedGrid(tile, overlap))
    return tuple(grids)


def largest_tile(graph: Graph, overlap: int) -> int:
    """The largest tile, a multiple of 8, whose window keeps to `WINDOW_BYTES`.

    It is larger where the overlap asks for it.
    """
    side = int((WINDOW_BYTES / max(memory.needed(graph, 1), 1)) ** 0.5)
    least = -(-overlap // (8 * MOST_OVERLAP)) * 8
    return max(16, least, (min(side, LARGEST_WINDOW) - 2 * overlap) // 8 * 8)


def _smallest(curves: Sequence[_Curve], scene: Scene, ladder: Sequence[int]) -> int | None:
    worst = np.max([each for *_, each in curves], axis=0)
    for overlap in ladder:
        if overlap <= scene.reach and worst[overlap] <= BUDGET / MARGIN:
            return overlap
    return None


def _curves(
    measured: Measured,
    pictures: Sequence[tuple[str, Array]],
    taus: Sequence[float],
    scene: Scene,
) -> list[_Curve]:
    graph, levels = measured.graph, measured.levels

    def curve(case: tuple[tuple[str, Array], float]) -> _Curve:
        (name, picture), tau = case
        return name, tau, worst_by_distance(measured.run, graph, levels, picture, tau, scene)

    return parallel_map(curve, itertools.product(pictures, taus), graph, scene.picture**2)
