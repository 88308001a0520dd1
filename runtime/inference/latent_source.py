"""The latents of a window: drawn by place, cut from given arrays, or none (τ = 0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.bundle.manifest import Level
from runtime.errors import ParameterError
from runtime.inference.grid import Tile
from runtime.inference.tau_map import TauMap
from runtime.latents import Array, Region, check_tau, fixed_seed
from runtime.system.arguments import shown, whole

Latent = Array | Region
"""A latent, or where it is to be drawn: a GPU draws by itself."""


MOST_SAMPLES = 1 << 32
"""As many as there are fields of latents (docs/latents.md)."""


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
        object.__setattr__(self, "tau", float(self.tau))
        object.__setattr__(self, "seed", fixed_seed(self.seed))

    @property
    def needs_latents(self) -> bool:
        """Whether the graph has to take latents."""
        return self.latents is not None or self.tau > 0


@dataclass(frozen=True)
class LatentSource:
    """Latents of one image of height × width LR pixels, window by window, already times τ."""

    sampling: Sampling
    levels: tuple[Level, ...]
    height: int
    width: int

    @property
    def is_random(self) -> bool:
        """Whether the values are drawn, so that a tile may do without them."""
        return self.sampling.latents is None and self.sampling.tau > 0

    def window(self, tile: Tile, sample: int) -> Sequence[Latent] | None:
        """z1 … zL [1, C, …] of a tile's window; None where all are 0."""
        given = self.sampling.latents
        if given is not None:
            factors = [level.factor for level in self.levels]
            windows = [(tile.y.window(f), tile.x.window(f)) for f in factors]
            pairs = zip(given, windows, strict=True)
            return [np.ascontiguousarray(z[:, :, y, x]) for z, (y, x) in pairs]
        if not self.is_random:
            return None
        return [
            self._drawn(number, level, tile, sample)
            for number, level in enumerate(self.levels, start=1)
        ]

    def _drawn(self, number: int, level: Level, tile: Tile, sample: int) -> Latent:
        f = level.factor
        y, x = tile.y.window(f), tile.x.window(f)
        place = y.start, x.start, y.stop - y.start, x.stop - x.start
        seed, tau, tau_map = self.sampling.seed, self.sampling.tau, self.sampling.tau_map
        if tau_map is None:
            return Region(seed, sample, number, level.channels, *place, tau)
        values = Region(seed, sample, number, level.channels, *place).values()
        values *= np.float32(tau) * tau_map.window(self.height * f, self.width * f, *place)
        return values


def samples_of(samples: Any) -> int:
    """A number of samples, 1 to `MOST_SAMPLES`; raises `ParameterError` for anything else."""
    number = whole("samples", samples, 1)
    if number > MOST_SAMPLES:
        raise ParameterError(f"samples is {shown(number)}: it must be {MOST_SAMPLES} or less")
    return number


def arrays_of(latents: Any) -> list[Array]:
    """Latents that a caller gives, as a list of arrays.

    Raises:
        ParameterError: something else; their shapes and types are `check_given`'s.
    """
    if not isinstance(latents, Sequence) or isinstance(latents, str | bytes):
        raise ParameterError(f"latents are {shown(latents)}: they must be a list of arrays")
    for level, z in enumerate(latents, start=1):
        if not isinstance(z, np.ndarray) or z.ndim != 4:
            raise ParameterError(
                f"latent z{level} is {shown(z)}: it must be a float32 array of four axes"
            )
    return list(latents)


def check_given(given: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise `ParameterError` unless latents have these shapes, are float32 and finite."""
    given = arrays_of(given)
    if len(given) != len(shapes):
        raise ParameterError(f"{len(given)} latents given: this model takes z1 to z{len(shapes)}")
    for level, (z, shape) in enumerate(zip(given, shapes, strict=True), start=1):
        if z.shape != shape or z.dtype != np.float32:
            raise ParameterError(
                f"latent z{level} is {z.dtype} {list(z.shape)}: "
                f"it must be float32 {list(shape)} for this image"
            )
        if np.ma.isMaskedArray(z) or not np.isfinite(z).all():
            raise ParameterError(f"latent z{level} has NaN or infinity in it")
