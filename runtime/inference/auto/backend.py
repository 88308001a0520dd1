"""Backend `auto` where a bundle has engines: those that fit this machine's GPU go before the rest.

A bundle's engines lie in it or in the user's cache. Without engines `runtime.backends.auto` decides
alone, and nothing here asks for a GPU.
"""

from __future__ import annotations

from typing import Literal

from runtime.backends import targets_of
from runtime.bundle.engines.entry import LIBRARIES, Library
from runtime.bundle.graph_kinds import preferred
from runtime.bundle.manifest import Precision
from runtime.bundle.reader import Bundle
from runtime.inference.auto import gpu_precision
from runtime.inference.auto.choices import Choice
from runtime.inference.auto.gpu_engines import engines_of


def with_engines(
    bundle: Bundle,
    precision: Precision | Literal["auto"],
    io: str | None,
    device: int | None,
) -> tuple[Choice, ...]:
    """The libraries that a bundle has engines for, the one to try first at the front.

    Libraries of which an engine fits the GPU come first; TensorRT before TensorRT-RTX.

    Args:
        bundle: whose engines, of graphs for any machine or for such a library.
        precision: of the graphs; `auto` is what `gpu_precision` takes in each library.
        io: type of images at the graph's boundary; None is any, and float32 for `auto`.
        device: number of the GPU; None is the first.
    """
    found = (_of_library(library, bundle, precision, io, device) for library in LIBRARIES)
    return tuple(sorted((each for each in found if each), key=lambda each: not each.fits))


def _of_library(
    library: Library,
    bundle: Bundle,
    precision: Precision | Literal["auto"],
    io: str | None,
    device: int | None,
) -> Choice | None:
    engines, fits = engines_of(library, bundle, device)
    if precision == "auto":
        precision = gpu_precision.choose(bundle.manifest, library, io, engines)
        io = io or "float32"
    graphs = preferred(bundle.manifest.graphs, targets_of(library))
    wanted = (g for g in graphs if g.precision == precision and io in (None, g.io))
    return Choice(library, (precision,), fits) if any(map(engines, wanted)) else None
