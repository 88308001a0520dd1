"""Whether tile borders show: a seeded permutation test over the lines of tiled pictures.

Below fp32, a tiled image differs from the untiled one by the precision's own rounding: values near
a threshold fall to either side of it. Such differences are no seam as long as tile borders have
them no more than other lines do. Two figures of every line between two LR pixels are compared: its
difference from the untiled image, and its jump to the next line, less the untiled image's jump.
Both are of 8-bit images, as a user gets them.

The pictures are strips with many tiles along them, and tiles so small that every line is near a
border: further in, a large tile does not differ at all, which would make borders stand out
whatever the overlap.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from export.checks.parallel import parallel_map
from export.checks.tile_pictures import STRIP_WIDTH, Array
from export.checks.tiled_run import Measured, run_on_grid
from runtime.bundle.manifest import Seam
from runtime.bundle.uint8_images import SATURATED
from runtime.inference.grid import Grid

TILE = 24
"""LR pixels of a tile along the strip."""

USUAL_LENGTH = 144
"""LR pixels of a strip; longer where the overlap asks for it, for three borders at least."""

PERMUTATIONS = 1_999
LEVEL = 0.01
"""Share of random choices of lines below which tile borders are not lines like others."""

VISIBLE = 0.05 / 255
"""Mean excess along tile borders below which they are no seam, however surely it is found: less
than one pixel in twenty differs by one step of 8 bits."""

FIGURES = ("difference", "jump")


Figures = NDArray[np.float64]
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Lines:
    """Figures [line] of the lines between LR pixels of one strip, and which are tile borders."""

    difference: Figures
    jump: Figures
    borders: NDArray[np.intp]


@dataclass(frozen=True)
class Found:
    """An overlap in LR pixels, why it was taken, and how far neighbouring tiles differ there."""

    overlap: int
    seams: tuple[Seam, ...]
    neighbours: float


def permutation_test(strips: Sequence[Lines], case: str, tau: float) -> list[Seam]:
    """The permutation test of both figures over the strips of one case.

    Tile borders are compared with as many lines of the same strip, drawn at random, so that no
    strip's content weighs against another's.
    """
    random = np.random.default_rng(0)
    drawn = [_draws(random, len(each.difference), len(each.borders)) for each in strips]
    seams = []
    for name in FIGURES:
        figures: list[Figures] = [getattr(each, name) for each in strips]
        pairs = [(f, each.borders) for f, each in zip(figures, strips, strict=True)]
        at_borders = float(np.mean([values[lines].mean() for values, lines in pairs]))
        elsewhere = float(np.mean([np.delete(values, lines).mean() for values, lines in pairs]))
        means = [v[lines].mean(axis=1) for v, lines in zip(figures, drawn, strict=True)]
        # A hair below, so that sums in another order count as equal.
        reached = int(np.count_nonzero(np.mean(means, axis=0) >= at_borders - 1e-12))
        p = (1 + reached) / (1 + PERMUTATIONS)
        seams.append(Seam(case, tau, name, at_borders, elsewhere, p))
    return seams


def _draws(random: np.random.Generator, lines: int, count: int) -> NDArray[np.intp]:
    """So many different lines, drawn anew for every permutation [permutation, count]."""
    order = random.random((PERMUTATIONS, lines)).argpartition(count - 1, axis=1)
    return order[:, :count]


def shows(seam: Seam) -> bool:
    """Whether tile borders show: they are unlike other lines, and by what 8 bits can show."""
    return not (seam.p >= LEVEL or seam.border - seam.elsewhere <= VISIBLE)


def choose(
    measured: Measured,
    strips: Callable[[int], Mapping[str, Sequence[Array]]],
    taus: Sequence[float],
    ladder: Sequence[int],
) -> Found | None:
    """The first overlap of the ladder at which no tile border shows; None where none is enough.

    A ladder of one overlap is only measured.

    Args:
        measured: the graph.
        strips: of a length in LR pixels, by the name of what is on them: the graph's inputs
            [3, H, W]. One that is too short for two tiles is left out, and at τ above 0 one of
            which the graph makes no image.
        taus: temperatures that each case is measured at.
        ladder: overlaps in LR pixels.
    """
    cases = functools.cache(strips)

    def on_each(work: Callable[[T], U], items: Iterable[T], length: int) -> list[U]:
        return parallel_map(work, items, measured.graph, STRIP_WIDTH * length)

    @functools.cache
    def untiled(length: int, case: str, tau: float) -> list[Array | None]:
        return on_each(lambda each: _whole(measured, each, tau), cases(length)[case], length)

    for overlap in ladder:
        length = max(USUAL_LENGTH, 4 * TILE + 2 * overlap)
        seams: list[Seam] = []
        neighbours = 0.0
        for case, tau in itertools.product(cases(length), taus):
            wholes = zip(cases(length)[case], untiled(length, case, tau), strict=True)
            pairs = [(strip, whole) for strip, whole in wholes if whole is not None]
            lines_of = functools.partial(_lines_of, measured, tau, overlap)
            rows = on_each(lines_of, pairs, length)
            tiled = [lines for lines, _ in rows if lines is not None]
            seams += permutation_test(tiled, case, tau) if tiled else []
            neighbours = max([neighbours, *(worst for _, worst in rows)])
            if len(ladder) > 1 and any(map(shows, seams)):
                break  # the next overlap may do
        else:
            return Found(overlap, tuple(seams), neighbours)
    return None


def _whole(measured: Measured, strip: Array, tau: float) -> Array | None:
    """The untiled image of a strip; None where drawn latents give none.

    A network may grow beyond all bounds on a test pattern with latents, in fp32 as well. The
    runtime computes such tiles in another way (`inference.tile_runner`), so that they tell nothing
    of tile borders. At τ = 0 nothing is left out.
    """
    height, width = measured.lr_size(strip)
    images: list[Array] = []

    def run(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        outputs = measured.run(feeds)
        images.append(outputs["hr" if measured.factor == 1 else "lr"])
        return outputs

    watched = replace(measured, run=run)
    image = run_on_grid(watched, strip, tau, Grid.whole(height, width))[0]
    is_image = all(x.min() >= -SATURATED and x.max() <= 1 + SATURATED for x in images)
    return image if tau == 0 or is_image else None


def _lines_of(
    measured: Measured, tau: float, overlap: int, strip_and_untiled: tuple[Array, Array]
) -> tuple[Lines | None, float]:
    """The figures of a strip in tiles, and the largest difference between neighbouring tiles."""
    strip, untiled = strip_and_untiled
    height, width = measured.lr_size(strip)
    grid = Grid(height, width, TILE, overlap)
    tiled, disagreement = run_on_grid(measured, strip, tau, grid)
    if disagreement is None:
        return None, 0.0
    row, count = (grid.row, grid.rows) if height > width else (grid.column, grid.columns)
    borders = np.array([row(number).start for number in range(1, count)])
    return figures(tiled, untiled, borders, max(height, width)), disagreement


def figures(tiled: Array, untiled: Array, borders: NDArray[np.intp], length: int) -> Lines:
    """The figures of the lines between LR pixels along the longer side.

    Args:
        tiled: [3, H, W] in [0, 1].
        untiled: the same of the untiled image.
        borders: places of the tile borders, in LR pixels; at least one.
        length: LR pixels along the longer side.

    Returns:
        The figures of all lines from half a tile before the first border to half a tile after
        the last.
    """
    images = []
    for image in (tiled, untiled):
        rounded = np.rint(image.astype(np.float64) * 255) / 255
        rounded = rounded if image.shape[1] > image.shape[2] else rounded.transpose(0, 2, 1)
        images.append(rounded)
    factor = images[0].shape[1] // length
    first, last = max(1, borders[0] - TILE // 2), min(length - 1, borders[-1] + TILE // 2)
    after = np.arange(first, last + 1) * factor
    off = np.abs(images[0] - images[1])
    difference = (off[:, after] + off[:, after - 1]).mean(axis=(0, 2)) / 2
    jumps = [np.abs(image[:, after] - image[:, after - 1]).mean(axis=(0, 2)) for image in images]
    return Lines(difference, jumps[0] - jumps[1], borders - first)
