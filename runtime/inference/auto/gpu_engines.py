"""The engines of a bundle's graphs, in the bundle or in the user's cache, that fit this GPU."""

from __future__ import annotations

from collections.abc import Callable

from runtime.backends import targets_of
from runtime.bundle.engines import cache, fit
from runtime.bundle.engines.entry import Engine, Library, of_manifest
from runtime.bundle.engines.fit import Machine
from runtime.bundle.graph_entry import Graph
from runtime.bundle.graph_kinds import preferred
from runtime.bundle.reader import Bundle
from runtime.errors import BackendError, BundleError

FindEngines = Callable[[Graph], list[Engine]]


def engines_of(library: Library, bundle: Bundle, device: int | None) -> tuple[FindEngines, bool]:
    """What finds a graph's engines of a library, and whether they fit this machine's GPU.

    Those that do not fit are left out, unless none does: then which one is opened decides nothing
    but the error.
    """
    try:
        listed = of_manifest(bundle.manifest, f"'{bundle.folder}'")
    except BundleError:  # told when an engine is opened
        listed = []
    found: dict[str, list[Engine]] = {}
    for graph in preferred(bundle.manifest.graphs, targets_of(library)):
        own = [*(e for e, _ in cache.find(graph.sha256)), *listed]
        engines = [e for e in own if e.graph == graph.sha256 and e.library == library]
        if engines:
            found[graph.sha256] = engines
    machine = _machine(library, device) if found else None
    fitting = {
        graph: [e for e in engines if fit.misfit(e, machine) is None]
        for graph, engines in found.items()
        if machine is not None
    }
    fits = any(fitting.values())
    taken = fitting if fits else found
    return lambda graph: taken.get(graph.sha256, []), fits


def _machine(library: Library, device: int | None) -> Machine | None:
    """What an engine must fit here; None where no GPU answers, or the library is missing."""
    # Both bring in the driver's binding.
    from runtime.backends.cuda.device import Device  # noqa: PLC0415
    from runtime.backends.tensorrt_engine import this_machine  # noqa: PLC0415

    try:
        return this_machine(library, Device.open(device or 0))
    except BackendError:  # told when an engine is opened
        return None
