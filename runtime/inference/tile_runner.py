"""One tile through a network, and the fallbacks where its result is not an image.

NaN, infinity and saturation are caught. A graph below fp32 can overflow where float32 does not, so
the tile alone is run again by the fp32 graph; where that fails too and the latents were drawn, once
more at τ = 0.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.bundle.graph_entry import IMAGES, Graph, Precision
from runtime.bundle.uint8_images import HEALTH, SATURATED
from runtime.errors import BackendError, BundleError, ParameterError
from runtime.inference.cancel import Check, no_check
from runtime.inference.grid import Tile
from runtime.inference.latent_source import Latent, LatentSource, Sampling
from runtime.inference.network import Network
from runtime.inference.report import Fallback
from runtime.latents import Array

Outputs = dict[str, Array]

_logger = logging.getLogger(__name__)


class InverseRunner:
    """Upscales the tiles of one image.

    Args:
        network: the model's.
        precision: of the graph; the plan's.
        height: LR rows of the image.
        width: LR columns.
        sampling: its latents.
        check: called before a tile is computed; what it raises ends the call.

    Raises:
        ParameterError: latents of another shape, or for a graph built for τ = 0.
        BundleError: no such graph, or its latents are of another scheme.
    """

    def __init__(
        self,
        network: Network,
        precision: Precision,
        height: int,
        width: int,
        sampling: Sampling,
        check: Check = no_check,
    ) -> None:
        self._network, self._check = network, check
        self.graph = network.graph("inverse", sampling.needs_latents, precision)
        if sampling.latents is not None:
            network.check_latents(self.graph, sampling.latents, 1, height, width)
        elif sampling.needs_latents:
            network.check_takes_latents(self.graph)
            network.check_scheme()
        levels = network.manifest.latents.levels
        self._source = LatentSource(sampling, levels, height, width)

    def compute(self, tile: Tile, lr: Array, sample: int) -> tuple[Outputs, Fallback | None]:
        """`hr` [1, 3, …] of a tile's window from its `lr` [1, 3, …], and the fallback it took."""
        self._check()
        latents = self._source.window(tile, sample)

        def attempt(graph: Graph, zs: Sequence[Latent] | None, how: str) -> _Attempt:
            feeds = self._network.feeds(graph, lr, zs)
            return _Attempt(how, graph, lambda: self._network.run(graph, feeds))

        def attempts() -> Iterator[_Attempt]:
            graphs = _with_exact(self._network, self.graph)
            for graph in graphs:
                if latents is None or graph.latents:
                    yield attempt(graph, latents, graph.precision)
            if self._source.is_random:
                yield attempt(graphs[-1], None, f"{graphs[-1].precision} at τ = 0")

        return _first_sound(attempts(), tile)


class ForwardRunner:
    """Downscales the tiles of one image.

    Attributes:
        factors: pixels an LR pixel, of each output.

    Raises:
        ParameterError: latents asked of a graph that gives none.
        BundleError: no such graph.
    """

    def __init__(
        self, network: Network, precision: Precision, latents: bool, check: Check = no_check
    ) -> None:
        self._network, self._check = network, check
        self.graph = network.graph("forward", latents, precision)
        self.factors = {"lr": 1}
        if latents:
            if not self.graph.latents:
                raise ParameterError(f"bundle '{network.manifest.name}' was built without latents")
            levels = enumerate(network.manifest.latents.levels, start=1)
            self.factors |= {f"z{number}": level.factor for number, level in levels}

    def compute(self, tile: Tile, hr: Array) -> tuple[Outputs, Fallback | None]:
        """`lr`, and latents where asked for, of a tile's window; and the fallback it took."""
        self._check()

        def attempt(graph: Graph) -> _Attempt:
            return _Attempt(graph.precision, graph, lambda: self._network.run(graph, {"hr": hr}))

        attempts = map(attempt, _with_exact(self._network, self.graph))
        outputs, fallback = _first_sound(attempts, tile)
        return {name: outputs[name] for name in self.factors}, fallback


@dataclass(frozen=True)
class _Attempt:
    """One way to compute a tile: what it is called, the graph, and how to run it."""

    how: str
    graph: Graph
    run: Callable[[], Outputs]


def _with_exact(network: Network, graph: Graph) -> list[Graph]:
    """A graph and, for one below fp32, the fp32 graph that can take its place."""
    if graph.precision == "fp32":
        return [graph]
    try:
        return [graph, network.exact(graph)]
    except BundleError:  # the bundle has no fp32 graph to fall back to
        return [graph]


def _first_sound(attempts: Iterable[_Attempt], tile: Tile) -> tuple[Outputs, Fallback | None]:
    """The outputs of the first attempt that gives an image; a fallback unless it was the first.

    Raises:
        BackendError: every attempt failed, or one after the first could not run; names the tile
            and what was wrong with it.
    """
    reason = last = ""
    for number, attempt in enumerate(attempts):
        try:
            outputs = attempt.run()
        except BackendError as error:
            if not last:
                raise
            raise type(error)(
                f"{last}, and it cannot be computed in {attempt.how}: {error}"
            ) from error
        fault = _fault(outputs, attempt.graph)
        if fault is None:
            if number == 0:
                return outputs, None
            place = tile.row, tile.column
            _logger.info("tile %d,%d gave %s: computed again in %s", *place, reason, attempt.how)
            if "τ = 0" in attempt.how:
                _logger.warning(
                    "tile %d,%d fails with its latents even in fp32: computed at τ = 0", *place
                )
            return outputs, Fallback(*place, reason, attempt.how)
        reason = reason or fault
        last = (
            f"'{attempt.graph.file}' gave {fault} on tile {tile.row},{tile.column} (low-resolution "
            f"rows {tile.y.start} to {tile.y.stop}, columns {tile.x.start} to {tile.x.stop})"
        )
    raise BackendError(f"{last}: try a lower τ, and run 'hcflow verify' on the bundle")


def _fault(outputs: Mapping[str, Array], graph: Graph) -> str | None:
    """What keeps outputs from being an image, or None."""
    for name, value in outputs.items():
        # Minimum and maximum carry NaN along, and need no array of their own.
        lowest, highest = float(np.min(value)), float(np.max(value))
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            return f"NaN or infinity in '{name}'"
        if graph.precision == "fp32":
            continue
        if name in IMAGES and (lowest < -SATURATED or highest > 1 + SATURATED):
            return f"{lowest:g} to {highest:g} in '{name}'"
        if name == HEALTH and highest > 0:
            return f"pixels beyond {-SATURATED:g} to {1 + SATURATED:g}"
    return None
