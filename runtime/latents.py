"""Latents by place: counter-based normals, identical to the bit in every language.

A value depends only on (seed, sample, level, channel, y, x): no tile, batch, thread or machine can
change it. Philox4x32-10 gives the bits; Box–Muller turns them into normals by IEEE-exact float32
operations alone (+ − × ÷ √, conversions, bit operations; no libm call, no fused multiply–add). The
whole scheme, with test vectors: docs/latents.md.

Source of the generator: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ParameterError
from runtime.system.arguments import shown, whole

_logger = logging.getLogger(__name__)

SCHEME = "philox4x32-10/box-muller-f32/1"
"""The id of this scheme in a manifest; another id means other values."""

MOST_TAU = 1e6
"""Far beyond any use, and far from where float32 latents would become infinite."""

Array = NDArray[np.float32]

_ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_LOW_WORD = np.uint64(0xFFFFFFFF)
_WORD_BITS = np.uint64(32)
_LOW_COLUMN_BITS = 0x3FFFFFFF  # a column modulo 2³², in blocks of four

_SQRT_HALF_BITS = np.uint32(0x3F3504F3)  # float32(√½), the lower end of the mantissa's range
_MANTISSA_BITS = np.uint32(0x007FFFFF)
_TWO_LN2 = np.float32(1.3862944)

# 2·ln(m) = s·T(s²) with s = (m − 1)/(m + 1), √½ ≤ m ≤ √2; relative minimax error 6.9e-10.
_LOG = tuple(np.float32(c) for c in (4.0, 1.3333364, 0.7994958, 0.5985158))
# sin(πt/2) = t·S(t²), 0 ≤ t ≤ 1; relative minimax error 5.3e-9.
_SINE = tuple(
    np.float32(c) for c in (1.5707964, -0.6459637, 0.07968968, -0.0046737664, 0.00015148513)
)

_CHUNK_BLOCKS = 1 << 15  # four values each; large enough to hide NumPy's cost per call

_Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Region:
    """A region of one latent that is still to be drawn, on the host or on a GPU.

    As an input of a graph it stands for float32 [1, channels, height, width]: normals N(0, τ²),
    equal to the crop of any larger region.

    Attributes:
        seed: unsigned 64 bits.
        sample: unsigned 32 bits; each gives an independent field.
        level: 1 is the finest; below 2¹⁶.
        channels: the field's channels, 0 … channels − 1; at most 2¹⁶.
        top: absolute row of the region in the whole latent; rows above it, in an image's border,
            are −1, −2, …, down to −2³¹, and have the values of 2³² − 1, 2³² − 2, ….
        left: absolute column, likewise.
        height: rows; `top + height` at most 2³².
        width: columns; `left + width` at most 2³².
        tau: temperature, 0 to `MOST_TAU`; 0 gives +0 everywhere.

    Raises:
        ParameterError: a value out of its range.
    """

    seed: int
    sample: int
    level: int
    channels: int
    top: int
    left: int
    height: int
    width: int
    tau: float = 1.0

    def __post_init__(self) -> None:
        limits = {"seed": 1 << 64, "sample": 1 << 32, "level": 1 << 16, "channels": (1 << 16) + 1}
        for name, limit in limits.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), 0, limit - 1))
        for start, size in (("top", "height"), ("left", "width")):
            first = whole(start, getattr(self, start), -(1 << 31), (1 << 32) - 1)
            count = whole(size, getattr(self, size), 0, (1 << 32) - max(first, 0))
            object.__setattr__(self, start, first)
            object.__setattr__(self, size, count)
        check_tau(self.tau)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the array it stands for."""
        return 1, self.channels, self.height, self.width

    def values(self) -> Array:
        """The array itself."""
        values = np.zeros(self.shape, np.float32)
        if self.tau == 0 or values.size == 0:
            return values
        rows = values.reshape(self.channels * self.height, self.width)
        first_block = self.left >> 2
        x = np.arange(first_block, (self.left + self.width + 3) >> 2) & _LOW_COLUMN_BITS
        x = x.astype(np.uint64)
        top = np.uint64(self.top & 0xFFFFFFFF)
        skip = self.left - 4 * first_block
        chunk = max(1, _CHUNK_BLOCKS // len(x))
        for start in range(0, len(rows), chunk):
            stop = min(start + chunk, len(rows))
            row = np.arange(start, stop, dtype=np.uint64)[:, None]
            channel, y = np.divmod(row, np.uint64(self.height))
            field = np.uint64(self.level << 16) | channel, np.uint64(self.sample)
            words = philox4x32((x[None], y + top & _LOW_WORD, *field), self.seed)
            block = _normals(words).reshape(stop - start, -1)
            rows[start:stop] = block[:, skip : skip + self.width]
        if self.tau != 1:
            values *= np.float32(self.tau)
        return values

    def words(self) -> NDArray[np.uint32]:
        """`Place` of runtime/backends/cuda/latents.cu: twelve words, τ as its bits."""
        tau = int(np.float32(self.tau).view(np.uint32))
        seed = self.seed & 0xFFFFFFFF, self.seed >> 32
        place = self.top & 0xFFFFFFFF, self.left & 0xFFFFFFFF, self.height, self.width
        return np.array([*seed, self.sample, self.level, self.channels, *place, tau, 0, 0], "u4")


def draw(
    shapes: Iterable[tuple[int, int, int]], tau: float, *, seed: int = 0, sample: int = 0
) -> list[Array]:
    """All latents of an image, z1 … zL.

    Args:
        shapes: (channels, height, width) of z1 … zL.
        tau: temperature, 0 to `MOST_TAU`.
        seed: unsigned 64 bits.
        sample: unsigned 32 bits.

    Returns:
        float32 [1, channels, height, width] of each, times τ.

    Raises:
        ParameterError: a value out of its range.
    """
    return [
        Region(seed, sample, level, channels, 0, 0, height, width, tau).values()
        for level, (channels, height, width) in enumerate(shapes, start=1)
    ]


def fresh_seed() -> int:
    """A random seed, below 2⁵³ so that JSON represents it exactly."""
    return secrets.randbits(53)


def fixed_seed(seed: Any) -> int:
    """The seed to use: a whole number below 2⁶⁴; None draws one and logs it.

    Raises:
        ParameterError: anything else.
    """
    if seed is None:
        seed = fresh_seed()
        _logger.info("seed %d", seed)
    return whole("seed", seed, 0, (1 << 64) - 1)


def check_tau(tau: float) -> None:
    """Raise `ParameterError` unless τ is a number from 0 to `MOST_TAU`."""
    if not isinstance(tau, Real):
        raise ParameterError(f"τ is {shown(tau)}: it must be a number, 0 or more")
    try:
        value = float(tau)
    except OverflowError:
        value = math.inf if tau > 0 else -math.inf
    if not (math.isfinite(value) and value >= 0):
        raise ParameterError(f"τ is {shown(tau)}: it must be a finite number, 0 or more")
    if value > MOST_TAU:
        raise ParameterError(f"τ is {shown(tau)}: it must be {MOST_TAU:g} or less")


def philox4x32(
    counter: tuple[Any, Any, Any, Any], key: int
) -> tuple[_Words, _Words, _Words, _Words]:
    """Philox4x32-10 on broadcastable uint64 counters below 2³² and a 64-bit key (low word first).

    Returns four uint64 arrays of words below 2³².
    """
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    # The first round works on arrays as small as its inputs: x and y are combined in the second.
    for _ in range(_ROUNDS):
        p0 = c0 * _MULTIPLIERS[0]
        p1 = c2 * _MULTIPLIERS[1]
        c0 = (p1 >> _WORD_BITS) ^ c1 ^ np.uint64(k0)
        c2 = (p0 >> _WORD_BITS) ^ c3 ^ np.uint64(k1)
        c1 = p1 & _LOW_WORD
        c3 = p0 & _LOW_WORD
        k0 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF
        k1 = (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def _normals(words: tuple[_Words, _Words, _Words, _Words]) -> Array:
    """Four words [...] → four standard normals, float32 [..., 4], by Box–Muller on two pairs."""
    w0, w1, w2, w3 = words
    shape = (2, *np.broadcast_shapes(*(w.shape for w in words)))
    radius_words, angle_words = np.empty(shape, np.uint32), np.empty(shape, np.uint32)
    radius_words[0], radius_words[1] = w0, w2
    angle_words[0], angle_words[1] = w1, w3

    radius = _radius(radius_words)
    cosine, sine = _cosine_sine(angle_words)
    normals = np.empty((*shape[1:], 2, 2), np.float32)
    np.multiply(radius, cosine, out=np.moveaxis(normals[..., 0], -1, 0))
    np.multiply(radius, sine, out=np.moveaxis(normals[..., 1], -1, 0))
    return normals.reshape(*shape[1:], 4)


def _radius(word: NDArray[np.uint32]) -> Array:
    """√(−2·ln u) of u = (word + ½)/2³²: at most 6.77, so the tails end beyond ±6.7σ."""
    u = word.astype(np.float32)
    u += np.float32(0.5)
    # u·2³² = 2^e·m with √½ ≤ m < √2, split by bits; then −2·ln u = (32 − e)·2·ln 2 − 2·ln m.
    bits = u.view(np.uint32)
    bits -= _SQRT_HALF_BITS
    exponent = (bits.view(np.int32) >> np.int32(23)).astype(np.float32)
    bits &= _MANTISSA_BITS
    bits += _SQRT_HALF_BITS
    m = bits.view(np.float32)
    s = m - np.float32(1)
    m += np.float32(1)
    s /= m
    log = _horner(_LOG, np.multiply(s, s, out=m))
    log *= s
    square = np.subtract(np.float32(32), exponent, out=exponent)
    square *= _TWO_LN2
    square -= log
    return np.sqrt(square, out=square)


def _cosine_sine(word: NDArray[np.uint32]) -> tuple[Array, Array]:
    """Cosine and sine of a uniform angle: 30 bits within a quadrant, the low two bits the signs."""
    quadrant = word >> np.uint32(2)
    sine = _quarter_sine(quadrant)
    # The complementary angle is exact in integers, so the cosine is as precise as the sine.
    cosine = _quarter_sine(quadrant ^ np.uint32(0x3FFFFFFF))
    cosine.view(np.uint32)[...] |= word << np.uint32(31)
    sine.view(np.uint32)[...] |= (word << np.uint32(30)) & np.uint32(0x80000000)
    return cosine, sine


def _quarter_sine(n: NDArray[np.uint32]) -> Array:
    """sin(π/2·(n + ½)/2³⁰) of n < 2³⁰."""
    t = n.view(np.int32).astype(np.float32)
    t += np.float32(0.5)
    t *= np.float32(2.0**-30)
    value = _horner(_SINE, t * t)
    value *= t
    return value


def _horner(coefficients: tuple[np.float32, ...], x: Array) -> Array:
    """Σ cᵢ·xⁱ by Horner, each product and sum rounded by itself."""
    value = x * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        value += c
        value *= x
    value += coefficients[0]
    return value
