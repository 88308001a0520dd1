"""How far a window's output is from the whole image's, by the distance from the window's border.

A tile is right where nothing beyond its window matters any more. One window cut out of a larger
picture measures every overlap at once: its pixels at distance d from the cut are those that an
overlap of d would show. Export chooses by these figures, `hcflow verify` measures them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.manifest import Deviation, Direction, Graph, Level
from runtime.latents import draw

Array = NDArray[np.float32]
Runner = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Inputs by name → outputs by name, as `backends.Session.run`."""


@dataclass(frozen=True)
class Scene:
    """Sides in LR pixels: of the picture, and of the window in its top left corner."""

    picture: int
    window: int

    @property
    def reach(self) -> int:
        """Largest overlap that can be measured, in LR pixels: half of what the window shows."""
        return min(self.picture - self.window, self.window // 2)


SMALL = Scene(40, 24)
LARGE = Scene(176, 108)
"""Most networks need the small scene only; the large one measures overlaps up to 54."""


PICTURE = "noise, edges and a zone plate"


def picture(side: int) -> Array:
    """A picture [3, side, side] in [0, 1] of what is hardest for a window, in diagonal stripes.

    Noise, step edges between black, white and pure colours, and a zone plate of all frequencies:
    five stripes along either side, so that a cut anywhere crosses all three.
    """
    random = np.random.default_rng(0)
    noise = random.random((3, side, side), np.float32)
    rows, columns = np.mgrid[:side, :side]
    y, x = rows / side, columns / side
    fields = (x > 0.53) ^ (y > 0.47), (x + y > 1.03) ^ (x > 0.31), (x > y) ^ (y > 0.71)
    edges = np.stack(fields).astype(np.float32)
    phase = np.pi * side / 2 * (x * x + y * y)
    plate = np.stack([0.5 + 0.5 * np.cos(phase + c) for c in (0, 2, 4)]).astype("f4")
    stripe = (columns - rows) // -(-side // 5) % 3
    hardest: Array = np.choose(stripe, [noise, edges, plate])
    return hardest


def worst_by_distance(
    run: Runner, graph: Graph, levels: Sequence[Level], picture: Array, tau: float, scene: Scene
) -> NDArray[np.float64]:
    """Worst difference between a window's and the whole image's output, clipped to [0, 1].

    Args:
        run: runs the graph.
        graph: its entry in the manifest.
        levels: of the latents.
        picture: the input, [3, side, side] in [0, 1]: an LR image for an inverse graph, else HR.
        tau: of the latents of an inverse graph.
        scene: sides in LR pixels; fits `picture`.

    Returns:
        Element d: the worst over all pixels with at least d LR pixels to the cut, d up to `reach`.
    """
    name, output = ("lr", "hr") if graph.direction == "inverse" else ("hr", "lr")
    factor = picture.shape[1] // scene.picture
    inputs = {name: (picture, factor)}
    if graph.direction == "inverse" and graph.latents:
        sides = [scene.picture * level.factor for level in levels]
        shapes = [(z.channels, side, side) for z, side in zip(levels, sides, strict=True)]
        latents = enumerate(zip(draw(shapes, tau), levels, strict=True), start=1)
        inputs |= {f"z{number}": (z[0], level.factor) for number, (z, level) in latents}
    whole = run({key: value[None] for key, (value, _) in inputs.items()})[output][0]
    cut = {
        key: np.ascontiguousarray(value[None, :, : f * scene.window, : f * scene.window])
        for key, (value, f) in inputs.items()
    }
    part = run(cut)[output][0]
    side = part.shape[1]
    off = np.abs(np.clip(whole[:, :side, :side], 0, 1) - np.clip(part, 0, 1)).max(axis=0)
    pixels = off.reshape(scene.window, side // scene.window, scene.window, -1).max(axis=(1, 3))
    return np.array(
        [pixels[: scene.window - d, : scene.window - d].max() for d in range(scene.reach + 1)]
    )


def deviations(
    run: Runner,
    graph: Graph,
    levels: Sequence[Level],
    scale: int,
    overlap: int,
    taus: Sequence[float],
) -> Iterator[Deviation]:
    """The worst difference of `picture` at one overlap, for each temperature."""
    scene = scene_for(overlap)
    hardest = picture(input_side(graph.direction, scale, scene))
    for tau in taus if graph.direction == "inverse" and graph.latents else (0.0,):
        worst = worst_by_distance(run, graph, levels, hardest, tau, scene)
        yield Deviation(PICTURE, tau, float(worst[overlap]))


def scene_for(overlap: int) -> Scene:
    """The smallest scene that measures an overlap."""
    for scene in (SMALL, LARGE):
        if overlap <= scene.reach:
            return scene
    return Scene(4 * overlap, 2 * overlap)


def input_side(direction: Direction, scale: int, scene: Scene) -> int:
    """Side in pixels of a graph's input for a scene."""
    return scene.picture * (scale if direction == "forward" else 1)
