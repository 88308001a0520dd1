"""The size of an upscaled picture: by a factor or a side, by one or two runs of the network.

The network gives its own size. A smaller one is resampled from it (`images.pixels.resampling`); for
a larger one the network runs once more on its result.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from runtime.errors import ImageError, ParameterError, SizeError
from runtime.images.pixels import resampling
from runtime.model import Model
from runtime.system.arguments import shown, whole

MOST_RUNS = 2

MOST_SIDE = 1_000_000_000
"""Pixels of a side that may be asked for: more is beyond every image, and beyond floats at last."""

_MOST_SCALE = 1_000_000


@dataclass(frozen=True)
class WantedSize:
    """What a user asks of a result's size; at most one is given.

    Attributes:
        scale: factor of both sides, above 0.
        width: of the result; the height follows.
        height: of the result; the width follows.
        max_side: the longer side of the result.

    Raises:
        ParameterError: several are given, or one is out of range.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    max_side: int | None = None

    def __post_init__(self) -> None:
        given = self.given
        if len(given) > 1:
            raise ParameterError(f"{' and '.join(given)}: give one of them, or size")
        for name in given.keys() - {"scale"}:
            object.__setattr__(self, name, _side(name, given[name]))
        if self.scale is not None and not _is_factor(self.scale):
            raise ParameterError(
                f"scale is {shown(self.scale)}: it must be a number above 0 and below {_MOST_SCALE}"
            )

    @property
    def given(self) -> dict[str, Any]:
        """What is given, by its name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def of(self, full: tuple[int, int], network_scale: int) -> tuple[int, int]:
        """The (height, width) wanted of a picture that the network makes `full` large."""
        height, width = full
        if self.scale is not None:
            factor = self.scale / network_scale
            return _rounded(height * factor), _rounded(width * factor)
        if self.width is not None:
            return _rounded(height * self.width / width), self.width
        if self.height is not None:
            return self.height, _rounded(width * self.height / height)
        if self.max_side is not None:
            factor = self.max_side / max(height, width)
            return _rounded(height * factor), _rounded(width * factor)
        return full


AS_THE_NETWORK = WantedSize()
"""The network's own size."""


@dataclass(frozen=True)
class Sizing:
    """How a picture gets its size.

    Attributes:
        full: (height, width) that one run of the network gives, less the padding of a downscale.
        target: (height, width) of the result.
        runs: of the network.
    """

    full: tuple[int, int]
    target: tuple[int, int]
    runs: int

    def finish(self, model: Model, image: Any, options: dict[str, Any]) -> Any:
        """The result, of the image that the first run has given.

        Args:
            model: that gave it.
            image: of the size `full`.
            options: keywords of its `Model.upscale`.

        Raises:
            HcflowError: as `Model.upscale`.
        """
        if self.runs > 1:
            image = model.upscale(image, **{**options, "samples": 1, "size": None})
        if self.target == self.network_size(model.scale):
            return image
        return resampling.resize(image, *self.target)

    def network_size(self, scale: int) -> tuple[int, int]:
        """(height, width) of what the last run gives."""
        factor = 1 if self.runs == 1 else scale
        return self.full[0] * factor, self.full[1] * factor


def sizing_of(
    full: tuple[int, int], scale: int, wanted: WantedSize, exact: tuple[int, int] | None
) -> Sizing:
    """How a picture gets the size that is wanted of it.

    Args:
        full: (height, width) that one run of the network gives.
        scale: of the network.
        wanted: by the user.
        exact: (height, width) of the result; it goes before `wanted`.

    Raises:
        ImageError: more than two runs of the network give.
    """
    target = wanted.of(full, scale) if exact is None else exact
    runs = 1 if target[0] <= full[0] and target[1] <= full[1] else 2
    most = full[0] * scale, full[1] * scale
    if target[0] > most[0] or target[1] > most[1]:
        raise ImageError(
            f"size {target[1]}×{target[0]} is too large: this model gives at most "
            f"{scale**MOST_RUNS}×, here {most[1]}×{most[0]}, by running twice"
        )
    return Sizing(full, target, runs)


def check_hr_size(size: tuple[int, int], most: int | None, where: str, frames: int = 1) -> int:
    """The pixels of the larger side of a conversion.

    Args:
        size: its (height, width): what a downscale takes, what an upscale's network gives.
        most: allowed of all frames together; None is no limit.
        where: names the image in errors.
        frames: of this size.

    Raises:
        SizeError: they are more.
    """
    height, width = size
    pixels = frames * height * width
    if most is not None and pixels > most:
        each = f"{frames} frames of " if frames > 1 else ""
        raise SizeError(
            f"{where} would be computed at {each}{width}×{height} pixels, the limit is {most} "
            "here: raise hr_pixels"
        )
    return pixels


def exact_size(value: Any) -> tuple[int, int]:
    """A size that a caller gives as (height, width); raises `ParameterError` for anything else."""
    try:
        height, width = value
    except Exception:  # what stands in for a pair may raise anything
        raise ParameterError(f"size is {shown(value)}: it must be (height, width)") from None
    return _side("height", height), _side("width", width)


def padding_cut(
    lr_size: tuple[int, int], scale: int, asked: tuple[int, int] | None
) -> tuple[int, int] | None:
    """The exact size asked for, where it only cuts off what a downscale has padded.

    Args:
        lr_size: width and height of the LR image.
        scale: of the network.
        asked: (height, width) of the result, or None.
    """
    if asked is None:
        return None
    sides = zip(asked, (lr_size[1] * scale, lr_size[0] * scale), strict=True)
    return asked if all(full - scale < side <= full for side, full in sides) else None


def _side(name: str, value: Any) -> int:
    side = whole(name, value, 1)
    if side > MOST_SIDE:
        raise ParameterError(f"{name} is {shown(side)}, too large: {MOST_SIDE} pixels at most")
    return side


def _rounded(side: float) -> int:
    """The nearest whole number of pixels, at least 1; halves go up."""
    return max(1, math.floor(side + 0.5))


def _is_factor(value: Any) -> bool:
    try:
        return 0 < float(value) < _MOST_SCALE
    except Exception:  # what stands in for a number may raise anything
        return False
