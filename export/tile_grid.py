"""The tile grid of a graph, certified: the smallest overlap that keeps to 1/255, and its figures.

The overlap is chosen on noise, step edges, a zone plate and, where the user has some, photographs;
never on the evaluation photographs, of which one is reported. The tile is as large as the memory of
`WINDOW_BYTES` allows. A lower precision has the grid of its direction's fp32 graph where that holds
for it too; an INT8 graph may need a larger overlap (docs/precision.md, section 3).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.artifact import NUMERICS, Artifact
from export.checks import tile_pictures
from export.checks.tile_pictures import Array
from export.errors import ExportError
from runtime.backends import open_session
from runtime.bundle.graph_entry import MOST_OVERLAP
from runtime.bundle.manifest import Deviation, Graph, Level
from runtime.checks import tile_error
from runtime.checks.tile_error import Scene, worst_by_distance
from runtime.inference import memory
from runtime.inference.report import BUDGET

LADDER = (4, 8, 12, 16, 24, 32, 48)
"""Overlaps that are tried, in LR pixels."""

MARGIN = 4
"""The worst deviation seen must be so many times below the budget: other images are worse."""

WINDOW_BYTES = 700_000_000
"""Memory that one window may take by the estimate; OpenVINO takes half as much again."""

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
) -> list[Artifact]:
    """Give the graphs of one direction their grid, and measure it on every one of them.

    Args:
        artifacts: of one direction, fp32 first.
        levels: of the latents.
        scale: HR pixels an LR pixel.
        taus: temperatures that an inverse with latents is measured at.
        options: the user's, as `check` lets them pass.
        note: called with a line when no overlap holds, or no photograph is large enough.

    Returns:
        The artifacts with `tile`, `overlap` and `deviations`; null and empty where no overlap of
        the ladder keeps to the budget: such a graph runs images whole. A grid of the user's that
        does not keep to it is marked in `within_budget`.
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

    certified: list[Artifact] = []
    least = 0
    for built in artifacts:
        entry = built.entry
        found = _grid(built, least, levels, taus, options, chosen_on)
        if found is None:
            beyond = "" if options.tile is None else f" of {options.tile}"
            note(
                f"{direction} {entry.precision}: no overlap up to {_ladder(options)[-1]} keeps "
                f"tiles{beyond} to 1/255; images will be run whole"
            )
            certified.append(built)
            continue
        overlap, curves, scene = found
        if built is artifacts[0]:
            least = overlap
        rows = curves + _measure(built, levels, reported(scene), taus, scene)
        deviations = tuple(Deviation(name, tau, float(worst[overlap])) for name, tau, worst in rows)
        tile = options.tile or largest_tile(artifacts[0].entry, overlap)
        entry = replace(entry, tile=tile, overlap=overlap, deviations=deviations)
        within = entry.within_budget and not over_budget(entry)
        certified.append(replace(built, entry=replace(entry, within_budget=within)))
    return certified


def _grid(
    built: Artifact,
    least: int,
    levels: Sequence[Level],
    taus: Sequence[float],
    options: Options,
    chosen_on: Callable[[Scene], list[tuple[str, Array]]],
) -> tuple[int, list[_Curve], Scene] | None:
    """The overlap of one graph, at least `least`, and the curves it was chosen by."""
    fixed, ladder = options.overlap, [each for each in _ladder(options) if each >= least]
    scenes = dict.fromkeys(tile_error.scene_for(each) for each in ladder)
    for scene in scenes if fixed is None else (tile_error.scene_for(fixed),):
        curves = _measure(built, levels, chosen_on(scene), taus, scene)
        overlap = _smallest(curves, scene, ladder) if fixed is None else fixed
        if overlap is not None:
            return overlap, curves, scene
    return None


def _ladder(options: Options) -> list[int]:
    """The overlaps that a tile of the user's may have."""
    tile = options.tile
    return [each for each in LADDER if tile is None or each <= MOST_OVERLAP * tile]


def over_budget(graph: Graph) -> list[str]:
    """One line for each figure of a grid that misses its budget."""
    return [
        f"{graph.title}, tiles of {graph.tile} with overlap {graph.overlap}, "
        f"{row.case}, τ {row.tau:g}: {row.max_abs * 255:.2f}/255 from the whole image"
        for row in graph.deviations
        if not row.max_abs <= BUDGET
    ]


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


def _measure(
    built: Artifact,
    levels: Sequence[Level],
    pictures: Sequence[tuple[str, Array]],
    taus: Sequence[float],
    scene: Scene,
) -> list[_Curve]:
    graph = built.entry
    session = open_session("onnxruntime", built.data, NUMERICS, 0)
    if not (graph.direction == "inverse" and graph.latents):
        taus = (0.0,)
    return [
        (name, tau, worst_by_distance(session.run, graph, levels, picture, tau, scene))
        for name, picture in pictures
        for tau in taus
    ]
