"""Where a window's latents come from: drawn by place, given as arrays, or none (τ = 0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.manifest import Level
from runtime.errors import ParameterError
from runtime.inference.grid import Tile
from runtime.inference.tau_map import TauMap
from runtime.latents import Region, check_tau, fixed_seed

Array = NDArray[np.float32]
Latent = Array | Region
"""A latent, or where it is to be drawn: a GPU draws by itself."""


@dataclass(frozen=True, eq=False)
class Sampling:
    """Which latents an inverse graph gets.

    Attributes:
        tau: temperature of the latents that are drawn, 0 to `runtime.latents.MOST_TAU`; 0 draws
            none.
        seed: of the latents that are drawn, unsigned 64 bits.
        tau_map: the share of τ at each place; None is τ everywhere.
        latents: z1 … zL of the whole image, float32 [1, C, H·f, W·f], in place of drawn ones.

    Raises:
        ParameterError: τ or seed out of range.
    """

    tau: float = 0.0
    seed: int = 0
    tau_map: TauMap | None = None
    latents: Sequence[Array] | None = None

    def __post_init__(self) -> None:
        check_tau(self.tau)
        object.__setattr__(self, "seed", fixed_seed(self.seed))

    @property
    def needs_latents(self) -> bool:
        """Whether the graph has to take latents."""
        return self.latents is not None or self.tau > 0


class Source(Protocol):
    """Latents by window, already times τ."""

    def window(self, tile: Tile, sample: int) -> Sequence[Latent] | None:
        """z1 … zL [1, C, …] of a tile's window; None where all are 0."""

    @property
    def drawn(self) -> bool:
        """Whether the values are chance, so that a tile may do without them."""


@dataclass(frozen=True)
class Zero:
    """τ = 0."""

    drawn: bool = False

    def window(self, tile: Tile, sample: int) -> None:
        """None."""


@dataclass(frozen=True)
class Drawn:
    """Latents by place for an image of height × width LR pixels; never more than a window's."""

    levels: tuple[Level, ...]
    height: int
    width: int
    sampling: Sampling
    drawn: bool = True

    def window(self, tile: Tile, sample: int) -> list[Latent]:
        """z1 … zL of a tile's window."""
        return [
            self._level(index, level, tile, sample)
            for index, level in enumerate(self.levels, start=1)
        ]

    def _level(self, index: int, level: Level, tile: Tile, sample: int) -> Latent:
        f = level.factor
        y, x = tile.y.window(f), tile.x.window(f)
        place = y.start, x.start, y.stop - y.start, x.stop - x.start
        seed, tau, tau_map = self.sampling.seed, self.sampling.tau, self.sampling.tau_map
        if tau_map is None:
            return Region(seed, sample, index, level.channels, *place, tau)
        values = Region(seed, sample, index, level.channels, *place).values()
        values *= np.float32(tau) * tau_map.window(self.height * f, self.width * f, *place)
        return values


@dataclass(frozen=True)
class Given:
    """The user's own arrays of the whole picture, cut as they are."""

    levels: tuple[Level, ...]
    latents: Sequence[Array]
    drawn: bool = False

    def window(self, tile: Tile, sample: int) -> list[Array]:
        """z1 … zL of a tile's window."""
        return [
            np.ascontiguousarray(z[:, :, tile.y.window(level.factor), tile.x.window(level.factor)])
            for level, z in zip(self.levels, self.latents, strict=True)
        ]


def check_given(given: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise `ParameterError` unless latents have these shapes, are float32 and finite."""
    if len(given) != len(shapes):
        raise ParameterError(f"{len(given)} latents given: this model takes z1 to z{len(shapes)}")
    for level, (z, shape) in enumerate(zip(given, shapes, strict=True), start=1):
        if z.shape != shape or z.dtype != np.float32:
            raise ParameterError(
                f"latent z{level} is {z.dtype} {list(z.shape)}: "
                f"it must be float32 {list(shape)} for this image"
            )
        if not np.isfinite(z).all():
            raise ParameterError(f"latent z{level} has NaN or infinity in it")
