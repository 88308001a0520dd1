"""A tile that goes wrong heals: NaN, infinity or saturation is caught, and the tile is run again.

A low-precision graph can overflow where float32 does not. The tile alone is then run by the fp32
graph; if that fails too and its latents were drawn, once more without them (τ = 0).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.graph_entry import IMAGES, Graph
from runtime.bundle.uint8_images import HEALTH, SATURATED
from runtime.errors import BackendError
from runtime.inference.grid import Tile
from runtime.inference.report import Healed

Array = NDArray[np.float32]
Outputs = dict[str, Array]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """One way to compute a tile: what it is called, the graph, and how to run it."""

    how: str
    graph: Graph
    run: Callable[[], Outputs]


def first_sound(attempts: Iterable[Attempt], tile: Tile) -> tuple[Outputs, Healed | None]:
    """The outputs of the first attempt that gives numbers, and how the tile was healed, if it was.

    Raises:
        BackendError: every attempt failed; names the tile.
    """
    reason = ""
    for number, attempt in enumerate(attempts):
        outputs = attempt.run()
        fault = _fault(outputs, attempt.graph)
        if fault is None:
            if number == 0:
                return outputs, None
            _logger.info(
                "tile %d,%d gave %s; healed by %s", tile.row, tile.column, reason, attempt.how
            )
            if "τ = 0" in attempt.how:
                _logger.warning(
                    "tile %d,%d is bad with its latents even in float32: drawn at τ = 0",
                    tile.row,
                    tile.column,
                )
            return outputs, Healed(tile.row, tile.column, reason, attempt.how)
        reason = reason or fault
        last = attempt.graph, fault
    graph, fault = last
    y, x = tile.y, tile.x
    raise BackendError(
        f"'{graph.file}' gave {fault} on tile {tile.row},{tile.column} (low-resolution rows "
        f"{y.start} to {y.stop}, columns {x.start} to {x.stop}): try a lower τ, and 'hcflow "
        "verify' on the bundle"
    )


def _fault(outputs: Mapping[str, Array], graph: Graph) -> str | None:
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
