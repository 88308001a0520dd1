"""The border of a graph: the least padding at which plain colours come out at the edge as inside.

A network without padding pads its own features with zeros, and learns little about plain colours
beside them. A plain picture that is padded is a larger plain picture, so one run judges every
border: its pixels at distance d from the edge are the outermost ones of an image padded by d.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from export.artifact import NUMERICS, Artifact
from export.checks.parallel import THREADS, parallel_map
from runtime.backends import open_session
from runtime.bundle.manifest import Drift, Graph, Level
from runtime.checks.tile_error import Runner
from runtime.inference.report import BUDGET

LADDER = (0, 2, 4, 6, 8, 12)
"""Borders that are tried, in LR pixels."""

TOLERANCE = BUDGET / 4
"""The edge may be so much further off than the inside: a quarter of what 8 bits can show."""

SIDE = 2 * LADDER[-1] + 6
"""LR pixels of the plain pictures: what the largest border leaves is the inside."""

COLOURS: dict[str, tuple[float, float, float]] = {
    **{f"{r}{g}{b}": (r, g, b) for r, g, b in itertools.product((0, 1), repeat=3)},
    "gray": (0.5, 0.5, 0.5),
}
"""The corners of the RGB cube, named by their colour, and its middle."""


def choose(
    artifacts: Sequence[Artifact],
    levels: Sequence[Level],
    scale: int,
    note: Callable[[str], None],
) -> list[Artifact]:
    """Give the graphs of one direction their border.

    Args:
        artifacts: of one direction, fp32 first; the others get its border or a larger one.
        levels: of the latents.
        scale: HR pixels an LR pixel.
        note: called with a line where no border of the ladder is enough; the largest is taken.

    Returns:
        The artifacts with `border` and `drifts`.
    """
    chosen: list[Artifact] = []
    least = 0
    for built in artifacts:
        entry = built.entry
        session = open_session("onnxruntime", built.image_graph, NUMERICS, THREADS)
        curves = error_by_distance(session.run, entry, levels, scale)
        border = smallest(curves, least)
        if border is None:
            border = LADDER[-1]
            note(
                f"{entry.title}: plain colours are further off at the edge than inside even with "
                f"a border of {border}"
            )
        least = least if chosen else border
        drifts = tuple(
            Drift(name, float(errors[0]), float(errors[border]), float(errors[-1]))
            for name, errors in curves.items()
        )
        chosen.append(replace(built, entry=replace(entry, border=border, drifts=drifts)))
    return chosen


def error_by_distance(
    run: Runner, graph: Graph, levels: Sequence[Level], scale: int
) -> dict[str, NDArray[np.float64]]:
    """How far the output for each plain colour is from it, at τ = 0.

    Returns:
        By colour, element d: the largest difference after clipping to [0, 1] of all pixels with at
        least d LR pixels to the edge, d from 0 to the largest border.
    """
    inverse = graph.direction == "inverse"
    name, output, side = ("lr", "hr", SIDE) if inverse else ("hr", "lr", scale * SIDE)
    inputs = {}
    if inverse and graph.latents:
        inputs = {
            f"z{number}": np.zeros((1, z.channels, SIDE * z.factor, SIDE * z.factor), np.float32)
            for number, z in enumerate(levels, start=1)
        }

    def curve(colour: tuple[float, float, float]) -> NDArray[np.float64]:
        plain = np.array(colour, np.float32)[:, None, None]
        picture = np.ascontiguousarray(np.broadcast_to(plain, (1, 3, side, side)))
        found = run({name: picture, **inputs})[output][0]
        off = np.abs(np.clip(found, 0, 1) - plain).max(axis=0)
        pixels = off.reshape(SIDE, off.shape[0] // SIDE, SIDE, -1).max(axis=(1, 3))
        reach = range(LADDER[-1] + 1)
        return np.array([pixels[d : SIDE - d, d : SIDE - d].max() for d in reach])

    return dict(
        zip(COLOURS, parallel_map(curve, COLOURS.values(), graph, SIDE * SIDE), strict=True)
    )


def smallest(curves: dict[str, NDArray[np.float64]], least: int = 0) -> int | None:
    """The smallest border, `least` or more, that holds for every colour; None where none does."""
    for border in LADDER:
        holds = all(errors[border] <= errors[-1] + TOLERANCE for errors in curves.values())
        if border >= least and holds:
            return border
    return None
