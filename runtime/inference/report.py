"""What a run noticed on its way: how neighbouring tiles agree, and which ones had to be healed."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from typing import Any

from runtime.bundle.manifest import Precision
from runtime.inference.grid import Grid

BUDGET = 1 / 255
"""Most that a tiled image may differ from the whole one, by certificate (docs/tiles.md, 2)."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Healed:
    """A tile whose first result was no picture: where, what was wrong with it, and what helped."""

    row: int
    column: int
    reason: str
    how: str


@dataclass
class Report:
    """Filled while an image is computed; several images may add to one.

    Attributes:
        tiles: windows computed, healed ones counted once.
        in_flight: most windows computed at the same time.
        precision: of the last image's graph.
        tile: of the last image's grid: most of a window beside its overlap, in LR pixels.
        overlap: of its windows.
        disagreement: largest difference of two neighbouring tiles beside their seam, of images
            clipped to [0, 1]; None where no two were compared.
        healed: tiles that were computed again.
    """

    tiles: int = 0
    in_flight: int = 0
    precision: Precision | None = None
    tile: int | None = None
    overlap: int | None = None
    disagreement: float | None = None
    healed: list[Healed] = field(default_factory=list)

    def start(self, precision: Precision, grid: Grid, in_flight: int) -> None:
        """Note how an image is computed."""
        self.precision = precision
        self.tile, self.overlap = grid.tile, grid.overlap
        self.in_flight = max(self.in_flight, in_flight)

    def note(self, healed: Healed | None) -> None:
        """Count a tile, and keep how it was healed."""
        self.tiles += 1
        if healed is not None:
            self.healed.append(healed)

    def compare(self, disagreement: float) -> None:
        """Note the difference of two neighbours."""
        self.disagreement = max(disagreement, self.disagreement or 0.0)

    def finish(self) -> None:
        """Log what a user should know of."""
        for line in self.warnings():
            _logger.warning("%s", line)

    def warnings(self) -> list[str]:
        """One line for each thing that a user should know of; mostly none."""
        lines = []
        if self.healed:
            ways = sorted({healed.how for healed in self.healed})
            lines.append(
                f"{len(self.healed)} of {self.tiles} tiles went wrong and were computed again in "
                + " and ".join(ways)
            )
        if self.disagreement is not None and self.disagreement > BUDGET:
            lines.append(
                f"neighbouring tiles differ by up to {self.disagreement * 255:.1f}/255 beside "
                "their seam, above 1/255: a larger --overlap brings them together"
            )
        return lines

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return asdict(self)
