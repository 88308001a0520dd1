"""Where does the time of a run go? Seconds by layer, measured by the backend's own profiler."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from runtime.backends.session import Arrays, Layer, Session, TimesLayers

RUNS = 5


def layers(session: Session, feeds: Arrays) -> list[Layer] | None:
    """Layers of a graph, slowest first; None where the backend's profiler is not read.

    Raises:
        BackendError: the backend failed.
    """
    if not isinstance(session, TimesLayers):
        return None
    return sorted(session.layer_times(feeds, RUNS), key=lambda layer: -layer.seconds)


def by_kind(found: Iterable[Layer]) -> dict[str, float]:
    """Seconds by operator, most first."""
    sums: dict[str, float] = defaultdict(float)
    for layer in found:
        sums[layer.kind] += layer.seconds
    return dict(sorted(sums.items(), key=lambda item: -item[1]))
