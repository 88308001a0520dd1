"""One window of a network: its latents, its graph, and the ones behind it when it goes wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.manifest import Graph, Precision
from runtime.errors import BundleError, ParameterError
from runtime.inference import fallback
from runtime.inference.fallback import Attempt, Outputs
from runtime.inference.grid import Tile
from runtime.inference.latent_source import Drawn, Given, Latent, Sampling, Source, Zero
from runtime.inference.network import Network
from runtime.inference.report import Healed

Array = NDArray[np.float32]


class InverseRunner:
    """Upscales the tiles of one image.

    Args:
        network: the model's.
        precision: of the graph; the plan's.
        height: LR rows of the image.
        width: LR columns.
        sampling: its latents.

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
    ) -> None:
        self._network = network
        levels = network.manifest.latents.levels
        self.graph = network.graph("inverse", sampling.needs_latents, precision)
        self._source: Source = Zero()
        if sampling.latents is not None:
            network.check_latents(self.graph, sampling.latents, 1, height, width)
            self._source = Given(levels, sampling.latents)
        elif sampling.tau > 0:
            network.check_takes_latents(self.graph)
            network.check_scheme()
            self._source = Drawn(levels, height, width, sampling)

    def compute(self, tile: Tile, lr: Array, sample: int) -> tuple[Outputs, Healed | None]:
        """`hr` [1, 3, …] of a window from `lr` [1, 3, …], and how it was healed."""
        latents = self._source.window(tile, sample)

        def attempt(graph: Graph, zs: Sequence[Latent] | None, how: str) -> Attempt:
            feeds = self._network.feeds(graph, lr, zs)
            return Attempt(how, graph, lambda: self._network.run(graph, feeds))

        def attempts() -> Iterator[Attempt]:
            graphs = _and_exact(self._network, self.graph)
            for graph in graphs:
                if latents is None or graph.latents:
                    yield attempt(graph, latents, graph.precision)
            if self._source.drawn:
                yield attempt(graphs[-1], None, f"{graphs[-1].precision} at τ = 0")

        return fallback.first_sound(attempts(), tile)


class ForwardRunner:
    """Downscales the tiles of one image.

    Raises:
        ParameterError: latents asked of a graph that gives none.
        BundleError: no such graph.
    """

    def __init__(self, network: Network, precision: Precision, latents: bool) -> None:
        self._network = network
        self.graph = network.graph("forward", latents, precision)
        self.factors = {"lr": 1}
        if latents:
            if not self.graph.latents:
                raise ParameterError(f"bundle '{network.manifest.name}' was built without latents")
            levels = enumerate(network.manifest.latents.levels, start=1)
            self.factors |= {f"z{number}": level.factor for number, level in levels}

    def compute(self, tile: Tile, hr: Array) -> tuple[Outputs, Healed | None]:
        """`lr` and what else was asked for of a window, and how it was healed."""

        def attempt(graph: Graph) -> Attempt:
            return Attempt(graph.precision, graph, lambda: self._network.run(graph, {"hr": hr}))

        outputs, healed = fallback.first_sound(
            map(attempt, _and_exact(self._network, self.graph)), tile
        )
        return {name: outputs[name] for name in self.factors}, healed


def _and_exact(network: Network, graph: Graph) -> list[Graph]:
    """A graph and, for one below fp32, the fp32 graph that can take its place."""
    if graph.precision == "fp32":
        return [graph]
    try:
        return [graph, network.exact(graph)]
    except BundleError:  # a bundle without it has nothing to heal with
        return [graph]
