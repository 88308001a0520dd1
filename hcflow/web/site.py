"""A folder for any static host: the page, its scripts, onnxruntime-web, and bundles' graphs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from hcflow.pages import drop
from hcflow.web import package
from runtime.bundle.manifest import Direction, Graph, Precision
from runtime.bundle.reader import Bundle
from runtime.errors import BundleError, FileError
from runtime.latents import SCHEME
from runtime.system import atomic

SCRIPTS = ("convert.js", "grid.js", "latents.js", "neutral.js", "worker.js")
_SOURCES = "worker-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'"
_WORDS: dict[Direction, str] = {"inverse": "upscale", "forward": "downscale"}


def write(
    bundles: Sequence[tuple[str, Bundle]],
    folder: Path,
    precision: Precision = "fp32",
    *,
    runtimes: Sequence[str] = tuple(package.RUNTIMES),
    package_file: Path | None = None,
) -> list[str]:
    """Write the site; files of before are replaced, others stay.

    Args:
        bundles: names for the page, and the bundles.
        folder: where it goes; made where it is missing.
        precision: of the graphs.
        runtimes: of `package.RUNTIMES`.
        package_file: onnxruntime-web as a file; None fetches it.

    Returns:
        The names of the files written, `index.html` last.

    Raises:
        BundleError: a bundle has no such graph, is damaged, or draws latents by another scheme.
        FileError, BackendError: as `package.files`; or the folder cannot be written.
    """
    models, files = [], dict[str, bytes]()
    for name, bundle in bundles:
        graphs = _graphs(bundle, precision)
        for graph in graphs.values():
            files[f"models/{graph.file}"] = bundle.read_graph(graph)
        models.append(_described(name, bundle, graphs))
    wanted = [name for runtime in runtimes for name in package.RUNTIMES[runtime]]
    found = package.files(tuple(wanted), package_file)
    files |= {f"ort/{name}": data for name, data in found.items()}
    files |= {name: _script(name).encode() for name in SCRIPTS}
    files["models.json"] = json.dumps(models, indent=1).encode()
    files["index.html"] = page("webgpu" in runtimes).encode()
    try:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(path, data)
    except OSError as error:
        raise FileError(f"'{folder}' cannot be written: {error.strerror}") from error
    return list(files)


def page(has_webgpu: bool) -> str:
    """The page itself."""
    constant = f"const WEBGPU = {json.dumps(has_webgpu)};\n"
    return drop.render("hcflow", constant + _script("page_engine.js"), _SOURCES)


def _script(name: str) -> str:
    return resources.files("hcflow").joinpath("web", name).read_text(encoding="utf-8")


def _graphs(bundle: Bundle, precision: Precision) -> dict[Direction, Graph]:
    """The graphs of the directions that a bundle has; of the forward ones that without latents."""
    there = {graph.direction for graph in bundle.manifest.graphs}
    return {
        direction: bundle.graph(direction, precision, direction == "inverse", "float32")
        for direction in _WORDS
        if direction in there
    }


def _described(name: str, bundle: Bundle, graphs: dict[Direction, Graph]) -> dict[str, Any]:
    manifest = bundle.manifest
    if manifest.latents.scheme != SCHEME and manifest.default_tau > 0:
        raise BundleError(f"'{name}' draws latents by '{manifest.latents.scheme}', not '{SCHEME}'")
    return {
        "name": name,
        "scale": manifest.scale,
        "tau": manifest.default_tau,
        "latents": [{"channels": z.channels, "factor": z.factor} for z in manifest.latents.levels],
        "directions": [_WORDS[direction] for direction in graphs],
        "graphs": {
            _WORDS[direction]: {
                "file": f"models/{graph.file}",
                "tile": graph.tile,
                "overlap": graph.overlap,
                "border": graph.border,
                "latents": graph.latents,
            }
            for direction, graph in graphs.items()
        },
    }
