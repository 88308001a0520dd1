"""What a run reports: how neighbouring tiles agree, and which ones took a fallback."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, ParamSpec, TypeVar

from runtime.bundle.manifest import Graph, Precision
from runtime.errors import ParameterError
from runtime.inference.grid import Grid
from runtime.system.arguments import shown

BUDGET = 1 / 255
"""Most that a tiled image in fp32 may differ from the whole one (docs/tiles.md, 2)."""

MORE_THAN_MEASURED = 2.0
"""So many times what the build measured on its pictures may neighbours differ on other images."""

MOST_DISAGREEMENT = 16 / 255
"""Beyond it neighbours are reported whatever the build measured: one pixel may be far off."""

_logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Certified:
    """What the build measured of a graph's grid.

    Attributes:
        overlap: the least one that holds, in LR pixels; None where there is no grid.
        disagreement: most that neighbouring tiles should differ, of images in [0, 1].
    """

    overlap: int | None = None
    disagreement: float = BUDGET

    @classmethod
    def of(cls, graph: Graph) -> Certified:
        """1/255 for fp32; below, tiles differ by the rounding of the precision."""
        if graph.precision == "fp32" or graph.neighbours is None:
            return cls(graph.overlap)
        expected = min(MORE_THAN_MEASURED * graph.neighbours, MOST_DISAGREEMENT)
        return cls(graph.overlap, max(BUDGET, expected))


@dataclass(frozen=True)
class Fallback:
    """A tile that was computed again: where it is, what was wrong with it, and what worked."""

    row: int
    column: int
    reason: str
    how: str


@dataclass
class Report:
    """Filled while an image is computed; several images may add to one.

    Attributes:
        tiles: computed; one that took a fallback counts once.
        in_flight: most tiles computed at the same time.
        precision: of the last image's graph.
        backend: that ran it, by its own name.
        tile: side of a tile of the last image without its overlap, in LR pixels.
        overlap: what was computed beyond a tile on each side.
        disagreement: largest difference of two neighbouring tiles beside their seam, of images
            clipped to [0, 1]; None where no two were compared.
        fallbacks: tiles that were computed again.
        memory_short: whether any image was computed in smaller tiles for want of memory.
        certified: what the build measured of the last image's graph.
        seconds: by the clock, of the thread that converts: `decoding` and `encoding` of files,
            `pixels` (rows cut, converted, finished with alpha, stitched), `round trip` of a
            downscale, and `network`, its wait for tiles, which are computed beside the rest.
    """

    tiles: int = 0
    in_flight: int = 0
    precision: Precision | None = None
    backend: str | None = None
    tile: int | None = None
    overlap: int | None = None
    disagreement: float | None = None
    fallbacks: list[Fallback] = field(default_factory=list)
    memory_short: bool = False
    certified: Certified = field(default_factory=Certified)
    seconds: dict[str, float] = field(default_factory=dict)
    _tiled: bool = False
    _within: float = 0.0

    def start(
        self,
        precision: Precision,
        grid: Grid,
        in_flight: int,
        *,
        certified: Certified,
        memory_short: bool,
    ) -> None:
        """Note how an image is computed."""
        self.precision = precision
        self.tile, self.overlap = grid.tile, grid.overlap
        self.certified = certified
        self.memory_short = self.memory_short or memory_short
        self._tiled = grid.rows * grid.columns > 1
        self.in_flight = max(self.in_flight, in_flight)

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add what the clock says of this block to `seconds`, less what is timed within it."""
        outer, self._within = self._within, 0.0
        start = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - start
            self.seconds[what] = self.seconds.get(what, 0.0) + took - self._within
            self._within = outer + took

    def timing(self, what: str, work: Callable[P, T]) -> Callable[P, T]:
        """The same function, whose time is added to `seconds`."""

        def timed(*args: P.args, **keywords: P.kwargs) -> T:
            with self.timed(what):
                return work(*args, **keywords)

        return timed

    def count(self, fallback: Fallback | None) -> None:
        """Count a tile, and keep the fallback that it took."""
        self.tiles += 1
        if fallback is not None:
            self.fallbacks.append(fallback)

    def compare(self, disagreement: float) -> None:
        """Note the difference of two neighbours."""
        self.disagreement = max(disagreement, self.disagreement or 0.0)

    def finish(self) -> None:
        """Log the warnings."""
        for line in self.warnings():
            _logger.warning("%s", line)

    def warnings(self) -> list[str]:
        """One line for each thing that a user should know; mostly none."""
        lines = []
        if self.fallbacks:
            count = f"{len(self.fallbacks)} of {self.tiles} tiles"
            ways = " and ".join(sorted({fallback.how for fallback in self.fallbacks}))
            lines.append(f"{count} went wrong and were computed again in {ways}")
        allowed = self.certified.disagreement
        if self.disagreement is not None and self.disagreement > allowed:
            lines.append(
                f"neighbouring tiles differ by up to {self.disagreement * 255:.1f}/255 beside "
                f"their seam, above {allowed * 255:.2g}/255: a larger --overlap brings them "
                "together"
            )
        least, overlap = self.certified.overlap, self.overlap
        unseen = overlap == 0 or self.precision != "fp32"  # else the tiles have been compared
        if self._tiled and least is not None and overlap is not None and overlap < least and unseen:
            lines.append(
                f"an overlap of {overlap} is less than the {least} that {self.precision} was "
                "measured to need: tile borders may show"
            )
        return lines

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        report = asdict(self)
        del report["certified"], report["_tiled"], report["_within"]
        report["seconds"] = {what: round(spent, 3) for what, spent in self.seconds.items()}
        report["healed"] = report.pop("fallbacks")  # the name in `--json` stays
        return report


def check_report(report: Any) -> None:
    """Raise `ParameterError` unless this is a report, or None."""
    if report is not None and not isinstance(report, Report):
        raise ParameterError(f"report is {shown(report)}: it must be a runtime Report or None")
